"""A signal that comes while its job begins to wait, runs out of time, is killed or is requeued.

No wake-up is lost, and no signal is taken twice or by nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import ConflictError, StaleTokenError
from jobqueue.services.runs.suspending import suspend_for_signal
from tests.support.data.factories import add
from tests.support.data.scale import sized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

RACES = sized(60, 1000)
AT_ONCE = 20
NUMBERS = itertools.count()
SPREAD = 0.02
"""Seconds between the first and the last moment at which a side may begin."""

pytestmark = pytest.mark.timeout(1200)


async def races(one: Callable[[], Awaitable[str]]) -> Counter[str]:
    """Run a race often, some at a time; return how often each outcome came."""
    outcomes: Counter[str] = Counter()
    for _ in range(RACES // AT_ONCE):
        outcomes.update(await asyncio.gather(*(one() for _ in range(AT_ONCE))))
    return outcomes


async def together(*sides: Callable[[], Awaitable[Any]]) -> None:
    """Begin all sides at almost the same time; a side that comes too late is refused, which is no fault."""

    async def late(side: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(random.random() * SPREAD)  # noqa: S311 - spreads beginnings
        with contextlib.suppress(ConflictError, StaleTokenError):
            await side()

    await asyncio.gather(*(late(side) for side in sides))


async def claimed(runtime: Runtime) -> ClaimedJob:
    queue = f"q{next(NUMBERS)}"
    await add(runtime, queue=queue)
    got = await runtime.work.claim(queue, None, worker="worker")
    assert got is not None
    return got


async def waiting(runtime: Runtime, seconds: float | None = None) -> ClaimedJob:
    got = await claimed(runtime)
    await suspend_for_signal(runtime.work, got.job, got.token, "ok", seconds=seconds)
    return got


def faults(job: Job, *, answers: int = 1) -> list[str]:
    """Return what is not as promised of a job that was sent one signal."""
    signals = job.signals or ()
    finished = [step for step in job.steps or () if step.is_finished and step.error is None]
    found = []
    if len(signals) != answers:
        found.append(f"{len(signals)} signals")
    if len([signal for signal in signals if signal.taken]) != len(finished):
        found.append(f"{len(finished)} steps have taken {[signal.taken for signal in signals]}")
    if any(step.result != "yes" for step in finished):
        found.append("a step has another value")
    if job.state is State.DELAYED and any(not signal.taken for signal in signals):
        found.append("the job sleeps beside its signal")
    if job.state is State.DELAYED and job.wait is None:
        found.append("the job waits for nothing")
    return found


async def test_a_signal_while_its_job_begins_to_wait(idle_runtime: Runtime) -> None:
    async def one() -> str:
        got = await claimed(idle_runtime)
        await together(
            lambda: suspend_for_signal(idle_runtime.work, got.job, got.token, "ok"),
            lambda: idle_runtime.signals.send(got.job.id, "ok", "yes"),
        )
        job = await idle_runtime.jobs.get(got.job.id)
        assert job.attempts_made == 0
        names = [step.result for step in job.steps or () if step.is_finished]
        return ", ".join(faults(job)) or f"{job.state.value} {names}"

    assert await races(one) == {"pending ['yes']": RACES}


async def test_a_signal_while_the_time_of_the_wait_runs_out(idle_runtime: Runtime) -> None:
    collection = idle_runtime.jobs.collection

    async def one() -> str:
        got = await waiting(idle_runtime, 3600)
        due = await idle_runtime.jobs.clock.ask() - timedelta(seconds=1)
        over = {"$set": {"delayTil": due, "steps.0.until": due}}
        await collection.update_one({"_id": ObjectId(got.job.id)}, over)
        await together(
            idle_runtime.jobs.promote_due,
            lambda: idle_runtime.signals.send(got.job.id, "ok", "yes"),
        )
        await idle_runtime.jobs.promote_due()
        job = await idle_runtime.jobs.get(got.job.id)
        (step,) = job.steps or ()
        assert step.is_finished
        kind = "late" if step.error else "taken"
        return ", ".join(faults(job)) or f"{job.state.value} {kind}"

    outcomes = await races(one)
    assert set(outcomes) <= {"pending late", "pending taken"}, outcomes
    assert outcomes.total() == RACES


async def test_a_kill_while_a_job_begins_to_wait(idle_runtime: Runtime) -> None:
    async def one() -> str:
        got = await claimed(idle_runtime)
        await together(
            lambda: suspend_for_signal(idle_runtime.work, got.job, got.token, "ok"),
            lambda: idle_runtime.manager.kill(got.job.id),
            lambda: idle_runtime.signals.send(got.job.id, "ok", "yes"),
        )
        job = await idle_runtime.jobs.get(got.job.id)
        found = faults(job, answers=len(job.signals or ()))
        return ", ".join(found) or f"{job.state.value} {job.wait}"

    assert await races(one) == {"killed None": RACES}


async def test_a_signal_while_its_job_is_requeued(idle_runtime: Runtime) -> None:
    async def one() -> str:
        got = await waiting(idle_runtime)
        await together(
            lambda: idle_runtime.manager.requeue(got.job.id, from_step=None),
            lambda: idle_runtime.signals.send(got.job.id, "ok", "yes"),
        )
        job = await idle_runtime.jobs.get(got.job.id)
        found = faults(job, answers=len(job.signals or ()))
        if job.state is not State.PENDING:
            found.append(f"the job is {job.state.value}")
        # A signal that was taken before the requeue is forgotten with its step; any other waits.
        return ", ".join(found) or f"run {job.run}, {len(job.signals or ())} signals, {len(job.steps or ())} steps"

    outcomes = await races(one)
    # The requeue of a job that the signal has woken is refused: then the answer stays.
    assert set(outcomes) <= {"run 1, 1 signals, 0 steps", "run 0, 1 signals, 1 steps"}, outcomes
    assert outcomes.total() == RACES


async def test_two_signals_at_once_answer_two_waits_in_turn(idle_runtime: Runtime) -> None:
    async def one() -> str:
        got = await waiting(idle_runtime)
        send = idle_runtime.signals.send
        await asyncio.gather(*(send(got.job.id, "ok", "yes", signal_id=name) for name in ("a", "a", "b")))
        job = await idle_runtime.jobs.get(got.job.id)
        taken = sorted(signal.taken or "" for signal in job.signals or ())
        return ", ".join(faults(job, answers=2)) or f"{job.state.value} {taken}"

    assert await races(one) == {"pending ['', 'ok']": RACES}
