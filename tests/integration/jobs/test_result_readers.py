"""Results that are read at an odd moment, or by an odd name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.errors import ResultUnavailableError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.results import Results
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.jobs.retention import UnreadJobs
from tests.support.data.factories import add, claim, document, fail, succeed

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.store.documents.statements import Document


async def test_a_stand_in_of_two_batches_reads_both(idle_runtime: Runtime) -> None:
    await add(idle_runtime, "living", key="report", queue="callbacks")
    ids = []
    for _ in range(2):
        _, [one] = await idle_runtime.batches.create(
            NewBatch(
                members=[Member(job=NewJob(type="a", on_success_delete=True))],
                on_success=NewJob(type="report", key="report", queue="callbacks"),
            )
        )
        await succeed(idle_runtime, await claim(idle_runtime))
        ids.append(one.id)
    documents = [await document(idle_runtime, one) for one in ids]
    assert {str(one) for one in await idle_runtime.jobs.readers.kept_for(documents)} == set(ids)


async def test_a_job_that_comes_to_be_depended_on_at_the_last_moment_is_kept(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await add(idle_runtime, "a", on_success_delete=True)
    keep = idle_runtime.jobs.readers.keep

    async def slow(job: Job) -> Document | None:
        found = await keep(job)
        with monkeypatch.context() as patched:
            patched.setattr(idle_runtime.jobs.readers, "keep", keep)
            await add(idle_runtime, "b", depends_on=[first.id], queue="later")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(idle_runtime.jobs.readers, "keep", slow)
        await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime.outboxes.run_once()
    [parent] = (await claim(idle_runtime, "later")).job.parents or ()
    assert "result" in parent


async def test_a_result_is_not_none_while_its_job_runs_once_more(idle_runtime: Runtime) -> None:
    first = await add(idle_runtime, "a")
    await add(idle_runtime, "b", depends_on=[first.id], queue="later")
    await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime.manager.requeue(first.id)
    results = Results((await claim(idle_runtime, "later")).job.parents or ())
    with pytest.raises(ResultUnavailableError, match="started anew"):
        results[first.id]


def test_a_ref_that_is_the_id_of_another_job_hides_no_result() -> None:
    one, other = "a" * 24, "b" * 24
    results = Results([{"id": one, "ref": other, "result": 1}, {"id": other, "result": 2}])
    assert dict(results) == {one: 1, other: 2}


async def test_members_stay_until_a_repair_has_brought_on_complete(idle_runtime: Runtime) -> None:
    members = [Member(job=NewJob(type="a", on_success_delete=True)), Member(job=NewJob(type="b", attempts=1))]
    callback = NewJob(type="told", queue="callbacks")
    _, [kept, broken] = await idle_runtime.batches.create(NewBatch(members=members, on_complete=callback))
    await succeed(idle_runtime, await claim(idle_runtime))
    await fail(idle_runtime, await claim(idle_runtime))
    await succeed(idle_runtime, await claim(idle_runtime, "callbacks"))
    await UnreadJobs(idle_runtime.jobs).run_once()
    await idle_runtime.manager.requeue(broken.id)
    await succeed(idle_runtime, await claim(idle_runtime))
    await claim(idle_runtime, "callbacks")
    assert await idle_runtime.jobs.find(kept.id) is not None
