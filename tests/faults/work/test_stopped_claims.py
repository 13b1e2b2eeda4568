"""A process that stands still after it has read the configuration claims nothing by it when it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.services.signals.config import FRESH_SECONDS
from tests.support.data.factories import add, claim, succeed
from tests.support.unmeasured import environment
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from jobqueue.services.application import Runtime

ROOT = Path(__file__).parents[3]


@contextlib.asynccontextmanager
async def stopped_worker(runtime: Runtime) -> AsyncIterator[asyncio.subprocess.Process]:
    """Give a worker that has stopped just before its first claim."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.workers.stopped_worker",
        runtime.database.url,
        runtime.database.name,
        cwd=ROOT,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
    )

    def is_stopped() -> bool:
        return Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    try:
        await eventually(is_stopped, within=60)
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()


async def effective(runtime: Runtime) -> None:
    """Wait until what is configured now holds on every process, by the server's clock."""
    changed_at = await runtime.jobs.server_time()

    async def is_over(until: datetime = changed_at + timedelta(seconds=FRESH_SECONDS)) -> bool:
        return await runtime.jobs.server_time() > until

    await eventually(is_over)


async def said(worker: asyncio.subprocess.Process) -> str:
    assert worker.stdout is not None
    async with asyncio.timeout(60):
        return (await worker.stdout.readline()).decode().strip()


@pytest.mark.parametrize("limits", [{}, {"concurrency": 5}, {"rate": {"limit": 5, "per": 1}}], ids=str)
async def test_a_claim_that_was_held_up_does_not_go_by_a_configuration_of_before_a_pause(
    idle_runtime: Runtime, limits: dict[str, Any]
) -> None:
    await idle_runtime.queues.put("default", limits)
    job = await add(idle_runtime)
    async with stopped_worker(idle_runtime) as worker:
        await idle_runtime.queues.set_paused("default", paused=True)
        await effective(idle_runtime)
        worker.send_signal(signal.SIGCONT)
        assert await said(worker) == "None"
        assert (await idle_runtime.jobs.get(job.id)).history == ()
        await idle_runtime.queues.set_paused("default", paused=False)
        while (found := await said(worker)) == "None":
            pass
        assert found == job.id


async def test_a_claim_that_was_held_up_does_not_go_by_limits_of_before(idle_runtime: Runtime) -> None:
    running = await add(idle_runtime, priority=9)
    job = await add(idle_runtime)
    async with stopped_worker(idle_runtime) as worker:
        held = await claim(idle_runtime)
        assert held.job.id == running.id
        await idle_runtime.queues.patch("default", {"concurrency": 1})
        await effective(idle_runtime)
        worker.send_signal(signal.SIGCONT)
        assert await said(worker) == "None"
        assert (await idle_runtime.jobs.get(job.id)).state is State.PENDING
        await succeed(idle_runtime, held)
        while (found := await said(worker)) == "None":
            pass
        assert found == job.id
