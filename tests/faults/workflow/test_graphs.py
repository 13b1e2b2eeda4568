"""Graphs of jobs with four processes that die at any write, and are killed besides."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import FINAL
from tests.support.crashes.aftermath import documents, unfinished, work_off
from tests.support.data.scale import sized
from tests.support.mortals import mortals

if TYPE_CHECKING:
    from tests.support.faults.figures import Figures

PROGRAM = "tests.support.workers.crashing_worker"
WORKERS = 4


async def test_random_graphs_run_in_order_also_when_jobs_fail_are_requeued_and_processes_die(
    queue: JobQueue, mongo_url: str, db_name: str, figures: Figures
) -> None:
    rng = random.Random(23)  # noqa: S311 - no secret
    graphs = [random_graph(rng) for _ in range(sized(3, 12))]
    after = NewJob(type="after", lease=1, attempts=50, backoff=FixedBackoff(0))
    made = [await queue.add_batch(NewBatch(members=graph, on_success=after)) for graph in graphs]
    batches = [view.batch.id for view, _ in made]
    with mortals(mongo_url, db_name, program=PROGRAM, count=WORKERS, seed=77, share=sized(0.004, 0.002)) as workers:

        async def is_done() -> bool:
            return await unfinished(queue) == 0

        await work_off(workers, is_done)
        broken = [one for one in batches if (await queue.batch(one)).counts["success"] != len(graphs[0])]
        assert broken
        for one in broken:
            await queue.requeue_batch(one)
        await work_off(workers, is_done)
    for one in batches:
        view = await queue.batch(one)
        assert (view.batch.state, view.counts["success"]) == ("finished", len(graphs[0]))
    jobs = {one["_id"]: one for one in await documents(queue, {"type": "step"})}
    for job in jobs.values():
        assert job["state"] in {state.value for state in FINAL}
        # Each has looked itself whether those before it had succeeded.
        assert "die" not in {entry["outcome"] for entry in job["history"]}, job["error"]
    succeeded = Counter(str(one["callbackOf"]["batchId"]) for one in await documents(queue, {"type": "after"}))
    assert succeeded == Counter(batches)
    figures.count("jobs", len(jobs))
    figures.count("runs", sum(len(job["history"]) for job in jobs.values()))
    figures.fault("worker crashed at a write", workers.deaths["crashed"])
    figures.fault("worker killed", workers.deaths["killed"])


def random_graph(rng: random.Random) -> tuple[Member, ...]:
    """Return jobs of which each depends on some before it; a few fail until they are requeued."""

    def job() -> NewJob:
        fails = rng.random() < 0.1
        return NewJob(type="step", data={"fails": fails}, lease=1, attempts=3 if fails else 50, backoff=FixedBackoff(0))

    return tuple(
        Member(job=job(), ref=f"n{place}", after=tuple(f"n{n}" for n in range(place) if rng.random() < 2 / (place + 1)))
        for place in range(40)
    )
