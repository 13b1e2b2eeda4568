"""Steps of processes that are killed at random moments: no finished step runs again, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import signal
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from jobqueue.domain.attempts.states import State
from tests.acceptance.steps.served import serving
from tests.support.data.factories import add, end_lease, patient_reaper
from tests.support.data.scale import sized
from tests.support.unmeasured import environment
from tests.support.waiting import eventually
from tests.support.workers.step_worker import STEPS
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue.services.application import Runtime
    from tests.acceptance.steps.served import Served
    from tests.support.faults.figures import Figures

ROOT = Path(__file__).parents[3]
KILLS = sized(3, 20)
KILLED_SCRIPTS = sized(3, 20)
ROWS = 1000
SCRIPT = """set -e
mkdir -p work/$JOBQUEUE_JOB_ID effects && cd work/$JOBQUEUE_JOB_ID
echo $$ > pid
export EFFECTS=../../effects/$JOBQUEUE_JOB_ID
jobqueue step fetch -- sh -c 'echo fetch >> $EFFECTS; curl -fsS {url} -o a.tar.gz'
jobqueue step unpack -- sh -c 'echo unpack >> $EFFECTS; tar xzf a.tar.gz'
rows=$(jobqueue step import -- sh -c 'echo import >> $EFFECTS; wc -l < data.csv')
jobqueue sleep rest 1
jobqueue step publish -- sh -c 'echo publish >> $EFFECTS; echo "::result $0" > published' "$rows"
cat published
"""
NAMES = ["fetch", "unpack", "import", "rest", "publish"]


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


async def finished(runtime: Runtime, job_id: str) -> set[str]:
    return {step.name for step in (await runtime.jobs.get(job_id)).steps or () if step.is_finished}


async def taken_back(runtime: Runtime, job_id: str) -> bool:
    """Take a job of a killed worker back; a last request of it may reach MongoDB late, and renew the lease."""
    await end_lease(runtime, await runtime.jobs.get(job_id))
    await patient_reaper(runtime).run_once()
    return (await runtime.jobs.get(job_id)).state is not State.PROCESSING


@contextlib.contextmanager
def killed_at_last(process: ModuleProcess) -> Iterator[ModuleProcess]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(900)
async def test_fifty_steps_at_once_outlive_workers_that_are_killed(
    idle_runtime: Runtime, mongo_url: str, db_name: str, tmp_path: Path, seed: int, figures: Figures
) -> None:
    chance, effects = random.Random(seed), tmp_path / "effects"  # noqa: S311 - no secret
    job = await add(idle_runtime, "gather", attempts=KILLS + 1, backoff=0)
    words = ("tests.support.workers.step_worker", str(effects), mongo_url, db_name)

    async def has(count: int) -> bool:
        return len(await finished(idle_runtime, job.id)) >= count

    again: list[set[str]] = []
    for kill in range(KILLS):
        before, start = await finished(idle_runtime, job.id), len(lines(effects))
        wanted = min(len(before) + chance.randint(0, 3), STEPS - 1)
        with killed_at_last(ModuleProcess(*words, str(seed + kill), cwd=ROOT, env=environment())):
            await eventually(lambda start=start: len(lines(effects)) > start)  # type: ignore[misc]
            await eventually(lambda wanted=wanted: has(wanted))  # type: ignore[misc]
        again.append(before & set(lines(effects)[start:]))
        assert before <= await finished(idle_runtime, job.id)
        await eventually(lambda: taken_back(idle_runtime, job.id))
    before, start = await finished(idle_runtime, job.id), len(lines(effects))
    with killed_at_last(ModuleProcess(*words, str(seed), cwd=ROOT, env=environment())):
        await eventually(lambda: has(STEPS))

        async def has_ended() -> bool:
            return (await idle_runtime.jobs.get(job.id)).end_at is not None

        await eventually(has_ended)
    again.append(before & set(lines(effects)[start:]))
    done = await idle_runtime.jobs.get(job.id)
    assert (again, done.state, done.result) == ([set()] * (KILLS + 1), "success", sum(range(STEPS)))
    noted = [name for entry in done.history for name in entry.steps or ()]
    assert sorted(noted, key=int) == [str(number) for number in range(STEPS)]
    figures.fault("worker with fifty steps at once killed", KILLS)
    figures.count("starts of steps", len(lines(effects)))


@contextlib.asynccontextmanager
async def files(chance: random.Random) -> AsyncIterator[str]:
    """Serve an archive, and fail at times; yield its URL."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        content = b"a,b\n" * ROWS
        entry = tarfile.TarInfo("data.csv")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))

    async def serve(_request: web.Request) -> web.Response:
        return web.Response(body=packed.getvalue()) if chance.random() < 0.6 else web.Response(status=503)

    app = web.Application()
    app.router.add_get("/a.tar.gz", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/a.tar.gz"
    finally:
        await runner.cleanup()


async def kill_script(home: Path, job_id: str) -> None:
    """Kill the bash of a job and what it has started, if it runs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.killpg(int((home / "work" / job_id / "pid").read_text()), signal.SIGKILL)


@pytest.mark.timeout(900)
async def test_a_script_of_steps_outlives_kills_of_itself_and_of_its_server(
    idle_runtime: Runtime, mongo_url: str, db_name: str, tmp_path: Path, seed: int, figures: Figures
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name}
    looks: list[tuple[str, set[str], int]] = []
    async with (
        files(random.Random(seed)) as url,  # noqa: S311 - no secret
        serving(tmp_path, settings, script=SCRIPT.replace("{url}", url)) as served,
    ):
        job_id = await new_job(served)
        for kill in range(KILLED_SCRIPTS):
            # The moment is left to chance: a whole run takes about as long.
            await asyncio.sleep(chance.uniform(0, 2.5))
            known = await finished(idle_runtime, job_id)
            if kill % 2:
                served.kill()
                served.start()
            else:
                await kill_script(tmp_path, job_id)
            looks.append((job_id, known, len(lines(tmp_path / "effects" / job_id))))
            if (await served.get(job_id))["state"] == "success":
                job_id = await new_job(served)
        ended = await served.ended(job_id)
        jobs = {name: await served.get(name) for name, _, _ in looks}
    assert (ended["state"], ended["result"]) == ("success", ROWS)
    assert {(job["state"], job["result"]) for job in jobs.values()} == {("success", ROWS)}
    again = [known & set(lines(tmp_path / "effects" / name)[start:]) for name, known, start in looks]
    assert again == [set()] * KILLED_SCRIPTS
    assert [[step["name"] for step in job["steps"]] for job in jobs.values()] == [NAMES] * len(jobs)
    figures.fault("script of steps or its server killed", KILLED_SCRIPTS)


async def new_job(served: Served) -> str:
    return await served.add("script", attempts=1000, backoff=0.1, lease=2)
