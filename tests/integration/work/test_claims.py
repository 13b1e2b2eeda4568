"""Claims whose reply is lost or whose caller is gone, and the short way to the next job."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.work.loops import Promoter
from jobqueue.store.documents.statements import CLAIM_ORDER
from jobqueue.store.work import claim_cursor
from tests.support.data.factories import (
    LONG_AGO,
    add,
    claim,
    claimed_job,
    end_lease,
    fail,
    open_runtime,
    patient_reaper,
    retry,
    succeed,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings


def lose_replies(monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, error: Exception, *, done: bool) -> None:
    """Make one call of a driver's method fail for its caller, after it was done or without."""
    call: Any = getattr(owner, method)
    left = [error]

    async def inner(*args: Any, **kwargs: Any) -> Any:
        if not left:
            return await call(*args, **kwargs)
        if done:
            await call(*args, **kwargs)
        raise left.pop()

    monkeypatch.setattr(owner, method, inner)


@pytest.mark.parametrize("error", [AutoReconnect("lost"), NetworkTimeout("late"), NotPrimaryError("stepped down")])
async def test_a_claim_whose_reply_is_lost_is_found_by_its_token(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first, second = await add(idle_runtime, data={"n": 1}), await add(idle_runtime)
    lose_replies(monkeypatch, idle_runtime.claims.collection, "find_one_and_update", error, done=True)
    claimed = await claim(idle_runtime)
    assert (claimed.job.id, claimed.job.data, claimed.job.attempts_made) == (first.id, {"n": 1}, 1)
    assert (await idle_runtime.jobs.get(second.id)).state is State.PENDING
    done = await succeed(idle_runtime, claimed)
    assert [entry.outcome for entry in done.history] == [Outcome.SUCCESS]


async def test_a_claim_that_failed_before_it_was_made_says_so_and_takes_nothing(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime)
    lose_replies(monkeypatch, idle_runtime.claims.collection, "find_one_and_update", AutoReconnect("x"), done=False)
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
        await claim(idle_runtime)
    assert (await idle_runtime.jobs.get(job.id)).attempts_made == 0
    assert (await claim(idle_runtime)).job.id == job.id


async def test_an_outcome_whose_reply_is_lost_is_recorded_once(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime, on_success=NewJob(type="child"))
    lose_replies(monkeypatch, idle_runtime.jobs.collection, "update_one", AutoReconnect("lost"), done=True)
    with pytest.raises(DatabaseUnavailableError):
        await succeed(idle_runtime, claimed, {"n": 1})
    done = await succeed(idle_runtime, claimed, {"n": 1})
    assert (done.state, done.result, len(done.history), done.history[0].late) == (State.SUCCESS, {"n": 1}, 1, None)
    assert len((await idle_runtime.manager.family(done.id)).tree.children) == 1


async def test_outcomes_recorded_together_whose_reply_is_lost_are_recorded_once(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [await claimed_job(idle_runtime) for _ in range(10)]
    call = idle_runtime.jobs.collection.bulk_write
    cut: list[int] = []

    async def lost(*args: Any, **kwargs: Any) -> Any:
        await call(*args, **kwargs)
        cut.append(len(args[0]))
        raise AutoReconnect("lost")

    monkeypatch.setattr(idle_runtime.jobs.collection, "bulk_write", lost)
    found = await asyncio.gather(*(succeed(idle_runtime, one) for one in held), return_exceptions=True)
    # The second write is one by one, as the driver does not repeat an update of many documents.
    assert cut == [1, 9]
    assert [type(one) for one in found[1:]] == [DatabaseUnavailableError] * 9
    monkeypatch.undo()
    done = await asyncio.gather(*(succeed(idle_runtime, one) for one in held))
    assert all((one.state, len(one.history), one.history[0].late) == (State.SUCCESS, 1, None) for one in done)


@pytest.mark.parametrize("reached", [False, True], ids=["before it is done", "after it is done"])
async def test_a_claim_whose_caller_is_cancelled_gives_the_job_back_uncounted(
    idle_runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    reached: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    job = await add(idle_runtime)
    call: Any = idle_runtime.claims.collection.find_one_and_update
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> Any:
        found = await call(*args, **kwargs) if reached else None
        begun.set()
        await go_on.wait()
        return found if reached else await call(*args, **kwargs)

    monkeypatch.setattr(idle_runtime.claims.collection, "find_one_and_update", slow)
    asking = asyncio.create_task(claim(idle_runtime))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    await idle_runtime.work.give_backs.drain()
    after = await idle_runtime.jobs.get(job.id)
    assert (after.state, after.attempts_made, after.claim) == (State.PENDING, 0, None)
    assert [entry.outcome for entry in after.history] == [Outcome.RELEASE]


async def test_claims_cancelled_at_any_moment_leave_no_job_behind(idle_runtime: Runtime) -> None:
    jobs = await idle_runtime.producer.add_all([NewJob(type="work") for _ in range(30)])
    rng = random.Random(5)  # noqa: S311 - no secret
    kept: list[ClaimedJob] = []
    for _ in range(60):
        asking = asyncio.create_task(idle_runtime.work.claim("default", None, worker="w"))
        await asyncio.wait({asking}, timeout=rng.uniform(0, 0.004))
        if asking.done():
            kept += [found] if (found := asking.result()) else []
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await idle_runtime.work.give_backs.drain()
    held = {one.job.id for one in kept}
    assert len(held) == len(kept)
    for job in [await idle_runtime.jobs.get(one.id) for one in jobs]:
        expected = (State.PROCESSING, 1) if job.id in held else (State.PENDING, 0)
        assert (job.state, job.attempts_made) == expected


async def test_a_job_somebody_put_there_with_another_tool_is_run(idle_runtime: Runtime) -> None:
    made = await idle_runtime.jobs.collection.insert_one({"queue": "q", "type": "work", "state": "pending"})
    await idle_runtime.adopter.run_once()
    claimed = await claim(idle_runtime, "q")
    assert claimed.job.id == str(made.inserted_id)
    await idle_runtime.work.report(claimed.job, claimed.token, progress=5, lines=[("hello", None)])
    job = await succeed(idle_runtime, claimed, {"n": 1})
    assert (job.state, job.result, job.attempts_made, job.logs[0].m) == (State.SUCCESS, {"n": 1}, 1, "hello")
    again = await idle_runtime.manager.requeue(job.id)
    assert (again.state, again.run, len(again.history)) == (State.PENDING, 1, 2)
    assert (await fail(idle_runtime, await claim(idle_runtime, "q"))).state is State.DELAYED


async def first_waiting(runtime: Runtime, types: tuple[str, ...] | None) -> str | None:
    """Return which job is the next by rights, found without any short way."""
    search: dict[str, Any] = {"queue": "default", "state": "pending"}
    if types is not None:
        search["type"] = {"$in": list(types)}
    found = await runtime.jobs.collection.find_one(search, {"_id": 1}, sort=CLAIM_ORDER)
    return str(found["_id"]) if found else None


class Walk:
    """Does things with jobs by chance, so that they come, go and come back before the place of the last claim."""

    def __init__(self, runtime: Runtime, seed: int) -> None:
        self.runtime = runtime
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self.held: list[ClaimedJob] = []
        self.ended: list[str] = []
        self.claims = 0

    async def add(self) -> None:
        await add(self.runtime, self.rng.choice("ab"), priority=self.rng.randint(-2, 2), attempts=100, backoff=0)

    async def add_bulk(self) -> None:
        await self.runtime.producer.add_all([NewJob(type="a", priority=self.rng.randint(-2, 2)) for _ in range(3)])

    async def claim(self) -> None:
        types = self.rng.choice([None, ("a",), ("a", "b")])
        expected = await first_waiting(self.runtime, types)
        claimed = await self.runtime.work.claim("default", types, worker="w")
        assert (claimed.job.id if claimed else None) == expected
        if claimed is not None:
            self.held.append(claimed)
            self.claims += 1

    async def give_back(self) -> None:
        if self.held:
            one = self.held.pop(self.rng.randrange(len(self.held)))
            ways: list[Any] = [self.release, retry, fail, self.hang]
            await self.rng.choice(ways)(self.runtime, one)

    async def release(self, runtime: Runtime, one: ClaimedJob) -> None:
        await runtime.work.release(one.job, one.token)

    async def hang(self, runtime: Runtime, one: ClaimedJob) -> None:
        await end_lease(runtime, one.job)
        await patient_reaper(runtime).run_once()

    async def come_later(self) -> None:
        if self.held:
            one = self.held.pop()
            await retry(self.runtime, one, 600)
            changed = {"$set": {"delayTil": LONG_AGO}}
            await self.runtime.jobs.collection.update_one({"_id": ObjectId(one.job.id)}, changed)
            await Promoter(self.runtime.jobs, self.runtime.notifier).run_once()

    async def end(self) -> None:
        if self.held:
            self.ended.append((await succeed(self.runtime, self.held.pop(0))).id)

    async def requeue(self) -> None:
        if self.ended:
            await self.runtime.manager.requeue(self.ended.pop(), {"priority": self.rng.randint(-2, 2)})

    async def prefer(self) -> None:
        waiting = await first_waiting(self.runtime, ("b",))
        if waiting:
            await self.runtime.manager.patch(waiting, {"priority": self.rng.randint(-2, 2)})


@pytest.fixture
def no_second_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make claims look at the first job of all only when an event tells of a job."""
    monkeypatch.setattr(claim_cursor, "_WARM", 0)
    monkeypatch.setattr(claim_cursor, "_LOOK_SECONDS", 1e9)
    monkeypatch.setattr(claim_cursor, "_CHEAP_SECONDS", 1e9)


@pytest.mark.usefixtures("no_second_looks")
@pytest.mark.parametrize("seed", range(4))
async def test_the_short_way_to_the_next_job_never_passes_one_by(idle_runtime: Runtime, seed: int) -> None:
    walk = Walk(idle_runtime, seed)
    steps = [walk.add, walk.add, walk.claim, walk.claim, walk.claim, walk.give_back, walk.end, walk.requeue]
    steps += [walk.come_later, walk.prefer, walk.add_bulk]
    for _ in range(150):
        await walk.rng.choice(steps)()
    assert walk.claims > 20


async def test_after_many_claims_the_search_begins_where_the_last_job_was(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_cursor, "_WARM", 0)
    searches: list[dict[str, Any]] = []
    call: Any = idle_runtime.claims.collection.find_one_and_update

    async def watched(*args: Any, **kwargs: Any) -> Any:
        searches.append(args[0])
        return await call(*args, **kwargs)

    monkeypatch.setattr(idle_runtime.claims.collection, "find_one_and_update", watched)
    jobs = [await add(idle_runtime, priority=priority) for priority in (1, 0, 0)]
    assert [(await claim(idle_runtime)).job.id for _ in jobs] == [job.id for job in jobs]
    assert [search.get("priority") for search in searches] == [None, 0, 0]


@pytest.mark.usefixtures("no_second_looks")
@pytest.mark.parametrize("priority", [-1, 0, 1, 2])
async def test_after_many_claims_a_new_job_takes_its_place_at_once(idle_runtime: Runtime, priority: int) -> None:
    for _ in range(3):
        await add(idle_runtime)
    await claim(idle_runtime)
    new = await add(idle_runtime, priority=priority)
    order = [(await claim(idle_runtime)).job.id for _ in range(3)]
    assert order.index(new.id) == (0 if priority > 0 else 2)


async def late_claim(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[None]]:
    """Send a claim that the server carries out at once; return a function that lets its reply come."""
    collection = runtime.claims.collection
    call: Any = collection.find_one_and_update
    carried_out, comes = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(collection, "find_one_and_update", call)
        reply = await call(*args, **kwargs)
        carried_out.set()
        await comes.wait()
        return reply

    monkeypatch.setattr(collection, "find_one_and_update", slow)
    claiming = asyncio.create_task(claim(runtime))
    await carried_out.wait()

    async def let_come() -> None:
        comes.set()
        await claiming

    return let_come


@pytest.mark.usefixtures("no_second_looks")
@pytest.mark.parametrize("at_once", [2, 1])
async def test_the_late_reply_of_a_claim_hides_no_job_of_higher_priority(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    for _ in range(6):
        await add(idle_runtime)
    await claim(idle_runtime)
    let_come = await late_claim(idle_runtime, monkeypatch)
    urgent = [await add(idle_runtime, priority=5) for _ in range(at_once)]
    begun = [(await claim(idle_runtime)).job.id]
    if at_once == 1:
        urgent.append(await add(idle_runtime, priority=5))
    await let_come()
    begun.append((await claim(idle_runtime)).job.id)
    assert begun == [job.id for job in urgent]


@pytest.mark.usefixtures("no_second_looks")
async def test_the_late_reply_of_a_claim_hides_no_job_that_came_back(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [ObjectId((await add(idle_runtime)).id) for _ in range(2)]
    # Positions leave a margin for jobs that were added at nearly the same time.
    await idle_runtime.jobs.collection.update_many({"_id": {"$in": old}}, {"$set": {"insertAt": LONG_AGO}})
    for _ in range(4):
        await add(idle_runtime)
    back = [await claim(idle_runtime) for _ in range(2)]
    await claim(idle_runtime)
    let_come = await late_claim(idle_runtime, monkeypatch)
    for claimed in back:
        await idle_runtime.work.release(claimed.job, claimed.token)
    begun = [(await claim(idle_runtime)).job.id]
    await let_come()
    begun.append((await claim(idle_runtime)).job.id)
    assert begun == [claimed.job.id for claimed in back]


async def test_a_new_job_of_higher_priority_is_seen_at_once_though_looks_are_costly(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_WARM": 0, "_LOOK_SECONDS": 1e9, "_CHEAP_SECONDS": 0, "_SHARE": 1e15}.items():
        monkeypatch.setattr(claim_cursor, name, value)
    for _ in range(4):
        await add(idle_runtime)
    for _ in range(2):
        await claim(idle_runtime)
    urgent = await add(idle_runtime, priority=5)
    assert (await claim(idle_runtime)).job.id == urgent.id


async def test_a_better_job_from_another_process_is_seen_within_about_a_second_without_being_told(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_cursor, "_WARM", 0)
    await idle_runtime.producer.add_all([NewJob(type="work") for _ in range(1000)])
    for _ in range(2):
        await claim(idle_runtime)
    async with open_runtime(settings) as other:
        better = await add(other, priority=9)

    async def comes() -> bool:
        return (await claim(idle_runtime)).job.id == better.id

    await eventually(comes, every=0.02)


async def test_an_attempt_starts_no_earlier_than_its_job_is_ready(idle_runtime: Runtime) -> None:
    soon, late = await add(idle_runtime), await add(idle_runtime)
    now = await idle_runtime.jobs.clock.ask()
    for job, ahead in (soon, 3), (late, 3600):
        ready = {"$set": {"readyAt": now + timedelta(seconds=ahead)}}
        await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, ready)

    claims = [await claim(idle_runtime), await claim(idle_runtime)]

    started = {claimed.job.id: claimed.job.start_at or LONG_AGO for claimed in claims}
    assert started[soon.id] == now + timedelta(seconds=3)
    # A moment so far ahead shows that the server's clock was set back: nobody began that late.
    assert abs(started[late.id] - now) < timedelta(minutes=1)
