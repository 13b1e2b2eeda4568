"""Jobs of a batch that are requeued, end, and let it finish, all at the same moment and in several processes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue import Member, NewBatch, NewJob
from jobqueue.domain.errors import WrongStateError
from jobqueue.domain.work.verdict import Success
from tests.support.data.factories import claim, fail, open_runtime, succeed
from tests.support.data.scale import sized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.support.faults.figures import Figures

RACES = sized(25, 1000)
LONGEST = 0.012
"""Seconds within which all of it happens."""


async def test_a_requeue_an_end_and_a_seal_at_once_tell_success_once_and_not_before_all_have_succeeded(
    settings: Settings, idle_runtime: Runtime, seed: int, figures: Figures
) -> None:
    chance = random.Random(seed)  # noqa: S311 - so that a run can be repeated
    generations: Counter[int] = Counter()
    async with open_runtime(settings) as person, open_runtime(settings) as other:
        for number in range(RACES):
            queue = f"q{number}"
            batch_id, failed = await begin(idle_runtime, queue)
            last = await claim(idle_runtime, queue)
            ways = chance.choice([["one"], ["whole"], ["one", "whole"], ["one", "one"]])
            requeues = [requeue(one, way, batch_id, failed) for one, way in zip((person, other), ways, strict=False)]
            await together(
                chance,
                lambda last=last: idle_runtime.work.settle(last.job, last.token, Success(result=None)),  # type: ignore[misc]
                lambda batch_id=batch_id: other.batches.seal(batch_id),  # type: ignore[misc]
                *requeues,
            )
            told = await callbacks(idle_runtime, batch_id)
            assert told["success"] == 0
            await succeed(idle_runtime, await claim(idle_runtime, queue))
            assert (await idle_runtime.batches.get(batch_id)).batch.state == "finished"
            # A note to look whether it has finished may be left, for whoever looks next.
            await idle_runtime.outboxes.run_once()
            view = await idle_runtime.batches.get(batch_id)
            told = await callbacks(idle_runtime, batch_id)
            generations[view.batch.generation] += 1
            assert (view.batch.state, view.batch.outbox, view.batch.verdict) == ("finished", (), "success")
            assert view.batch.generation <= 1
            assert told == Counter(failure=1, success=1, complete=1 + view.batch.generation)
    assert not await idle_runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})
    figures.count("races of a requeue, an end and a seal", RACES)
    figures.count("races in which the batch had finished before the requeue", generations[1])


async def begin(runtime: Runtime, queue: str) -> tuple[str, str]:
    """Create an open batch of two jobs of which the first fails; return the ids of both of them, batch and job."""
    members = [Member(job=NewJob(type=kind, queue=queue, attempts=1)) for kind in ("bad", "good")]
    called: dict[str, Any] = {
        f"on_{event}": NewJob(type=event, queue="callbacks") for event in ("complete", "success", "failure")
    }
    view, added = await runtime.batches.create(NewBatch(members=members, sealed=False, **called))
    await fail(runtime, await claim(runtime, queue))
    return view.batch.id, added[0].id


def requeue(runtime: Runtime, way: str, batch_id: str, job_id: str) -> Callable[[], Awaitable[object]]:
    async def one() -> None:
        try:
            await runtime.manager.requeue(job_id)
        except WrongStateError:
            # Somebody else was faster.
            return

    return one if way == "one" else lambda: runtime.batches.requeue(batch_id)


async def together(chance: random.Random, *all_of_it: Callable[[], Awaitable[object]]) -> None:
    async def later(delay: float, what: Callable[[], Awaitable[object]]) -> None:
        await asyncio.sleep(delay)
        await what()

    await asyncio.gather(*(later(chance.uniform(0, LONGEST), what) for what in all_of_it))


async def callbacks(runtime: Runtime, batch_id: str) -> Counter[str]:
    found = runtime.jobs.collection.find({"callbackOf.batchId": ObjectId(batch_id)}, {"type": 1})
    return Counter([one["type"] async for one in found])
