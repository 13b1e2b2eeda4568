"""What of a URL is masked, and that errors of webhooks do not quote it."""

from __future__ import annotations

import aiohttp
import pytest

from jobqueue.domain.access.masking import MASK, masked_queue, masked_text, masked_url, without_query
from jobqueue.domain.work.verdict import Failure
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.processors.webhooks.webhook_errors import fault
from tests.unit.processors.webhook_receiver import LOOPBACK, SILENT, config, make_job, receiving, reply

SECRET = "key=abc&other=the-secret"  # noqa: S105 - of a test


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.com/a;b/?", "HTTPS://Example.com/a;b/?"),
        ("https://example.com/a?x", f"https://example.com/a?{MASK}"),
        ("https://example.com/a?x=1?y#z", f"https://example.com/a?{MASK}#{MASK}"),
        ("https://ann:secret@example.com:8443/a", f"https://{MASK}@example.com:8443/a"),
        ("https://a@b@example.com/", f"https://{MASK}@example.com/"),
        ("https://[::1]:80/a?b", f"https://[::1]:80/a?{MASK}"),
        ("/relative?a=b", f"/relative?{MASK}"),
        ("https://[broken/?a=b", MASK),
        ("", ""),
    ],
)
def test_query_fragment_and_user_are_masked_and_nothing_else(url: str, shown: str) -> None:
    assert masked_url(url) == shown
    assert masked_url(shown) == shown


def test_urls_in_a_text_are_masked() -> None:
    text = f"sent to https://a.example/b?{SECRET}, and 'http://u:p@c.example' (see http://d.example)"
    shown = f"sent to https://a.example/b?{MASK} and 'http://{MASK}@c.example' (see http://d.example)"
    assert masked_text(text) == shown
    assert without_query("GET /b?a=1&b=2 <a href='/b?a=1&amp;b=2'>", "https://h/b?a=1&b=2#x") == (
        f"GET /b?{MASK} <a href='/b?{MASK}'>"
    )
    assert without_query("is that so?", "https://h/b") == "is that so?"


@pytest.mark.parametrize(
    "said", ["a=1&key=S3CRET-x", "/b?a=1\\u0026key=S3CRET-x", "key is S3CRET-x", "a=1&amp;key=S3CRET-x"]
)
def test_a_query_is_masked_however_a_receiver_writes_it(said: str) -> None:
    assert "S3CRET" not in without_query(said, "https://h/b?a=1&key=S3CRET-x")


def test_a_query_is_masked_as_it_is_sent() -> None:
    assert "%C3%BC" not in without_query("no /b?k=%C3%BCmlaut", "https://h/b?k=ümlaut")


def test_odd_configurations_are_shown_as_they_are() -> None:
    for odd in (None, 5, {}, {"processors": 5}, {"processors": {"a": 5, "b": {"url": 5}}}):
        assert masked_queue(odd) == odd


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.InvalidURL(f"https://h/?{SECRET}"),
        aiohttp.InvalidURL(f"https://h/?{SECRET}", "no such host"),
        aiohttp.NonHttpUrlClientError(f"ftp://h/?{SECRET}"),
        aiohttp.ClientError(f"cannot send to https://h/?{SECRET}"),
    ],
)
def test_an_error_of_the_client_does_not_tell_the_query(error: Exception) -> None:
    told = fault(error, "h", 5)
    assert "secret" not in told.error.message
    assert "h" in told.error.message


@pytest.mark.parametrize(
    "answer",
    [
        reply("301 Moved", headers=f"Location: https://other.example/hook?{SECRET}\r\n"),
        reply("404 Not Found", body=f"<p>no /hook?{SECRET.replace('&', '&amp;')} here".encode()),
        reply("404 Not Found", body=f"no /hook?{SECRET} here".encode()),
        reply(
            headers="Content-Type: application/json\r\n",
            body=b'{"outcome": "die", "reason": "no /hook?' + SECRET.encode() + b'"}',
        ),
    ],
)
async def test_an_error_does_not_tell_the_query_though_the_receiver_quotes_it(answer: object) -> None:
    async with WebhookClient(allow=LOOPBACK) as client, receiving(answer) as receiver:  # type: ignore[arg-type]
        url = receiver.url.replace("a=b", SECRET)
        verdict = await client.processor(config(url), "t").run(make_job(), SILENT)
    assert getattr(verdict, "error", None) is not None
    assert "the-secret" not in str(verdict)
    assert isinstance(verdict, Failure) or "die" in str(answer) or MASK in str(verdict)
