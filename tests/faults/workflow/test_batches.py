"""Children and batches with four processes that die at any write, and are killed besides."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from tests.support.crashes.aftermath import documents, unfinished, work_off
from tests.support.data.scale import sized
from tests.support.mortals import mortals

if TYPE_CHECKING:
    from tests.support.faults.figures import Figures

PROGRAM = "tests.support.workers.crashing_worker"
WORKERS = 4
BATCHES = sized(4, 60)
JOBS = 20


async def test_children_and_callbacks_of_batches_exist_exactly_once_whatever_dies(
    queue: JobQueue, mongo_url: str, db_name: str, figures: Figures
) -> None:
    common: dict[str, Any] = {"lease": 1, "attempts": 50, "backoff": FixedBackoff(0)}
    child = NewJob(type="after", **common)
    members = [Member(job=NewJob(type="step", on_complete=child, **common)) for _ in range(JOBS)]
    made = [
        (await queue.add_batch(NewBatch(members=tuple(members), on_complete=child, on_success=(child, child))))[0]
        for _ in range(BATCHES)
    ]
    with mortals(mongo_url, db_name, program=PROGRAM, count=WORKERS, seed=11, share=sized(0.01, 0.001)) as workers:

        async def is_done() -> bool:
            return await unfinished(queue) == 0

        await work_off(workers, is_done)
    assert workers.deaths["crashed"] > 1
    assert workers.deaths["killed"] > 0
    parents = await documents(queue, {"type": "step"})
    children = Counter(str(one["parentId"]) for one in await documents(queue, {"parentId": {"$ne": None}}))
    assert children == Counter({str(one["_id"]): 1 for one in parents})
    assert len(parents) == BATCHES * JOBS
    assert {one["state"] for one in parents} == {"success"}
    calls = Counter(
        (str(one["callbackOf"]["batchId"]), one["callbackOf"]["event"])
        for one in await documents(queue, {"callbackOf": {"$exists": True}})
    )
    wanted = {(one.batch.id, "complete"): 1 for one in made} | {(one.batch.id, "success"): 2 for one in made}
    assert calls == Counter(wanted)
    figures.count("jobs", len(parents) + len(children) + calls.total())
    figures.count("runs", sum(len(one["history"]) for one in await documents(queue, {})))
    figures.count("children and callbacks, each exactly once", len(children) + calls.total())
    figures.fault("worker crashed at a write", workers.deaths["crashed"])
    figures.fault("worker killed", workers.deaths["killed"])
