"""Four worker processes on two thousand jobs, judged by the workers' own journals and the database."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from tests.support.data.scale import sized
from tests.support.unmeasured import environment
from tests.support.waiting import eventually
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue import JobQueue
    from jobqueue.domain.jobs.job import Job
    from tests.support.faults.figures import Figures

ROOT = Path(__file__).parents[3]
JOBS = sized(300, 6000)
KILLS = sized(1, 20)
WORKERS = 4
PLACES = 5


def start(path: Path, url: str, name: str) -> ModuleProcess:
    words = ("tests.support.workers.journal_worker", str(path), url, name, str(PLACES))
    return ModuleProcess(*words, cwd=ROOT, env=environment())


@contextlib.contextmanager
def workers(directory: Path, url: str, name: str) -> Iterator[list[ModuleProcess]]:
    started = [start(directory / str(number), url, name) for number in range(WORKERS)]
    try:
        yield started
    finally:
        for one in started:
            one.send_signal(signal.SIGTERM)
        codes = [one.wait(30) for one in started]
    assert [code for code in codes if code not in {0, -signal.SIGKILL}] == []


def journal(directory: Path) -> list[tuple[str, str]]:
    """Return what all workers wrote down, as pairs of event and job id."""
    lines = [line for file in directory.iterdir() for line in file.read_text().splitlines()]
    return [(line.split()[0], line.split()[1]) for line in lines]


async def add_jobs(queue: JobQueue, lease: float) -> list[Job]:
    new = [NewJob(type="step", data={"n": n}, priority=n * 7919 % 10, lease=lease) for n in range(JOBS)]
    return [job for start in range(0, JOBS, 1000) for job in await queue.add_all(new[start : start + 1000])]


async def finished(queue: JobQueue) -> list[Job]:
    """Return all jobs that have succeeded."""
    found: list[Job] = []
    query = JobQuery(states=(State.SUCCESS,), limit=200)
    page = await queue.list(query)
    while True:
        found += page.items
        if page.next is None:
            return found
        page = await queue.list(query.at(page.next))


async def count_unfinished(queue: JobQueue) -> int:
    query = JobQuery(states=(State.PENDING, State.PROCESSING, State.DELAYED), limit=1)
    return len((await queue.list(query)).items)


async def test_each_job_runs_once_and_in_priority_order(
    queue: JobQueue, mongo_url: str, db_name: str, tmp_path: Path
) -> None:
    added = await add_jobs(queue, lease=60)
    with workers(tmp_path, mongo_url, db_name):
        await eventually(lambda: _none_left(queue), within=sized(100, 500))
    done = await finished(queue)
    assert {job.id for job in done} == {job.id for job in added}
    assert all(job.attempts_made == 1 and len(job.history) == 1 for job in done)
    starts = Counter(job_id for event, job_id in journal(tmp_path) if event == "start")
    assert starts == Counter(job.id for job in added)

    wanted = {job.id: place for place, job in enumerate(sorted(added, key=lambda job: (-job.priority, job.data["n"])))}
    claimed = sorted(done, key=lambda job: (job.history[0].start_at, wanted[job.id]))
    # Claims that are under way at the same moment may be stamped in either order.
    window = WORKERS * PLACES * 2
    assert max(abs(place - wanted[job.id]) for place, job in enumerate(claimed)) <= window


async def test_a_worker_killed_half_way_loses_nothing(
    queue: JobQueue, mongo_url: str, db_name: str, tmp_path: Path, figures: Figures
) -> None:
    added = await add_jobs(queue, lease=2)
    with workers(tmp_path, mongo_url, db_name) as running:
        for kill in range(KILLS):
            lines = JOBS * 2 * (kill + 1) // (KILLS + 1)
            await eventually(lambda lines=lines: len(journal(tmp_path)) > lines, within=60)  # type: ignore[misc]
            running[kill].kill()
            if KILLS > 1:
                running.append(start(tmp_path / str(len(running)), mongo_url, db_name))
        await eventually(lambda: _none_left(queue), within=sized(100, 500))
    done = await finished(queue)
    assert {job.id for job in done} == {job.id for job in added}
    recorded = [[entry.outcome for entry in job.history] for job in done]
    assert all(outcomes[-1] is Outcome.SUCCESS and outcomes.count(Outcome.SUCCESS) == 1 for outcomes in recorded)
    again = [outcomes for outcomes in recorded if len(outcomes) > 1]
    assert all(set(outcomes[:-1]) <= {Outcome.HANGING, Outcome.CRASH} for outcomes in again)
    # As many as ran, and as many as were being recorded or claimed.
    assert 0 < len(again) <= 2 * PLACES * KILLS
    starts = Counter(job_id for event, job_id in journal(tmp_path) if event == "start")
    figures.count("jobs", JOBS)
    figures.count("jobs run again", len(again))
    figures.count("runs", sum(starts.values()))
    figures.fault("worker killed", KILLS)
    # A job that was claimed and whose worker died before its first line has a history entry and no start.
    assert sum(starts.values()) <= sum(len(outcomes) for outcomes in recorded)
    assert set(starts) == {job.id for job in added}


async def _none_left(queue: JobQueue) -> bool:
    return await count_unfinished(queue) == 0
