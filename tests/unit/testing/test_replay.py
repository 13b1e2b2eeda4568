from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, BlockingJob, ChildFailedError, JobQueue, SignalTimeoutError, SyncJobQueue
from jobqueue.domain.errors import InvalidInputError
from jobqueue.testing import replay
from tests.unit.testing.bundles import bundle, step

if TYPE_CHECKING:
    from collections.abc import Callable

CHILD = {"id": "c" * 24, "state": "failed", "error": {"kind": "OSError", "message": "gone"}}
VAIN = step("late", kind="signal", error={"kind": "timeout", "message": "the signal has not come in time"})


def queue_of(function: Callable[[Any], Any]) -> JobQueue:
    queue = JobQueue()
    queue.handler("order")(function)
    return queue


async def test_the_past_of_a_job_comes_from_its_bundle() -> None:
    ran: list[str] = []

    def note(name: str) -> int:
        ran.append(name)
        return len(ran)

    async def order(job: ActiveJob) -> list[Any]:
        assert (job.attempt, job.results["pay"], job.parent_id) == (1, "card", "b" * 24)
        parent, children = await job.parent(), await job.children()
        fetched = await job.step("fetch", note, "fetch")
        sizes = await job.map("thumbs", "thumbnail", [{"n": 1}])
        with pytest.raises(ChildFailedError, match="gone"):
            await job.call("label", "print")
        with pytest.raises(SignalTimeoutError):
            await job.signal("late", timeout=5)
        await job.sleep("rest", 3600)
        seen = await job.signal("seen")
        await job.step("new", note, "new")
        await queue.add("mail")
        return [fetched, sizes[0], str(sizes[1]), seen, parent and parent.data, [child.result for child in children]]

    queue = queue_of(order)
    relative = bundle(job={"data": {"n": 1}, "result": 5})["job"]
    steps = [step("fetch"), step("thumbs", kind="map"), step("label", kind="call", endAt=None), VAIN]
    job = {
        "steps": steps,
        "parentId": "b" * 24,
        "parents": [{"id": "d" * 24, "type": "pay", "state": "success", "ref": "pay", "result": "card"}],
        "signals": [{"id": "1", "name": "seen", "value": {"by": "ann"}, "at": None, "by": "ann"}],
    }
    results = {"fetch": 3, "thumbs": [{"w": 1}, {"childFailed": CHILD}], "late": {"error": {"kind": "timeout"}}}
    form = bundle(job=job, results=results, childFailures={"label": CHILD}, parent=relative, children=[relative])
    replayed = await replay(form, queue)
    assert replayed.outcome == "success", replayed
    failed = f"child {'c' * 24} has failed: OSError: gone"
    assert replayed.result == [3, {"w": 1}, failed, {"by": "ann"}, {"n": 1}, [5]]
    assert ran == ["new"]
    assert replayed.steps("taken") == ["fetch", "thumbs", "label", "late", "seen"]
    assert replayed.steps("ran") == ["new"]
    assert replayed.steps("added") == ["mail"]
    assert not replayed.is_same


@pytest.mark.parametrize("kind", ["async", "plain"])
@pytest.mark.parametrize(("doubts", "known"), [(["pay"], [step("pay", endAt=None)]), ([], [step("pay")]), ([], [])])
async def test_a_step_that_must_not_run_twice_runs_only_if_told_to(
    kind: str, doubts: list[str], known: list[dict[str, Any]]
) -> None:
    ran: list[str] = []

    async def order(job: ActiveJob) -> None:
        await job.step("pay", ran.append, "pay", once=True)

    def plain(job: BlockingJob) -> None:
        job.step("pay", ran.append, "pay", once=True)

    queue = queue_of(order if kind == "async" else plain)
    form = bundle(job={"steps": known, "error": None}, doubts=doubts)
    stopped = await replay(form, queue, from_step="pay" if known else None)
    assert (stopped.outcome, ran) == ("stopped", [])
    assert stopped.reason is not None
    assert stopped.reason.startswith("step pay is not run here: it must not run twice")
    assert stopped.steps("skipped") == ["pay"]
    told = await replay(form, queue, from_step="pay" if known else None, run_once=["pay"])
    assert (told.outcome, ran) == ("success", ["pay"])


async def test_an_attempt_begins_with_the_steps_that_it_ended_with() -> None:
    async def order(job: ActiveJob) -> None:
        await job.step("a", str)
        await job.step("b", str)
        raise ValueError(job.attempt)

    error = {"kind": "OSError", "message": "gone"}
    history = [
        {"attempt": 1, "startAt": "2030-01-31T12:00:00Z", "endAt": "2030-01-31T12:00:02Z", "error": error},
        {"attempt": 2, "startAt": "2030-01-31T12:00:03Z", "endAt": "2030-01-31T12:00:05Z", "error": error},
    ]
    job = {"steps": [step("a", 1), step("b", 4)], "history": history, "attemptsMade": 2}
    form = bundle(job=job, results={"a": "", "b": ""})
    first = await replay(form, queue_of(order), attempt=1)
    assert (first.steps("taken"), first.steps("ran")) == (["a"], ["b"])
    assert first.error is not None
    assert (first.error.message, first.expected and first.expected.kind) == ("1", "OSError")
    second = await replay(form, queue_of(order), attempt=2)
    assert second.steps("taken") == ["a", "b"]
    with pytest.raises(InvalidInputError, match="it has 1, 2"):
        await replay(form, queue_of(order), attempt=3)


async def test_a_run_that_needs_more_than_its_bundle_has_says_so() -> None:
    async def cut(job: ActiveJob) -> None:
        with contextlib.suppress(Exception):
            await job.step("fetch", str)
        raise ValueError("no")

    form = bundle(job={"steps": [step("fetch")]}, cut=["the result of step fetch: there is no room for it"])
    replayed = await replay(form, queue_of(cut))
    assert (replayed.outcome, replayed.is_same) == ("stopped", False)
    assert replayed.reason == "the bundle has no result of step fetch: see what it says is left out"

    async def search(job: ActiveJob) -> None:
        del job
        await queue.get("a" * 24)

    queue = queue_of(search)
    replayed = await replay(bundle(), queue)
    assert replayed.reason == "the handler uses the database by its queue object (jobs), which a replay has not"

    async def waits(job: ActiveJob) -> None:
        await job.signal("approved")

    replayed = await replay(bundle(), queue_of(waits))
    assert (replayed.outcome, replayed.reason) == ("suspend", "for the signal approved")
    replayed = await replay(bundle(), queue_of(waits), signals={"approved": 1})
    assert replayed.outcome == "success"

    async def children(job: ActiveJob) -> None:
        await job.map("thumbs", "thumbnail", [{}, {}])

    replayed = await replay(bundle(), queue_of(children))
    assert (replayed.outcome, replayed.reason) == ("suspend", "for 2 children of thumbs")


async def test_plain_handlers_and_tasks() -> None:
    queue = SyncJobQueue()
    effects: list[str] = []

    @queue.task("order")
    def order(job: BlockingJob, price: int) -> str:
        job.log("paying")
        name: str = job.step("fetch", str)
        job.sleep("rest", 60)
        job.step("pay", effects.append, name, attempts=3, backoff=60)
        return f"{name} {price}"

    form = bundle(job={"steps": [step("fetch")]}, results={"fetch": "ann"})
    replayed = await replay(form, queue, data={"price": 8})
    assert (replayed.outcome, replayed.result, effects) == ("success", "ann 8", ["ann"])
    wrong = await replay(form, queue, data={"price": "x"})
    assert wrong.outcome == "die"
    assert wrong.error is not None
    assert wrong.error.message == "data.price: expected int, got str"
    with pytest.raises(InvalidInputError, match="has no handler"):
        await replay(bundle(job={"type": "other"}), queue)


async def test_a_step_that_fails_is_tried_again_at_once_and_the_time_limit_holds() -> None:
    tries: list[int] = []

    def fails() -> None:
        tries.append(1)
        raise OSError("gone")

    async def order(job: ActiveJob) -> None:
        await job.step("pay", fails, attempts=3, backoff=3600)

    replayed = await replay(bundle(), queue_of(order))
    assert (replayed.outcome, len(tries)) == ("fail", 3)
    assert isinstance(replayed.exception, OSError)

    async def hangs(job: ActiveJob) -> None:
        await job.step("pay", asyncio.sleep, 60)

    replayed = await replay(bundle(job={"timeout": 0.05}), queue_of(hangs))
    assert replayed.error is not None
    assert (replayed.error.kind, replayed.error.message) == ("timeout", "ran longer than its 0.05 s")
