"""A handler with a call and a map whose process dies around every write: children exactly once, and no lost end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.processors.callbacks.callback import CallbackProcessor
from jobqueue.processors.callbacks.handlers import Handler
from jobqueue.services.runs.reporter import JobReporter
from tests.support.crashes.crash_everywhere import Crash, Mortal, process, reaping
from tests.support.data.factories import LONG_AGO, add, patient_reaper

if TYPE_CHECKING:
    from jobqueue import ActiveJob, BlockingJob
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings
    from tests.support.faults.figures import Figures

MOST = 120
"""Writes that no run comes near to."""
LARGE = 20_000
"""Characters of a result that makes the results of the map too large for the document of the parent."""
CHILDREN = 3


async def parent_in_loop(job: ActiveJob) -> Any:
    one = await job.call("one", "child", {"n": 0}, attempts=9, backoff=0)
    many = await job.map("many", "child", [{"n": n} for n in range(1, CHILDREN)], attempts=9, backoff=0)
    return [one, [len(text) for text in many]]


def parent_in_thread(job: BlockingJob) -> Any:
    one = job.call("one", "child", {"n": 0}, attempts=9, backoff=0)
    many = job.map("many", "child", [{"n": n} for n in range(1, CHILDREN)], attempts=9, backoff=0)
    return [one, [len(text) for text in many]]


async def parent_of_a_failure(job: ActiveJob) -> Any:
    return await parent_in_loop(job) if job.steps else [await job.call("one", "failing", {"n": 0}, attempts=1), []]


async def failing(job: ActiveJob) -> Any:
    """Fail until the parent has requeued the job."""
    if all(entry.outcome != "requeue" for entry in job.job.history):
        raise ValueError("not yet")
    return job.data["n"]


async def child(job: ActiveJob) -> Any:
    return job.data["n"] if job.data["n"] == 0 else "x" * LARGE


async def run(runtime: Runtime, claimed: ClaimedJob, parent: Any) -> None:
    """Run a claimed job as a worker does, and record its outcome."""
    kinds = {"parent": parent, "child": child, "failing": failing}
    handlers = {
        ("default", kind): Handler(type=kind, queue="default", function=function) for kind, function in kinds.items()
    }
    processor = CallbackProcessor(handlers, lambda _: None)  # type: ignore[arg-type,return-value]
    reporter = JobReporter(runtime.work, claimed.job, claimed.token, lambda _: None, claimed.results)
    await runtime.work.settle(claimed.job, claimed.token, await processor.run(claimed.job, reporter))


async def turn(runtime: Runtime, parent: Any) -> bool:
    """Run the next job; return False if there is none."""
    claimed = await runtime.work.claim("default", None, worker="worker")
    if claimed is not None:
        await run(runtime, claimed, parent)
    return claimed is not None


async def mend(runtime: Runtime) -> None:
    """End leases and process outboxes as another process does after the death of one."""
    await runtime.jobs.collection.update_many({"state": "processing"}, {"$set": {"resetAt": LONG_AGO}})
    await patient_reaper(runtime).run_once()
    await runtime.outboxes.run_once()


async def die_once(runtime: Runtime, settings: Settings, parent: Any, mortal: Mortal) -> list[str]:
    """Run a parent and its children to their ends, in a process that dies and then in another; return the faults."""
    job = await add(runtime, "parent", attempts=9, backoff=0, lease=60)
    async with process(settings, mortal) as dying:
        with contextlib.suppress(Crash):
            while await turn(dying, parent):
                pass
    for _ in range(40):
        if (await runtime.jobs.get(job.id)).state is State.SUCCESS:
            break
        await mend(runtime)
        await turn(runtime, parent)
    await mend(runtime)
    return await violations(runtime, job.id)


async def violations(runtime: Runtime, job_id: str) -> list[str]:
    present = await runtime.jobs.get(job_id)
    found = []
    if present.state is not State.SUCCESS or present.result != [0, [LARGE] * (CHILDREN - 1)]:
        found.append(f"{present.state}: {present.error} {present.result} {present.wait}")
    children = await runtime.jobs.collection.find({"parentId": ObjectId(job_id)}).to_list(None)
    if sorted(document["data"]["n"] for document in children) != list(range(CHILDREN)):
        found.append(f"{len(children)} children")
    if {document["state"] for document in children} != {"success"}:
        found.append("a child has not succeeded")
    successes = [sum(entry["outcome"] == "success" for entry in document["history"]) for document in children]
    if set(successes) != {1}:
        found.append(f"children succeeded {successes} times")
    names = [step.name for step in present.steps or ()]
    if names != ["one", "many"]:
        found.append(f"steps are {names}")
    left = await runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})
    outside = await runtime.database.collection("steps").count_documents({"jobId": ObjectId(job_id)})
    # A crash between two writes leaves a result that nobody reads; it goes with the job.
    if left or outside not in {1, 2}:
        found.append(f"{left} outboxes and {outside} results outside are left")
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("parent", "phase"),
    [
        (parent_in_loop, "after"),
        (parent_in_loop, "before"),
        (parent_in_thread, "after"),
        # What a thread writes, it writes by way of the loop.
        pytest.param(parent_in_thread, "before", marks=pytest.mark.full),
        (parent_of_a_failure, "after"),
        (parent_of_a_failure, "before"),
    ],
)
async def test_children_exist_exactly_once_and_their_parent_ends(
    idle_runtime: Runtime, settings: Settings, figures: Figures, parent: Any, phase: str
) -> None:
    found: list[str] = []
    with reaping() as reaper:
        for nth in range(1, MOST):
            mortal = Mortal(nth=nth, after=phase == "after")
            with reaper.watching(mortal):
                found += [
                    f"{nth} {mortal.at}: {fault}" for fault in await die_once(idle_runtime, settings, parent, mortal)
                ]
            if mortal.at is None:
                break
            figures.fault("process crashed just before or after a certain write")
    assert found == []
    # Two steps of three writes each; three claims of the parent and three of children, with their ends.
    assert 25 < nth < MOST
