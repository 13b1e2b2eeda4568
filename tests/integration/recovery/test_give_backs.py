"""Jobs that were claimed and are never begun: they go back at once, and no attempt is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import NetworkTimeout

from jobqueue import JobQueue
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.services.runs.execution import Execution
from jobqueue.services.work import dispatcher
from jobqueue.services.work.loops import Promoter
from jobqueue.store.documents import documents
from tests.support.data.factories import add, claim, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


class Broken:
    """Raises the first times it is called, and does what it should afterwards."""

    def __init__(self, call: Any, error: BaseException, *, times: float = 1) -> None:
        self._call, self._error, self._left = call, error, times
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self._left > 0:
            self._left -= 1
            raise self._error
        return self._call(*args, **kwargs)


async def dependent(runtime: Runtime, **fields: Any) -> Job:
    """Return a job with one attempt whose dependency has succeeded."""
    first = await add(runtime, "first")
    job = await add(runtime, depends_on=(first.id,), attempts=1, **fields)
    await succeed(runtime, await claim(runtime))
    return job


async def comes_back(runtime: Runtime, job: Job, *, times: int = 1) -> None:
    """Wait until a job is waiting again, uncounted."""

    async def waits() -> bool:
        return (await runtime.jobs.get(job.id)).state in {State.PENDING, State.DELAYED}

    await eventually(waits)
    after = await runtime.jobs.get(job.id)
    assert (after.state, after.attempts_made, after.claim) == (State.PENDING, 0, None)
    assert [entry.outcome for entry in after.history] == [Outcome.RELEASE] * times


@pytest.mark.parametrize("error", [DatabaseUnavailableError("stepped down"), RuntimeError("unforeseen")])
async def test_a_job_whose_predecessors_cannot_be_read_goes_back_uncounted(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job = await dependent(idle_runtime)
    dependencies = idle_runtime.work._dependencies
    monkeypatch.setattr(dependencies, "parents", Broken(dependencies.parents, error))
    with pytest.raises(type(error), match=str(error)):
        await claim(idle_runtime)
    await comes_back(idle_runtime, job)
    again = await claim(idle_runtime)
    assert (again.job.id, again.job.attempts_made, len(again.job.parents or ())) == (job.id, 1, 1)


async def test_a_job_whose_history_cannot_be_moved_out_goes_back_uncounted(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime, attempts=1)
    monkeypatch.setattr("jobqueue.services.runs.attempts.MOST_HISTORY", 0)
    history = idle_runtime.jobs.history
    monkeypatch.setattr(history, "spill", Broken(history.spill, DatabaseUnavailableError("stepped down")))
    with pytest.raises(DatabaseUnavailableError):
        await claim(idle_runtime)
    await comes_back(idle_runtime, job)


async def test_a_job_whose_claimer_is_cancelled_while_predecessors_are_read_goes_back_uncounted(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await dependent(idle_runtime)
    reading = asyncio.Event()

    async def hang(_: Any) -> None:
        reading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(idle_runtime.work._dependencies, "parents", hang)
    claiming = asyncio.create_task(claim(idle_runtime))
    await reading.wait()
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    await idle_runtime.work.give_backs.drain()
    await comes_back(idle_runtime, job)


async def test_a_claim_that_cannot_be_counted_is_a_claim_all_the_same(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime)
    monkeypatch.setattr(idle_runtime.metrics, "claimed", Broken(None, ValueError("no such label")))
    assert (await claim(idle_runtime)).job.id == job.id


async def test_a_job_claimed_under_limits_goes_back_and_leaves_its_slot(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await idle_runtime.queues.patch("default", {"concurrency": 1})
    job = await add(idle_runtime, attempts=1)
    slots = idle_runtime.work._limiter.slots
    monkeypatch.setattr(slots, "taken", Broken(slots.taken, RuntimeError("unforeseen")))
    with pytest.raises(RuntimeError, match="unforeseen"):
        await claim(idle_runtime)
    await comes_back(idle_runtime, job)
    assert (await claim(idle_runtime)).job.id == job.id


async def test_a_job_whose_document_cannot_be_read_goes_back_uncounted(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime, attempts=1)
    monkeypatch.setattr(documents, "job", Broken(documents.job, ValueError("cannot be read")))
    with pytest.raises(ValueError, match="cannot be read"):
        await claim(idle_runtime)
    await comes_back(idle_runtime, job)


async def test_a_claim_that_the_server_makes_after_its_client_gave_up_is_given_back(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime, attempts=1)
    collection, held = idle_runtime.claims.collection, idle_runtime.claims.held
    call, looked = collection.find_one_and_update, asyncio.Event()
    late: list[asyncio.Task[Any]] = []

    async def make_it(*args: Any, **kwargs: Any) -> Any:
        await looked.wait()
        return await call(*args, **kwargs)

    async def time_out(*args: Any, **kwargs: Any) -> Any:
        late.append(asyncio.create_task(make_it(*args, **kwargs)))
        raise NetworkTimeout("too slow")

    async def look(*args: Any) -> Any:
        found = await held(*args)
        looked.set()
        return found

    # No configuration is too old here: the claim is late, and made.
    monkeypatch.setattr("jobqueue.services.signals.config.FRESH_SECONDS", 3600)
    monkeypatch.setattr(idle_runtime.configs, "_window", 3600)
    monkeypatch.setattr(idle_runtime.claims, "held", look)
    monkeypatch.setattr(collection, "find_one_and_update", time_out)
    with pytest.raises(DatabaseUnavailableError):
        await claim(idle_runtime)
    monkeypatch.setattr(collection, "find_one_and_update", call)
    # The first look has found nothing: it is looked for again.
    await eventually(looked.is_set)
    assert (await late[0])["_id"]
    await comes_back(idle_runtime, job)
    assert (await claim(idle_runtime)).job.id == job.id


async def test_a_job_that_can_never_be_begun_holds_up_no_other_job(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await dependent(idle_runtime, priority=9)
    other = await add(idle_runtime)
    dependencies = idle_runtime.work._dependencies
    monkeypatch.setattr(dependencies, "parents", Broken(None, RuntimeError("unforeseen"), times=float("inf")))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="unforeseen"):
            await claim(idle_runtime)
        await idle_runtime.work.give_backs.drain()
    waits = await idle_runtime.jobs.get(job.id)
    assert (waits.state, waits.attempts_made) == (State.DELAYED, 0)
    assert waits.error is not None
    assert (waits.error.kind, waits.error.message) == ("RuntimeError", "claimed and not begun: unforeseen")
    assert (await claim(idle_runtime)).job.id == other.id
    monkeypatch.undo()

    async def is_due() -> bool:
        await Promoter(idle_runtime.jobs, idle_runtime.notifier).run_once()
        return (await idle_runtime.jobs.get(job.id)).state is State.PENDING

    await eventually(is_due)
    done = await succeed(idle_runtime, await claim(idle_runtime))
    assert (done.id, done.state, done.attempts_made, done.error) == (job.id, State.SUCCESS, 1, None)


async def test_a_job_is_given_back_when_the_database_answers_again(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await dependent(idle_runtime)
    away = DatabaseUnavailableError("away")
    dependencies, jobs = idle_runtime.work._dependencies, idle_runtime.jobs
    monkeypatch.setattr(dependencies, "parents", Broken(dependencies.parents, away))
    apply = Broken(jobs.apply, away, times=3)
    monkeypatch.setattr(jobs, "apply", apply)
    with pytest.raises(DatabaseUnavailableError):
        await claim(idle_runtime)
    await comes_back(idle_runtime, job)
    assert apply.calls == 4


async def test_a_process_that_stops_does_not_wait_for_long_for_a_database_that_is_away(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = DatabaseUnavailableError("away")
    claimed = await claim_one(idle_runtime)
    monkeypatch.setattr(idle_runtime.jobs, "apply", Broken(None, away, times=float("inf")))
    monkeypatch.setattr(idle_runtime.claims, "held", Broken(None, away, times=float("inf")))
    idle_runtime.work.give_backs.give_back(claimed.job, claimed.token)
    monkeypatch.setattr(idle_runtime.claims, "_claim", Broken(None, away))
    with pytest.raises(DatabaseUnavailableError):
        await claim(idle_runtime)
    give_backs = idle_runtime.work.give_backs
    assert len(give_backs._tasks) == 2
    await give_backs.drain(within=0.2)
    assert not give_backs._tasks
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PROCESSING


async def claim_one(runtime: Runtime) -> Any:
    await add(runtime)
    return await claim(runtime)


async def test_a_job_for_which_no_processor_can_be_made_goes_back_and_others_run(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    async with JobQueue(settings) as worker:

        @worker.handler("work", concurrency=1)
        async def work(job: Any) -> None:
            ran.append(job.id)

        runtime = await worker.open()
        # Not even its run can be made.
        monkeypatch.setattr(dispatcher, "Execution", Broken(Execution, TypeError("no processor"), times=2))
        jobs = [await add(idle_runtime, attempts=1) for _ in range(3)]
        async with worker.working(concurrency=2) as working:
            await eventually(lambda: sorted(ran) == sorted(job.id for job in jobs))
            await eventually(lambda: working._busy == 0)
            assert not any(one.taken for one in working._demands.values())
        for job in jobs:
            assert (await runtime.jobs.get(job.id)).attempts_made == 1


class MuteError(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")


async def test_a_job_goes_back_whatever_the_error_is_that_kept_it_from_being_begun(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    for _ in range(2):
        claimed = await claim(idle_runtime)
        idle_runtime.work.give_backs.give_back(claimed.job, claimed.token, MuteError())
        await idle_runtime.work.give_backs.drain()
    waits = await idle_runtime.jobs.get(job.id)
    assert (waits.state, waits.attempts_made) == (State.DELAYED, 0)
    assert waits.error is not None
    assert waits.error.message == "claimed and not begun: MuteError, whose __str__ raised ValueError: no text"
