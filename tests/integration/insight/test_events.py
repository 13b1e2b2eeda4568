"""Listeners hear of every change once and in order, also after they were away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.access.access import Scope
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError, InvalidInputError
from jobqueue.domain.insight.event import EventFilter, Gap, JobEvent, check_position
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.verdict import Success, Suspension
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.insight import events as module
from jobqueue.services.insight.events import Events, KeepAlive, TooManyReadersError
from jobqueue.store.insight import job_stream
from jobqueue.store.insight.job_stream import HistoryLostError, JobStream, StreamStep
from tests.support.data.factories import add, claim, claimed_job, fail, retry_now, succeed
from tests.support.older.pasts import seeded
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from jobqueue.services.application import Runtime
    from jobqueue.services.insight.events import Item


class Listener:
    """Notes what it hears, in the background."""

    def __init__(self, events: Events, interest: EventFilter, after: str | None = None) -> None:
        self.heard: list[Item] = []
        self._task = asyncio.create_task(self._listen(events, interest, after))

    @property
    def changes(self) -> list[JobEvent]:
        return [one for one in self.heard if isinstance(one, JobEvent)]

    @property
    def kinds(self) -> list[str]:
        return [one.kind for one in self.changes]

    @property
    def is_over(self) -> bool:
        return self._task.done()

    @property
    def last(self) -> str:
        return next(one.position for one in reversed(self.heard) if one.position is not None)

    async def _listen(self, events: Events, interest: EventFilter, after: str | None) -> None:
        async with contextlib.aclosing(events.follow(interest, after)) as items:
            async for item in items:
                self.heard.append(item)

    async def ready(self) -> Listener:
        await eventually(lambda: self.heard)
        return self

    async def hears(self, count: int) -> list[JobEvent]:
        await eventually(lambda: len(self.changes) >= count)
        return self.changes

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def listen(idle_runtime: Runtime) -> AsyncIterator[Any]:
    made: list[Listener] = []

    async def one(after: str | None = None, *, events: Events | None = None, **interest: Any) -> Listener:
        made.append(Listener(events or idle_runtime.events, EventFilter(**interest), after))
        return await made[-1].ready()

    yield one
    for listener in made:
        await listener.stop()


async def test_the_life_of_a_job_is_told_in_order(idle_runtime: Runtime, listen: Any) -> None:
    everything, with_progress = await listen(), await listen(with_progress=True)
    job = await add(idle_runtime, "render", queue="a:b", attempts=2, backoff=1000)
    claimed = await claim(idle_runtime, "a:b")
    await idle_runtime.work.report(claimed.job, claimed.token, progress=40)
    await retry_now(idle_runtime, claimed)
    await fail(idle_runtime, await claim(idle_runtime, "a:b"))
    await idle_runtime.manager.kill(job.id, "enough")
    await idle_runtime.manager.requeue(job.id)
    await succeed(idle_runtime, await claim(idle_runtime, "a:b"))
    told = await everything.hears(10)
    expected = ["inserted", "started", "delayed", "ready", "started", "delayed", "killed", "ready", "started", "ended"]
    assert everything.kinds == expected
    await with_progress.hears(11)
    assert with_progress.kinds == [*expected[:2], "progress", *expected[2:]]
    assert [one.position for one in told] == sorted({one.position for one in told})
    assert {(one.job_id, one.queue, one.type) for one in told} == {(job.id, "a:b", "render")}
    assert told[0].wire() | {"at": ""} == {
        "event": "inserted",
        "at": "",
        "id": job.id,
        "queue": "a:b",
        "type": "render",
        "state": "pending",
        "batchId": None,
        "attempt": told[0].attempt,
        "progress": None,
        "error": None,
        "step": None,
    }
    assert told[6].error == ("killed", "enough")
    assert told[9].state is State.SUCCESS


async def test_a_listener_need_not_wait_for_a_first_change(
    idle_runtime: Runtime, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_stream, "_LOOK_MS", 300_000)
    listener = await listen()
    assert listener.last is not None
    await add(idle_runtime)
    assert (await listener.hears(1))[0].position > listener.heard[0].position


async def test_each_hears_what_it_asked_for(idle_runtime: Runtime, listen: Any) -> None:
    first = await add(idle_runtime, "a", queue="x")
    view, _ = await idle_runtime.batches.create(NewBatch(members=[Member(job=NewJob(type="b", queue="x"))]))
    await add(idle_runtime, "a", queue="y", meta={"user": 1})
    listeners = {
        "all": await listen(),
        "queue": await listen(queue="x"),
        "type": await listen(type="b"),
        "job": await listen(job_id=first.id),
        "batch": await listen(batch_id=view.batch.id),
        "state": await listen(states=(State.SUCCESS,)),
        "queues": await listen(scope=Scope(queues=("y*",))),
        "meta": await listen(scope=Scope(meta=(("user", 1),))),
        "other": await listen(scope=Scope(meta=(("user", 2),))),
    }
    for queue in ("x", "x", "y"):
        await succeed(idle_runtime, await claim(idle_runtime, queue))
    await listeners["all"].hears(6)
    assert {name: len(one.changes) for name, one in listeners.items()} == {
        "all": 6,
        "queue": 4,
        "type": 2,
        "job": 2,
        "batch": 2,
        "state": 3,
        "queues": 2,
        "meta": 2,
        "other": 0,
    }


async def test_a_job_that_is_deleted_at_once_is_told_all_the_same(idle_runtime: Runtime, listen: Any) -> None:
    heard = await listen(queue="q")
    claimed = await claimed_job(idle_runtime, "t", queue="q", on_success_delete=True)
    await idle_runtime.work.settle(claimed.job, claimed.token, Success())
    assert await idle_runtime.jobs.find(claimed.job.id) is None
    assert [(one.kind, one.type) for one in await heard.hears(3)] == [
        ("inserted", "t"),
        ("started", "t"),
        ("ended", "t"),
    ]


async def test_whoever_was_away_hears_the_rest_without_a_gap_or_double(idle_runtime: Runtime, listen: Any) -> None:
    chance = seeded(7)
    witness = await listen()
    other = Events(JobStream(idle_runtime.database))

    async def produce() -> None:
        for _ in range(40):
            await asyncio.gather(*(add(idle_runtime) for _ in range(chance.randint(1, 8))))
            await asyncio.sleep(chance.uniform(0, 0.02))
        await add(idle_runtime, "end")

    async def come_and_go(after: str) -> list[str]:
        heard: list[str] = []
        while True:
            patience = chance.randint(1, 60)
            events = chance.choice([idle_runtime.events, other])
            async with contextlib.aclosing(events.follow(EventFilter(), after)) as items:
                async for item in items:
                    assert not isinstance(item, Gap)
                    after = item.position or after
                    if isinstance(item, JobEvent):
                        heard.append(item.position)
                        if item.type == "end":
                            return heard
                    patience -= 1
                    if not patience:
                        break

    try:
        runs = [asyncio.create_task(come_and_go(witness.last)) for _ in range(3)]
        await produce()
        count = await idle_runtime.jobs.collection.count_documents({})
        told = await witness.hears(count)
        assert len({one.job_id for one in told}) == len(told) == count
        async with asyncio.timeout(60):
            for heard in await asyncio.gather(*runs):
                assert heard == [one.position for one in told]
    finally:
        await other.stop()


async def test_a_slow_reader_is_dropped_and_nothing_is_kept_for_it(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.services.insight.events.MOST_KEPT", 5)
    events = Events(JobStream(idle_runtime.database))
    try:
        async with events.reading(EventFilter()) as slow, events.reading(EventFilter(queue="other")) as quiet:
            await idle_runtime.producer.add_all([NewJob(type="a") for _ in range(20)])
            await eventually(lambda: slow.is_over)
            assert await slow.take(10) is None
            assert not quiet.is_over
        assert events.readers == 0
    finally:
        await events.stop()


async def test_a_reader_of_an_id_that_is_not_known_any_more_is_told_of_a_gap(
    idle_runtime: Runtime, listen: Any
) -> None:
    position = (await listen()).last
    for unknown in (position[:-8], "00" * 20):
        heard = await listen(after=unknown)
        assert isinstance(heard.heard[0], Gap)
        before = len(heard.changes)
        await add(idle_runtime)
        await heard.hears(before + 1)


def test_only_what_may_be_an_id_of_an_event_is_taken() -> None:
    assert check_position("ab" * 10) == "AB" * 10
    for wrong in ("", "x" * 40, "12", "A" * 5000, "ä" * 20):
        with pytest.raises(InvalidInputError, match="Last-Event-ID"):
            check_position(wrong)


async def test_without_events_a_reader_learns_how_far_the_stream_is(
    idle_runtime: Runtime, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.services.insight.events.BEAT_SECONDS", 0.05)
    events = Events(JobStream(idle_runtime.database))
    heard = await listen(events=events, queue="none")
    first = heard.last
    await add(idle_runtime)
    await eventually(lambda: heard.last > first)
    assert heard.changes == []
    after = heard.last
    late = await listen(after=after)
    await add(idle_runtime, "next")
    assert [one.type for one in await late.hears(1)] == ["next"]
    events.close()
    await eventually(lambda: heard.is_over)
    await events.stop()


async def test_there_is_one_stream_and_only_while_somebody_listens(
    idle_runtime: Runtime, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LINGER_SECONDS", 0.1)
    opened = itertools.count()
    feed = idle_runtime.events._stream
    steps = feed.steps
    monkeypatch.setattr(feed, "steps", lambda *given, **named: (next(opened), steps(*given, **named))[1])
    listeners = [await listen() for _ in range(5)]
    assert next(opened) == 1
    assert idle_runtime.events.readers == 5
    for one in listeners:
        await one.stop()
    await eventually(lambda: idle_runtime.events._task is None)
    again = await listen()
    await add(idle_runtime)
    await again.hears(1)
    assert next(opened) == 3


async def test_there_may_be_so_many_readers_and_none_when_the_database_is_away(
    idle_runtime: Runtime, listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_READERS", 2)
    await listen()
    first = await listen()
    with pytest.raises(TooManyReadersError):
        await anext(idle_runtime.events.follow(EventFilter()))
    await first.stop()
    assert isinstance(await anext(idle_runtime.events.follow(EventFilter())), KeepAlive)
    monkeypatch.setattr(module, "_OPEN_SECONDS", 0.0)
    away = Events(JobStream(idle_runtime.database))
    with pytest.raises(DatabaseUnavailableError):
        await anext(away.follow(EventFilter()))
    await away.stop()


def misses(listener: Listener) -> bool:
    return any(isinstance(item, Gap) for item in listener.heard)


class ForgetfulFeed(JobStream):
    """Says once that it does not know any more what has happened."""

    forgets = True

    async def steps(self, after: str | None, *, quick: bool = False) -> AsyncGenerator[StreamStep, None]:
        async for step in super().steps(after, quick=quick):
            yield step
            if step.event is not None and self.forgets:
                self.forgets = False
                raise HistoryLostError("gone")


async def test_all_are_told_of_a_gap_when_changes_are_missed_and_go_on(idle_runtime: Runtime, listen: Any) -> None:
    events = Events(ForgetfulFeed(idle_runtime.database))
    heard = [await listen(events=events), await listen(events=events)]
    await add(idle_runtime)
    for one in heard:
        await eventually(partial(misses, one))
    await listen(events=events)
    await add(idle_runtime)
    for one in heard:
        await one.hears(2)
    await events.stop()


async def test_finished_steps_and_suspensions_are_told(idle_runtime: Runtime, listen: Any) -> None:
    everything, with_progress = await listen(), await listen(with_progress=True)
    claimed = await claimed_job(idle_runtime)
    steps, job, token = idle_runtime.work.steps, claimed.job, claimed.token
    for name in ("fetch", "store", "mail"):
        await steps.record(job, token, name, name)
    await steps.failed(job, token, "print", tries=1, error=JobError(kind="OSError", message="no paper"), wait=5)
    await steps.record(job, token, "print", "x" * 20_000)
    await steps.begin_sleep(job, token, "rest", seconds=3600)
    await idle_runtime.work.settle(job, token, Suspension(delay=3600, wait=Wait(names=("rest",))))
    told = await with_progress.hears(7)
    assert with_progress.kinds == ["inserted", "started", "step", "step", "step", "step", "suspended"]
    assert [event.step for event in told[2:6]] == ["fetch", "store", "mail", "print"]
    assert {(event.state, event.job_id, event.queue) for event in told[2:6]} == {("processing", job.id, "default")}
    assert (told[3].wire()["step"], told[6].state) == ("store", State.DELAYED)
    await everything.hears(3)
    assert everything.kinds == ["inserted", "started", "suspended"]
