"""Generations of batches: who requeues a job of a finished batch, by whatever way, and which callbacks come then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.api.workflow.schemas import BatchResponse
from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from tests.support.data.factories import add, claim, document, fail, open_runtime, succeed

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

BY = Actor(name="a person", via="test")
CALLBACKS: dict[str, Any] = {
    f"on_{event}": NewJob(type=event, queue="callbacks") for event in ("complete", "success", "failure")
}


class Play:
    """A batch of three jobs, ``a``, ``b`` and ``c``, of which those fail that are said to."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.ids: dict[str, str] = {}
        self.batch = ""
        self._told: set[str] = set()

    async def begin(self, *members: Member, **fields: Any) -> None:
        new = NewBatch(members=members or tuple(member(ref) for ref in "abc"), **(CALLBACKS | fields))
        view, added = await self.runtime.batches.create(new)
        self.batch = view.batch.id
        self.ids = {one.ref: one.id for one in added if one.ref}

    async def work_off(self, bad: Collection[str] = ()) -> None:
        while claimed := await self.runtime.work.claim("default", None, worker="w"):
            await (fail if claimed.job.type in bad else succeed)(self.runtime, claimed)

    async def told(self) -> str:
        """Return the callbacks that came since the last look, in short, such as ``complete failure``."""
        of_batch = {"callbackOf.batchId": ObjectId(self.batch)}
        found = [one async for one in self.runtime.jobs.collection.find(of_batch)]
        fresh = [one for one in found if str(one["_id"]) not in self._told]
        self._told |= {str(one["_id"]) for one in fresh}
        return " ".join(sorted(one["type"] for one in fresh))

    async def look(self) -> tuple[str, int, str | None]:
        shown = BatchResponse.of(await self.runtime.batches.get(self.batch))
        return shown["state"], shown["generation"], shown["verdict"]


def member(ref: str, *after: str, **fields: Any) -> Member:
    return Member(job=NewJob(type=ref, attempts=1, **fields), ref=ref, after=after)


async def one_job(play: Play, refs: str) -> None:
    for ref in refs:
        await play.runtime.manager.requeue(play.ids[ref])


async def by_a_person(play: Play, refs: str) -> None:
    for ref in refs:
        await play.runtime.manager.requeue(play.ids[ref], {"data": {"n": 1}}, by=BY)


async def by_filter(play: Play, refs: str) -> None:
    wanted = {"type": {"$in": list(refs)}, "state": {"$in": ["success", "failed", "killed"]}}
    await carry_out(play, NewOperation(action=Action.REQUEUE, by=BY, filter=wanted, scope=EVERYTHING))


async def by_group(play: Play, refs: str) -> None:
    for ref in refs:
        found = await document(play.runtime, play.ids[ref])
        wanted = {"filter": {"type": ref}, "fingerprint": found["fingerprint"]}
        await carry_out(play, NewOperation(action=Action.REQUEUE, by=BY, scope=EVERYTHING, **wanted))


async def carry_out(play: Play, new: NewOperation) -> None:
    operation = await play.runtime.operations.create(new)
    while await play.runtime.operations.carry_on(operation.id):
        pass


async def whole(play: Play, _refs: str) -> None:
    await play.runtime.batches.requeue(play.batch)


async def whole_with_callbacks(play: Play, _refs: str) -> None:
    await play.runtime.batches.requeue(play.batch, callbacks=True)


async def two_at_once(play: Play, refs: str) -> None:
    await asyncio.gather(*(one_job(play, ref) for ref in refs))


async def one_and_whole(play: Play, refs: str) -> None:
    await one_job(play, refs[:1])
    await whole(play, "")


WAYS = {"one": one_job, "person": by_a_person, "filter": by_filter, "group": by_group}
SILENT = ""

# First which jobs fail; then, again and again: who requeues which, which of those fail this time, which callbacks come,
# and what the batch is then.
TABLE: dict[str, tuple[str, list[tuple[Any, str, str, str, tuple[int, str]]]]] = {
    **{
        f"{name}: a trial is silent and the repair of the last one is told": (
            "ab",
            [
                (way, "a", "a", SILENT, (1, "failed")),
                (way, "a", "", SILENT, (2, "failed")),
                (way, "b", "", "complete success", (3, "success")),
            ],
        )
        for name, way in WAYS.items()
    },
    **{
        f"{name}: all repaired at once are told once": ("ab", [(way, "ab", "", "complete success", (1, "success"))])
        for name, way in WAYS.items()
    },
    "two people at once make one generation": (
        "ab",
        [(two_at_once, "ab", "", "complete success", (1, "success"))],
    ),
    "two people at once in vain are silent": ("ab", [(two_at_once, "ab", "b", SILENT, (1, "failed"))]),
    "a job that had succeeded and does so again is silent": ("", [(one_job, "a", "", SILENT, (1, "success"))]),
    "a job that had succeeded and fails now is told": ("", [(one_job, "a", "a", "complete failure", (1, "failed"))]),
    "each change of the verdict is told": (
        "",
        [
            (one_job, "a", "a", "complete failure", (1, "failed")),
            (one_job, "b", "b", SILENT, (2, "failed")),
            (one_job, "a", "", SILENT, (3, "failed")),
            (one_job, "b", "", "complete success", (4, "success")),
        ],
    ),
    "the requeue of the batch is told, also if nothing changes": (
        "ab",
        [
            (whole, "", "a", "complete failure", (1, "failed")),
            (whole, "", "", "complete success", (2, "success")),
        ],
    ),
    "the requeue of a batch that is well does nothing": ("", [(whole, "", "", SILENT, (0, "success"))]),
    "success is told a second time only if asked for": (
        "",
        [(whole_with_callbacks, "", "", "complete success", (1, "success"))],
    ),
    "the requeue of the batch joins that of one job": (
        "ab",
        [
            (one_and_whole, "a", "ab", SILENT, (1, "failed")),
            (one_and_whole, "a", "", "complete success", (2, "success")),
        ],
    ),
}


@pytest.mark.parametrize("case", TABLE)
async def test_callbacks_come_when_the_verdict_changes_or_the_batch_was_requeued(
    idle_runtime: Runtime, case: str
) -> None:
    first, rounds = TABLE[case]
    play = Play(idle_runtime)
    await play.begin()
    await play.work_off(first)
    assert await play.told() == ("complete failure" if first else "complete success")
    assert await play.look() == ("finished", 0, "failed" if first else "success")
    for way, refs, bad, told, then in rounds:
        await way(play, refs)
        await play.work_off(bad)
        assert (await play.told(), await play.look()) == (told, ("finished", *then))
    await idle_runtime.outboxes.run_once()
    assert await play.told() == SILENT
    assert not await idle_runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})


async def test_a_failure_in_a_generation_is_told_at_once_and_its_repair_too(idle_runtime: Runtime) -> None:
    play = Play(idle_runtime)
    await play.begin(member("a"), member("b", delay=3600))
    await idle_runtime.manager.requeue(play.ids["b"])
    await play.work_off()
    assert await play.told() == "complete success"
    await one_job(play, "ab")
    await fail(idle_runtime, await claim(idle_runtime))
    assert (await play.told(), await play.look()) == ("failure", ("open", 1, "success"))
    await one_job(play, "a")
    await play.work_off()
    assert (await play.told(), await play.look()) == ("complete success", ("finished", 1, "success"))


async def test_what_fell_because_of_a_job_waits_again_wherever_it_is(idle_runtime: Runtime) -> None:
    play, other = Play(idle_runtime), Play(idle_runtime)
    await play.begin(member("a"), member("b", "a"), member("c", "b"))
    await other.begin(member("x", depends_on=[play.ids["b"]]), member("y", "x"))
    alone = await add(idle_runtime, "z", depends_on=[play.ids["c"]])
    await play.work_off("a")
    assert (await play.look(), await other.look()) == (("finished", 0, "failed"), ("finished", 0, "failed"))
    assert (await idle_runtime.jobs.get(alone.id)).state is State.KILLED
    await play.told(), await other.told()
    await one_job(play, "a")
    states = [(await idle_runtime.jobs.get(play.ids[ref])).state for ref in "abc"]
    assert states == [State.PENDING, State.DELAYED, State.DELAYED]
    assert (await play.look(), await other.look()) == (("open", 1, "failed"), ("open", 1, "failed"))
    await play.work_off()
    assert (await play.told(), await other.told()) == ("complete success", "complete success")
    assert (await idle_runtime.jobs.get(alone.id)).state is State.SUCCESS


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_what_fell_is_revived_only_when_none_of_its_dependencies_has_failed(
    idle_runtime: Runtime, order: str
) -> None:
    play = Play(idle_runtime)
    await play.begin(member("a"), member("b"), member("end", "a", "b"))
    await play.work_off("ab")
    await one_job(play, order[0])
    await play.work_off()
    assert (await idle_runtime.jobs.get(play.ids["end"])).state is State.KILLED
    assert (await play.look())[0] == "finished"
    await one_job(play, order[1])
    assert (await idle_runtime.jobs.get(play.ids["end"])).state is State.DELAYED
    await play.work_off()
    assert await play.look() == ("finished", 2, "success")


async def test_what_fell_waits_also_for_what_failed_after_it_had_fallen(idle_runtime: Runtime) -> None:
    play = Play(idle_runtime)
    await play.begin(member("a"), member("b"), member("end", "a", "b"))
    await play.work_off("b")
    # It was not because of this one that the last job fell.
    await one_job(play, "a")
    await play.work_off("a")
    for ref, state in (("b", State.KILLED), ("a", State.DELAYED)):
        await one_job(play, ref)
        assert (await idle_runtime.jobs.get(play.ids["end"])).state is state
        await play.work_off()
    assert (await play.look())[2] == "success"


@pytest.mark.parametrize("filter_", [{}, {"type": {"$in": ["b", "c"]}}, {"type": "c"}], ids=str)
async def test_an_operation_lets_what_fell_wait_again_and_runs_nothing_before_what_it_depends_on(
    idle_runtime: Runtime, filter_: dict[str, Any]
) -> None:
    play = Play(idle_runtime)
    await play.begin(member("a"), member("b", "a"), member("c", "b"))
    await play.work_off("a")
    await play.told()
    wanted = NewOperation(
        action=Action.REQUEUE, by=BY, filter=filter_, all=not filter_, changes={"attempts": 5}, scope=EVERYTHING
    )
    await carry_out(play, wanted)
    states = [(await idle_runtime.jobs.get(play.ids[ref])).state for ref in "abc"]
    if filter_:
        assert states == [State.FAILED, State.KILLED, State.KILLED]
        await one_job(play, "a")
    else:
        assert states == [State.PENDING, State.DELAYED, State.DELAYED]
    await play.work_off()
    assert (await play.told(), await play.look()) == ("complete success", ("finished", 1, "success"))
    started = [(await idle_runtime.jobs.get(play.ids[ref])).start_at for ref in "abc"]
    assert started == sorted(started, key=str)


async def test_what_a_person_has_killed_is_not_revived(idle_runtime: Runtime) -> None:
    play = Play(idle_runtime)
    await play.begin(member("a"), member("b", "a"))
    await idle_runtime.manager.kill(play.ids["b"])
    await play.work_off("a")
    await one_job(play, "a")
    assert (await idle_runtime.jobs.get(play.ids["b"])).state is State.KILLED


async def test_the_requeue_of_a_batch_revives_what_fell_outside_of_it(idle_runtime: Runtime) -> None:
    play = Play(idle_runtime)
    await play.begin(member("a"), member("b", "a"), member("c", "b"))
    outside = await add(idle_runtime, "z", depends_on=[play.ids["b"]])
    await play.work_off("a")
    await whole(play, "")
    await play.work_off()
    assert (await idle_runtime.jobs.get(outside.id)).state is State.SUCCESS
    assert not await idle_runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})


@pytest.mark.parametrize("has_callback", [True, False])
async def test_a_batch_that_was_repaired_job_by_job_with_version_0_3_0_tells_so_when_it_is_requeued(
    idle_runtime: Runtime, *, has_callback: bool
) -> None:
    play = Play(idle_runtime)
    await play.begin(on_success=CALLBACKS["on_success"] if has_callback else None)
    await play.work_off("a")
    await play.told()
    await idle_runtime.jobs.collection.update_one(
        {"_id": ObjectId(play.ids["a"])}, {"$set": {"state": "success", "error": None}}
    )
    batches = idle_runtime.database.collection("batches")
    await batches.update_one({"_id": ObjectId(play.batch)}, {"$unset": {"verdict": "", "restarts": ""}})
    assert await play.look() == ("finished", 0, "success")
    await whole(play, "")
    assert await play.told() == ("complete success" if has_callback else "complete")
    assert await play.look() == ("finished", 1, "success")
    await whole(play, "")
    assert await play.told() == SILENT


async def test_a_trial_in_a_batch_of_version_0_3_0_is_silent(idle_runtime: Runtime) -> None:
    play = Play(idle_runtime)
    await play.begin(on_failure=None)
    await play.work_off("ab")
    await play.told()
    batches = idle_runtime.database.collection("batches")
    await batches.update_one({"_id": ObjectId(play.batch)}, {"$unset": {"verdict": ""}})
    await one_job(play, "a")
    await play.work_off()
    assert (await play.told(), await play.look()) == (SILENT, ("finished", 1, "failed"))
    await one_job(play, "b")
    await play.work_off()
    assert (await play.told(), await play.look()) == ("complete success", ("finished", 2, "success"))


async def test_the_requeue_of_a_batch_whose_end_nobody_has_seen_finishes_it(idle_runtime: Runtime) -> None:
    play = Play(idle_runtime)
    await play.begin()
    await play.work_off()
    await play.told()
    # As version 0.3.0 could leave a batch behind.
    batches = idle_runtime.database.collection("batches")
    lost = {"$set": {"state": "open", "endAt": None, "generation": 1}, "$unset": {"verdict": ""}}
    await batches.update_one({"_id": ObjectId(play.batch)}, lost)
    await idle_runtime.outboxes.run_once()
    assert (await play.look())[0] == "open"
    await whole(play, "")
    assert (await play.told(), await play.look()) == ("complete success", ("finished", 1, "success"))


async def test_many_who_requeue_jobs_of_a_batch_at_once_make_one_generation(
    settings: Settings, idle_runtime: Runtime
) -> None:
    play = Play(idle_runtime)
    refs = [f"r{number}" for number in range(20)]
    await play.begin(*(member(ref) for ref in refs))
    await play.work_off(refs)
    await play.told()
    async with open_runtime(settings) as second, open_runtime(settings) as third:
        people = [idle_runtime, second, third]
        await asyncio.gather(
            *(people[place % 3].manager.requeue(play.ids[ref]) for place, ref in enumerate(refs)),
        )
    assert await play.look() == ("open", 1, "failed")
    await play.work_off()
    assert (await play.told(), await play.look()) == ("complete success", ("finished", 1, "success"))


async def test_a_batch_finishes_only_as_it_was_at_one_moment(idle_runtime: Runtime, settings: Settings) -> None:
    """A job that is requeued between the looks for unfinished and for failed ones is one or the other."""
    play = Play(idle_runtime)
    await play.begin(member("a"), member("b"))
    await fail(idle_runtime, await claim(idle_runtime))
    await play.told()
    collection = type(idle_runtime.jobs.collection)
    real = collection.find_one
    async with open_runtime(settings) as person:

        async def find_one(self: Any, *args: Any, **options: Any) -> Any:
            wanted = args[0] if args and isinstance(args[0], dict) else {}
            if wanted.get("state") == {"$in": ["failed", "killed"]} and self.database.client is not person_client:
                collection.find_one = real  # type: ignore[method-assign]
                await person.manager.requeue(play.ids["a"])
            return await real(self, *args, **options)

        person_client = person.jobs.collection.database.client
        collection.find_one = find_one  # type: ignore[method-assign]
        try:
            await succeed(idle_runtime, await claim(idle_runtime))
        finally:
            collection.find_one = real  # type: ignore[method-assign]
        assert "success" not in await play.told()
        await play.work_off()
        assert await play.told() in {"complete success", "success"}
        state, _, verdict = await play.look()
    assert (state, verdict) == ("finished", "success")
    assert {(await idle_runtime.jobs.get(one)).state for one in play.ids.values()} == {State.SUCCESS}
