"""Addresses, tokens and values that a client refuses before it sends anything."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import AsyncClient, Client, InvalidInputError, JobQueue, NewJob
from jobqueue.client.transport import Call, segment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "url"),
        ("localhost:8080", "url"),
        ("ftp://localhost", "url"),
        ("http://", "url"),
        ("http://ann:secret@localhost", "url"),
        ("http://localhost/?a=1", "url"),
        ("http://localhost?", "url"),
        ("http://localhost#", "url"),
        ("http://local host", "url"),
        ("http://local%20host", "url"),
        ("http://local\u00a0host", "url"),
        ("http://localhost\n", "url"),
        ("http://a..b", "url"),
        (f"http://{'a' * 64}", "url"),
        (7, "url"),
    ],
)
def test_an_address_that_is_none_is_refused(url: Any, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBQUEUE_URL", raising=False)
    for kind in (AsyncClient, Client):
        with pytest.raises(InvalidInputError) as refused:
            kind(url)
        assert list(refused.value.problems) == [path]
    assert "secret" not in str(refused.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBQUEUE_URL", raising=False)
    with pytest.raises(InvalidInputError, match="set JOBQUEUE_URL"):
        AsyncClient()
    monkeypatch.setenv("JOBQUEUE_URL", "https://jobs.example.com/queue/")
    client = AsyncClient()
    assert (client.url, repr(client)) == (
        "https://jobs.example.com/queue",
        "<AsyncClient https://jobs.example.com/queue>",
    )
    for wrong in ({"token": "größe"}, {"token": "a\nb"}, {"timeout": 0}, {"timeout": "long"}):
        with pytest.raises(InvalidInputError) as refused:
            AsyncClient(**wrong)
        assert list(refused.value.problems) == list(wrong)


async def test_values_that_no_request_can_have_are_refused() -> None:
    async with AsyncClient("http://127.0.0.1:9", timeout=1) as client:
        for call in (
            client.get("x"),
            client.schedule(".."),
            client.schedule(""),
            client.signal("0" * 24, "approved", object()),
            client.queue("a/b"),
            client.add("a", {"n": 2**70}),
            client.configure("q", concurency=3),  # type: ignore[call-arg]
            client.add_job(NewJob(type="a"), session=object()),
        ):
            with pytest.raises(InvalidInputError):
                await call
    assert segment("a/b ?#é") == "a%2Fb%20%3F%23%C3%A9"
    with pytest.raises(InvalidInputError):
        segment("\ud800")


@pytest.mark.parametrize(
    "url", ["http://a_b:8080", "http://[::1]:8080", "https://jobs.example.com./q", "http://größe.de"]
)
def test_an_unusual_address_is_taken(url: str) -> None:
    assert AsyncClient(url).url == url


NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - what is refused


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda client: client.preview_many("bogus", {"queue": "q"}), "action: must be one of requeue, kill, delete"),
        (lambda client: client.create_token(["read"], queues="media"), "queues: must be a list of names, not a text"),
        (lambda client: client.create_token("read"), "roles: must be a list of names, not a text"),
        (lambda client: client.put_schedule("nightly", None, every=60), "job: must be a NewJob"),
        (lambda client: client.put_schedule("nightly", {"type": "a"}, every=60), "job: must be a NewJob"),
        (lambda client: client.series(since=NAIVE), "from: must have a time zone"),
        (lambda client: anext(client.failures(ended_after=NAIVE)), "endedAfter: must have a time zone"),
    ],
)
async def test_a_mistake_in_a_call_is_named(call: Callable[[AsyncClient], Awaitable[Any]], problem: str) -> None:
    async with AsyncClient("http://127.0.0.1:9", timeout=1) as client:
        with pytest.raises(InvalidInputError, match=problem):
            await call(client)


def test_only_calls_with_a_second_effect_are_not_repeated() -> None:
    calls = [Call(method="POST", path="/", safe=safe, keyed=keyed) for safe in (True, False) for keyed in (True, False)]
    assert [call.may_repeat for call in calls] == [True, True, True, False]


def test_a_task_is_used_with_queues_only() -> None:
    queue = JobQueue()

    @queue.task()
    def double(n: int) -> int:
        return 2 * n

    with pytest.raises(TypeError, match="using takes a JobQueue, a SyncJobQueue, an AsyncClient or a Client, not str"):
        double.using("http://localhost")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="jobs of new"):
        double.using(Client("http://localhost")).add_all([NewJob(type="double")])  # type: ignore[list-item]
