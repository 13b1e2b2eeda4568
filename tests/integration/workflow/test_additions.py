"""Adding to a batch while other things happen to it, and additions that nobody ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import BusyError, ConflictError, DatabaseUnavailableError, InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.store.documents.documents import numbered_ids
from jobqueue.store.workflow import additions
from jobqueue.store.workflow.additions import AdditionStore
from tests.support.data.factories import add, claim, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

LATE = {"$set": {"adding.$[].until": datetime.fromtimestamp(0, UTC)}}


class Gate:
    """Holds additions up before they insert their jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self._open = asyncio.Event()
        self._insert = AdditionStore._insert
        gate = self

        async def held_up(store: AdditionStore, *words: Any) -> None:
            gate.waiting += 1
            await gate._open.wait()
            await gate._insert(store, *words)

        monkeypatch.setattr(AdditionStore, "_insert", held_up)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def step(ref: str, *after: str, blocks: tuple[str, ...] = ()) -> Member:
    return Member(job=NewJob(type=ref), ref=ref, after=after, blocks=blocks)


async def new_batch(runtime: Runtime, *members: Member) -> tuple[str, dict[str, str]]:
    view, made = await runtime.batches.create(NewBatch(members=members, sealed=False, on_complete=NewJob(type="done")))
    return view.batch.id, {str(one.ref): one.id for one in made}


async def stored(runtime: Runtime, batch_id: str) -> dict[str, Any]:
    found = await runtime.database.collection("batches").find_one({"_id": ObjectId(batch_id)})
    assert found is not None
    return dict(found)


async def test_a_batch_is_not_ended_while_jobs_are_being_added(idle_runtime: Runtime, gate: Gate) -> None:
    batch_id, _ = await new_batch(idle_runtime, step("a"))
    adding = asyncio.create_task(idle_runtime.batches.add(batch_id, [step("late")]))
    await eventually(lambda: gate.waiting)
    await idle_runtime.batches.seal(batch_id)
    await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime.outboxes.run_once()
    found = await stored(idle_runtime, batch_id)
    assert found["state"] == "open"
    # Servers of version 0.3.0 compare with a whole number, whatever they have read.
    as_read = found["additions"] if isinstance(found["additions"], int) else 0
    assert await idle_runtime.database.collection("batches").count_documents({"additions": as_read}) == 0
    gate.open()
    assert len(await adding) == 1
    found = await stored(idle_runtime, batch_id)
    assert (found["state"], found["additions"], found.get("adding")) == ("open", 2, None)
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await idle_runtime.batches.get(batch_id)).batch.state == "finished"
    assert (await idle_runtime.listing.page(JobQuery(type="done"))).items


async def test_a_batch_whose_new_jobs_have_ended_before_their_addition_is_ended_afterwards(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, _ = await new_batch(idle_runtime, step("a"))
    insert = AdditionStore._insert

    async def work_off(store: AdditionStore, *words: Any) -> None:
        await insert(store, *words)
        for _ in range(2):
            await succeed(idle_runtime, await claim(idle_runtime))
        await idle_runtime.batches.seal(batch_id)

    monkeypatch.setattr(AdditionStore, "_insert", work_off)
    await idle_runtime.batches.add(batch_id, [step("late")])
    await idle_runtime.outboxes.run_once()
    assert (await idle_runtime.batches.get(batch_id)).batch.state == "finished"


async def test_a_look_that_began_before_an_addition_does_not_stand_for_one_after_it(idle_runtime: Runtime) -> None:
    batch_id, _ = await new_batch(idle_runtime)
    store = idle_runtime._batch_store
    first = "5" * 24
    made = await idle_runtime.batches._documents(batch_id, [step("a")], numbered_ids(first, 1), {})
    before = await store.get(batch_id)
    await store.additions.add(batch_id, made, {}, first=first, count=1, token=None, refs={})
    await store.seal(batch_id)
    await store.settled(before)
    assert (await store.get(batch_id)).outbox == ("settle",)
    await store.settled(await store.get(batch_id))
    assert (await store.get(batch_id)).outbox == ()


async def test_an_addition_that_takes_too_long_is_dropped_and_adds_nothing(idle_runtime: Runtime, gate: Gate) -> None:
    batch_id, ids = await new_batch(idle_runtime, step("a"), step("join", "a"))
    adding = asyncio.create_task(idle_runtime.batches.add(batch_id, [step("late", blocks=(ids["join"],))]))
    await eventually(lambda: gate.waiting)
    assert len((await idle_runtime.jobs.get(ids["join"])).waits_for) == 2
    await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime._batch_store.additions.run_once()
    join = await idle_runtime.jobs.get(ids["join"])
    assert (join.state, len(join.waits_for)) == (State.DELAYED, 1)
    await idle_runtime.database.collection("batches").update_one({"_id": ObjectId(batch_id)}, LATE)
    await idle_runtime._batch_store.additions.run_once()
    join = await idle_runtime.jobs.get(ids["join"])
    assert (join.state, join.waits_for, join.depends_on) == (State.PENDING, (), (ids["a"],))
    gate.open()
    with pytest.raises(DatabaseUnavailableError, match="nothing was added"):
        await adding
    assert (await idle_runtime.batches.get(batch_id)).counts["pending"] == 1
    assert "adding" not in await stored(idle_runtime, batch_id)


async def test_additions_that_would_let_jobs_wait_for_each_other_take_turns(
    settings: Settings, idle_runtime: Runtime
) -> None:
    async with open_runtime(settings) as other:
        for _ in range(10):
            batch_id, ids = await new_batch(idle_runtime, step("a"), step("one", "a"), step("two", "a"))
            both = await asyncio.gather(
                idle_runtime.batches.add(batch_id, [step("x", "two", blocks=(ids["one"],))]),
                other.batches.add(batch_id, [step("y", "one", blocks=(ids["two"],))]),
                return_exceptions=True,
            )
            assert sorted(isinstance(one, InvalidInputError) for one in both) == [False, True], both
            assert (await idle_runtime.batches.get(batch_id)).counts["delayed"] == 3


async def test_the_same_ref_waits_for_its_turn_and_is_refused_soon_if_that_does_not_come(
    idle_runtime: Runtime, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, _ = await new_batch(idle_runtime)
    monkeypatch.setattr(additions, "_WAIT_SECONDS", 0.1)
    adding = asyncio.create_task(idle_runtime.batches.add(batch_id, [step("a")]))
    await eventually(lambda: gate.waiting)
    with pytest.raises(BusyError):
        await asyncio.wait_for(idle_runtime.batches.add(batch_id, [step("a")]), 20)
    gate.open()
    await adding
    [again] = await idle_runtime.batches.add(batch_id, [step("a")])
    assert (again.id, again.existed) == ((await adding)[0].id, True)


async def test_an_addition_that_is_refused_leaves_nothing_behind(idle_runtime: Runtime) -> None:
    batch_id, ids = await new_batch(idle_runtime, step("a"), step("join", "a"))
    await add(idle_runtime, key="k")
    taken = Member(job=NewJob(type="late", key="k"), blocks=(ids["join"],))
    with pytest.raises(ConflictError):
        await idle_runtime.batches.add(batch_id, [step("fine"), taken])
    join = await idle_runtime.jobs.get(ids["join"])
    assert (join.waits_for, join.depends_on) == ((ids["a"],), (ids["a"],))
    raw = await idle_runtime.jobs.collection.find_one({"_id": ObjectId(join.id)})
    assert raw is not None
    assert "addition" not in raw
    assert not {"adding", "outbox"} & (await stored(idle_runtime, batch_id)).keys()
    assert (await idle_runtime.batches.get(batch_id)).counts["pending"] == 1
