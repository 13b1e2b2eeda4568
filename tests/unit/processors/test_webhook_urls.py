"""The request line of a webhook, as it arrives at a socket."""

from __future__ import annotations

import string
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.work.verdict import Success
from jobqueue.processors.webhooks.addresses import UnusableURLError, request_target
from jobqueue.processors.webhooks.webhook import WebhookClient
from tests.unit.processors.webhook_receiver import (
    LOOPBACK,
    SECRET,
    SILENT,
    Names,
    config,
    kind,
    make_job,
    receiving,
    reply,
    run,
)

REST = [
    "/",
    "/a%2Fb%2fc",
    "/a/../b/./c//d/",
    "/%7Euser/~user/%41%zz%",
    "/(a)*!'$,;:@=&+.html",
    '/"<>\\^`{|}',
    "?",
    "/p?",
    "?a=b",
    "/p?a=b&&c=%20+%2B&d=[1]&e=?/#",
    "/p?next=https%3A%2F%2Fexample.com%2F%3Fx%3D1&sig=Ab%2b%2F%3D",
    "/p?q=%C3%BC&r=%fc",
    "/p?" + "x" * 5000,
]


@pytest.mark.parametrize("rest", REST)
async def test_the_url_is_sent_as_it_is_configured(rest: str) -> None:
    async with WebhookClient(allow=LOOPBACK) as client, receiving(reply()) as receiver:
        origin = f"http://127.0.0.1:{receiver.port}"
        assert await run(client, receiver, url=origin + rest) == Success(code=200)

    (request,) = receiver.requests
    sent = rest.removesuffix("#")
    assert request.line == f"POST {sent if sent.startswith('/') else f'/{sent}'} HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert Webhook(SECRET).verify(request.body, request.headers)["attempt"] == 1


async def test_the_fragment_and_an_absent_path_are_not_sent() -> None:
    async with WebhookClient(allow=LOOPBACK) as client, receiving(reply()) as receiver:
        await run(client, receiver, url=f"http://127.0.0.1:{receiver.port}#a?b/c")

    assert receiver.requests[0].line == "POST / HTTP/1.1"


async def test_what_is_no_ascii_is_percent_encoded() -> None:
    async with WebhookClient(allow=LOOPBACK) as client, receiving(reply()) as receiver:
        await run(client, receiver, url=f"http://127.0.0.1:{receiver.port}/ž%2F日?é=%c5%be")

    assert receiver.requests[0].line == "POST /%C5%BE%2F%E6%97%A5?%C3%A9=%c5%be HTTP/1.1"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("LOUD.example", "loud.example"),
        ("under_score.example", "under_score.example"),
    ],
)
async def test_the_host_is_that_which_is_looked_up_and_connected_to(host: str, name: str) -> None:
    names = Names({name: [["127.0.0.2"]]})
    async with (
        WebhookClient(allow=[ip_network("127.0.0.2")], resolver=names) as client,
        receiving(reply(), "127.0.0.2") as receiver,
    ):
        assert await run(client, receiver, url=f"http://{host}:{receiver.port}/a%2Fb") == Success(code=200)

    assert receiver.requests[0].headers["host"] == f"{name}:{receiver.port}"
    assert receiver.requests[0].line == "POST /a%2Fb HTTP/1.1"


@pytest.mark.parametrize(
    "rest", ["%2F@127.0.0.1/", "%40127.0.0.1/", "\\@127.0.0.1/", "%00.127.0.0.1/", "%0d%0aHost:x/", "\uff0f127.0.0.1/"]
)
async def test_a_host_in_disguise_is_not_connected_to(rest: str) -> None:
    async with WebhookClient(allow=LOOPBACK, resolver=Names({})) as client, receiving(reply()) as receiver:
        settings = config("http://example.com")
        object.__setattr__(settings, "url", f"http://example.com{rest}".replace("1/", f"1:{receiver.port}/"))
        verdict = await client.processor(settings, "t").run(make_job(), SILENT)

    assert kind(verdict) in {"connection", "invalid-url"}
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://h/a b",
        "http://h/a\r\nX: y",
        "http://h/\ta",
        "http://h/\x7f",
        "http://h/\u00a0",
        "http://h/\ud800",
        " http://h/",
        "http://u:p@h/",
        "http://u@h/",
        "http:///a",
        "ftp://h/",
        "http:/h/",
        "//h/",
        "http://h:0/",
        "http://h:99999/",
        "http://[::1/",
        "http://a\\b/",
    ],
)
def test_a_url_that_cannot_be_sent_is_refused(url: str) -> None:
    with pytest.raises(UnusableURLError):
        request_target(url)
    if "\\" not in url:
        with pytest.raises(InvalidInputError):
            config(url)


_printable = st.text(string.ascii_letters + string.digits + string.punctuation.replace("#", ""), max_size=50)


@given(_printable)
def test_no_path_and_no_query_is_rewritten(rest: str) -> None:
    target = request_target(f"https://example.com:8443/{rest}")

    assert target.raw_path_qs == f"/{rest}"
    assert (target.raw_host, target.port, target.scheme) == ("example.com", 8443, "https")
