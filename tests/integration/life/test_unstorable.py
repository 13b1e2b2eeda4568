"""Outcomes that cannot be stored as they are: each is recorded all the same, at once, and says why."""

from __future__ import annotations

import asyncio
import enum
import re
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import JobStanding, Outcome, State
from jobqueue.domain.errors import InvalidInputError, WriteRefusedError
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success, Verdict
from jobqueue.services.runs import execution
from jobqueue.services.runs.execution import Execution
from tests.support.data.factories import ERROR, add, claim, claimed_job
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobqueue import Job, JobQueue
    from jobqueue.services.application import Runtime


class NotATime(datetime):
    """A date by its type only, as ``NaT`` of pandas is."""

    def replace(self, *_: Any, **__: Any) -> Any:
        return self

    def astimezone(self, *_: Any, **__: Any) -> Any:
        raise ValueError("NaTType does not support astimezone")

    def isoformat(self, *_: Any, **__: Any) -> str:
        return "NaT"


class Level(enum.Enum):
    HIGH = "high"


class Scalar:
    """A number as numpy's whole ones are: no `int`."""

    def __int__(self) -> int:
        return 1


class Locked(dict[str, Any]):
    def items(self) -> Any:
        raise KeyError("locked")


class Liar:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return dict


def ring() -> list[Any]:
    """Return a list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


def laughs() -> list[Any]:
    """Return a small list of very many values."""
    value: list[Any] = []
    for _ in range(50):
        value = [value, value]
    return value


def numbers() -> Iterator[int]:
    yield 1


RESULTS: dict[str, Callable[[], Any]] = {
    "member of an enum": lambda: Level.HIGH,
    "scalar": Scalar,
    "mapping whose keys raise": lambda: {"a": Locked(b=1)},
    "list that holds itself": ring,
    "liar": Liar,
    "generator": lambda: {"rows": numbers()},
    "deque": deque,
}
TEXTS: dict[str, tuple[Callable[[], Any], str]] = {
    "date that is none": (lambda: {"rows": [{"paid": NotATime(1, 1, 1)}]}, '{"rows": [{"paid": "NaT"}]}'),
    "huge number": (lambda: {"n": 10**400}, f'{{"n": {10**400}}}'),
    "no number": (lambda: [float("nan"), float("-inf")], "[NaN, -Infinity]"),
    "lone surrogate": (lambda: "\ud800 é", '"\\ud800 é"'),
    "name of MongoDB": (lambda: {"$ref": (1, None, True)}, '{"$ref": [1, null, true]}'),
    "name that is a number": (lambda: {1: 2}, '{"1": 2}'),
}
LONG: dict[str, tuple[Callable[[], Any], str]] = {
    "many values": (laughs, ""),
    "long text": (lambda: {"a": "x" * 5_000_000}, ""),
    "long list": (lambda: [0] * 500_000, ""),
    "long text of a name of MongoDB": (lambda: {"$ref": "x" * 5_000_000}, " (as text, for result.$ref: has a name"),
}


async def ended(queue: JobQueue, job: Job) -> Job:
    async def has_ended() -> bool:
        return (await queue.get(job.id)).end_at is not None

    await eventually(has_ended)
    return await queue.get(job.id)


@pytest.mark.parametrize("name", TEXTS)
async def test_a_result_that_can_be_told_is_kept_as_its_text(queue: JobQueue, name: str) -> None:
    make, text = TEXTS[name]

    @queue.handler("work")
    def work(_: Any) -> Any:
        return make()

    async with queue.working():
        done = await ended(queue, await queue.add("work", attempts=1, lease=3600))
    assert (done.state, done.attempts_made, [one.outcome for one in done.history]) == (
        *(State.SUCCESS, 1),
        [Outcome.SUCCESS],
    )
    assert done.result == text
    ((line, level),) = [(line.m, line.level) for line in done.logs]
    assert level == "warning"
    assert line.startswith("the result cannot be stored as it is, so its text is the result: result")


@pytest.mark.parametrize("name", LONG)
async def test_a_result_over_its_limit_fails_its_attempt_and_nothing_of_it_is_kept(queue: JobQueue, name: str) -> None:
    make, why = LONG[name]

    @queue.handler("work")
    def work(_: Any) -> Any:
        return make()

    async with queue.working():
        done = await ended(queue, await queue.add("work", attempts=1, lease=3600))
    assert (done.state, done.attempts_made, done.result) == (State.FAILED, 1, None)
    assert done.error is not None
    assert done.error.kind == "invalid-result"
    assert re.match(
        r"the result cannot be stored: result takes [\d,]+ bytes; the limit is 4,194,304", done.error.message
    )
    assert why in done.error.message
    assert [(line.m, line.level) for line in done.logs] == [(done.error.message, "error")]


async def test_no_job_runs_on_a_part_of_a_result(queue: JobQueue) -> None:
    sizes = [5_000_000, 2_000_000]
    lengths: list[int] = []

    @queue.handler("make")
    def make(_: Any) -> str:
        return "x" * sizes.pop(0)

    @queue.handler("use")
    def use(job: Any) -> None:
        lengths.append(len(job.parents[0]["result"]))

    first = await queue.add("make", attempts=2, backoff=[0.1], lease=3600)
    async with queue.working():
        done = await ended(queue, await queue.add("use", depends_on=[first.id], attempts=1, lease=3600))
    assert (done.state, lengths) == (State.SUCCESS, [2_000_000])


async def test_a_warning_of_a_success_is_logged_once(idle_runtime: Runtime) -> None:
    job = await executed(idle_runtime, Success(result="text", warning="why it is text"))
    assert (job.state, job.result) == (State.SUCCESS, "text")
    assert [(line.m, line.level) for line in job.logs] == [("why it is text", "warning")]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
async def test_a_result_that_is_no_data_fails_its_job_at_once_and_no_other(queue: JobQueue, *, is_async: bool) -> None:
    runs: list[str] = []

    def make(job: Any) -> Any:
        runs.append(job.data["what"])
        return RESULTS[job.data["what"]]() if job.data["what"] in RESULTS else {"fine": True}

    async def make_later(job: Any) -> Any:
        return make(job)

    queue.handler("work")(make_later if is_async else make)
    names = [name for pair in zip(RESULTS, map(str, range(len(RESULTS))), strict=True) for name in pair]
    jobs = {name: await queue.add("work", {"what": name}, attempts=1, lease=3600) for name in names}
    async with queue.working(concurrency=20):
        for name, job in jobs.items():
            done = await ended(queue, job)
            if name not in RESULTS:
                assert (done.state, done.result) == (State.SUCCESS, {"fine": True})
                continue
            assert (done.state, done.attempts_made) == (State.FAILED, 1)
            assert [one.outcome for one in done.history] == [Outcome.FAIL]
            assert done.error is not None
            assert done.error.kind == "invalid-result"
            assert done.error.message.startswith("the result cannot be stored: result")
            assert [(line.m, line.level) for line in done.logs] == [(done.error.message, "error")]
    assert sorted(runs) == sorted(names)


async def test_the_attempts_that_are_left_are_made_after_the_backoff(queue: JobQueue) -> None:
    results = [Level.HIGH, 5]

    @queue.handler("work")
    def work(_: Any) -> Any:
        return results.pop(0)

    async with queue.working():
        done = await ended(queue, await queue.add("work", attempts=2, backoff=[0.1], lease=3600))
    assert (done.state, done.result) == (State.SUCCESS, 5)
    assert [one.outcome for one in done.history] == [Outcome.FAIL, Outcome.SUCCESS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """A processor that has its verdict already."""

    verdict: Verdict
    stop_seconds: float = 1.0

    async def run(self, *_: object) -> Verdict:
        return self.verdict


async def executed(runtime: Runtime, verdict: Verdict, **fields: Any) -> Job:
    """Run a job that ends with a verdict; return the job as it is then."""
    claimed = await claimed_job(runtime, **fields)
    run = Execution(claimed, Stub(verdict=verdict), runtime.work, runtime.keeper, lambda: None)
    await run.run()
    await run.settle()
    return await runtime.jobs.get(claimed.job.id)


def poisoned(error: JobError) -> JobError:
    """Return an error that was spoilt after it was made."""
    object.__setattr__(error, "trace", object())
    return error


@pytest.mark.parametrize(
    ("verdict", "state", "outcome", "kind"),
    [
        (Death(error=poisoned(JobError(kind="die", message="no"))), State.KILLED, Outcome.DIE, "die"),
        (Failure(error=poisoned(JobError(kind="Boom", message="no"))), State.DELAYED, Outcome.FAIL, "Boom"),
        (
            Failure(error=poisoned(JobError(kind="timeout", message="no")), timed_out=True),
            *(State.DELAYED, Outcome.TIMEOUT, "timeout"),
        ),
        (RunAgain(error=poisoned(JobError(kind="retry", message="no"))), State.DELAYED, Outcome.RETRY, "retry"),
    ],
    ids=["die", "fail", "timeout", "retry"],
)
async def test_a_decision_counts_though_its_reason_cannot_be_stored(
    idle_runtime: Runtime, verdict: Verdict, state: State, outcome: Outcome, kind: str
) -> None:
    job = await executed(idle_runtime, verdict, attempts=3, backoff=60)
    assert (job.state, [one.outcome for one in job.history]) == (state, [outcome])
    assert job.error is not None
    assert job.error.kind == kind
    assert job.error.message.startswith("the reason cannot be stored: reason: cannot be stored: InvalidDocument")
    assert [line.level for line in job.logs] == ["error"]


async def test_an_outcome_that_cannot_be_written_does_not_spoil_those_written_with_it(idle_runtime: Runtime) -> None:
    for _ in range(6):
        await add(idle_runtime)
    claims = [await claim(idle_runtime) for _ in range(6)]
    spoilt = Failure(error=poisoned(JobError(kind="Boom", message="no")))
    verdicts: list[Verdict] = [*(Success(result=number) for number in range(5)), spoilt]
    told = await asyncio.gather(
        *(idle_runtime.work.settle(one.job, one.token, verdict) for one, verdict in zip(claims, verdicts, strict=True)),
        return_exceptions=True,
    )
    assert told[:5] == [JobStanding(state=State.SUCCESS)] * 5
    assert isinstance(told[5], InvalidInputError)
    jobs = [await idle_runtime.jobs.get(one.job.id) for one in claims]
    assert [(job.state, job.result) for job in jobs[:5]] == [(State.SUCCESS, number) for number in range(5)]
    assert jobs[5].state is State.PROCESSING


async def forbid(runtime: Runtime, **rule: Any) -> None:
    """Make the server refuse documents, as an administrator's rule for the collection does."""
    await runtime.database.raw.command("collMod", "jobs", validator={"$nor": [rule]})


async def test_a_write_that_the_server_refuses_again_and_again_is_made_in_plain_words(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_MOST_REFUSALS", 2)
    await forbid(idle_runtime, state="success")
    job = await executed(idle_runtime, Success(result=1), attempts=1)
    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert job.error is not None
    assert job.error.kind == "invalid-result"
    assert "Document failed validation" in job.error.message


async def test_a_write_that_the_server_refuses_for_a_while_is_made_as_it_was(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forbid(idle_runtime, state="success")
    refused = asyncio.Event()
    apply = idle_runtime.jobs.apply

    async def watched(*arguments: Any) -> Any:
        try:
            return await apply(*arguments)
        except WriteRefusedError:
            refused.set()
            raise

    monkeypatch.setattr(idle_runtime.jobs, "apply", watched)
    running = asyncio.create_task(executed(idle_runtime, Success(result=1), attempts=1))
    await refused.wait()
    await forbid(idle_runtime, state="never")
    job = await running
    assert (job.state, job.result, job.error) == (State.SUCCESS, 1, None)


async def test_an_outcome_refused_in_any_words_leaves_the_job_to_its_lease(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_MOST_REFUSALS", 1)
    await forbid(idle_runtime, state={"$in": ["success", "failed"]})
    assert (await executed(idle_runtime, Success(result=1), attempts=1)).state is State.PROCESSING


async def test_an_outcome_that_can_be_stored_is_not_touched(idle_runtime: Runtime) -> None:
    job = await executed(idle_runtime, Failure(error=ERROR), attempts=1)
    assert (job.state, job.error, job.logs) == (State.FAILED, ERROR, ())
