"""A pipeline of steps whose process is killed half-way, that goes on in another process, and asks a question."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.demo import sources
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import ConflictError, DatabaseUnavailableError
from jobqueue.services.queue import JobQueue
from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.processors.callbacks.callback import ActiveJob

PIPELINE: Final = "demo.pipeline"
QUESTION: Final = "publish"
_MOST_FILES: Final = 200
_LEASE: Final = 1.0
_LOOK_SECONDS: Final = 0.1
_PATIENCE: Final = 30.0
_HALF: Final = "half"


class Pipeline:
    """Lists the sources, packs them, checks the archive, each as a step, and waits for a signal.

    Args:
        queue: runs the job.
        run: the id of the run of the demo.
        breaks: this process stops half-way in the second step, and is to be killed.
    """

    def __init__(self, queue: JobQueue, run: str, *, breaks: bool = False) -> None:
        self._jobs = queue
        self._run = run
        self._breaks = breaks
        self.queue = queue_of(run)

    async def show(self, root: Path) -> dict[str, Any]:
        """Run the job in a process that is killed, and then in this process; return what became of its steps."""
        directory = Path(tempfile.mkdtemp(prefix="jobqueue-demo-"))
        try:
            data = {"root": str(root), "directory": str(directory)}
            job = await self._jobs.add(PIPELINE, data, queue=self.queue, attempts=3, backoff=0, lease=_LEASE)
            async with self._other_process() as other:
                is_killed = await _until(lambda: (directory / _HALF).exists() or other.returncode is not None)
            self.register()
            (await self._jobs.open()).notifier.tell(Wakeup(kind="all"))
            return summarize(await self._ended(job.id), is_killed=is_killed)
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def register(self) -> None:
        """Run the job in this process."""
        self._jobs.handler(PIPELINE, queue=self.queue)(self.handle)

    async def handle(self, job: ActiveJob) -> dict[str, Any]:
        """Make an archive of sources and check it; a step that has finished is not done again."""
        root, directory = Path(job.data["root"]), Path(job.data["directory"])
        files = await job.step("list", _listed, root)
        packed = await job.step("pack", self._pack, root, directory, files)
        checked = await job.step("check", _checked, directory)
        is_wanted = await job.signal(QUESTION, timeout=_PATIENCE)
        return {"files": checked, "bytes": packed["bytes"], "published": is_wanted}

    def _pack(self, root: Path, directory: Path, files: Sequence[str]) -> dict[str, int]:
        archive = _archive(directory)
        with tarfile.open(archive, "w:gz") as tar:
            for number, file in enumerate(files):
                tar.add(root / file, file)
                if self._breaks and number >= len(files) // 2:
                    break
        if self._breaks:
            (directory / _HALF).touch()
            time.sleep(_PATIENCE)
        return {"files": len(files), "bytes": archive.stat().st_size}

    @contextlib.asynccontextmanager
    async def _other_process(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the job in a process of its own, which is killed with KILL at the end of the block."""
        runtime = await self._jobs.open()
        url = runtime.embedded.url if runtime.embedded is not None else str(runtime.settings.mongo_url)
        environ = {**os.environ, "JOBQUEUE_MONGO_URL": url, "JOBQUEUE_DB": runtime.settings.db}
        nothing = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, self._run), env=environ, stdin=nothing, stdout=nothing, stderr=nothing
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _ended(self, job_id: str) -> Job:
        job = await self._jobs.get(job_id)
        deadline = time.monotonic() + _PATIENCE
        while job.state not in FINAL and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(DatabaseUnavailableError):
                job = await self._jobs.get(job_id)
                if job.wait is not None and QUESTION in (job.wait.signals or ()):
                    await self._answer(job_id)
        return job

    async def _answer(self, job_id: str) -> None:
        """Answer the question of the job, as a person does."""
        with contextlib.suppress(ConflictError):
            await self._jobs.signal(job_id, QUESTION, value=True, signal_id=self._run)


def queue_of(run: str) -> str:
    """Return the queue of the pipeline of a run."""
    return f"demo-{run}:pipeline"


def summarize(job: Job, *, is_killed: bool) -> dict[str, Any]:
    """Return the steps of a job with the attempts in which they finished."""
    results = {step.name: step for step in job.steps or () if step.is_finished}
    return {
        "job": job.id,
        "state": job.state.value,
        "killed": is_killed and job.state is State.SUCCESS,
        "starts": len(job.history),
        "steps": [{"name": name, "attempt": step.attempt} for name, step in results.items()],
        "result": job.result,
    }


async def _until(condition: Any) -> bool:
    """Wait for a condition; return False if that takes too long."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True


def _listed(root: Path) -> list[str]:
    files = sources.find(root)
    return [files[index * len(files) // _MOST_FILES] for index in range(_MOST_FILES)] if files[_MOST_FILES:] else files


def _archive(directory: Path) -> Path:
    return directory / "sources.tar.gz"


def _checked(directory: Path) -> int:
    with tarfile.open(_archive(directory)) as tar:
        return len(tar.getnames())


async def _work(run: str) -> None:
    queue = JobQueue()
    Pipeline(queue, run, breaks=True).register()
    async with queue, queue.working(concurrency=1):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
