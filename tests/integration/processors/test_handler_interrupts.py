"""What a plain handler raises cannot end its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.attempts.states import State
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import JobQueue
    from jobqueue.domain.jobs.job import Job


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), BaseException("odd")], ids=repr)
async def test_an_interrupt_raised_by_a_plain_handler_fails_its_job_only(queue: JobQueue, error: BaseException) -> None:
    @queue.handler("odd")
    def odd(_job: Any) -> None:
        raise error

    @queue.handler("good")
    def good(_job: Any) -> str:
        return "done"

    async def ended(job_id: str) -> Job | None:
        job = await queue.get(job_id)
        return job if job.state in {State.FAILED, State.SUCCESS} else None

    async with queue.working():
        failed = await queue.add("odd", attempts=1)
        one = await eventually(lambda: ended(failed.id))
        assert one is not None
        assert one.state is State.FAILED
        assert one.error is not None
        other = await queue.add("good")
        done = await eventually(lambda: ended(other.id))
        assert done is not None
        assert done.result == "done"
