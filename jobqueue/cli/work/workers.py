"""``jobqueue workers``: list workers with what they run."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import command_options
from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.services.application import Runtime
    from jobqueue.services.work.roster import WorkerView
    from jobqueue.store.work.workers import Registration

_MOST = 1_000


@click.command(epilog=errors.epilog("workers", "workers --silent"))
@click.option("--silent", is_flag=True, help="Only workers whose last sign of life is older than 30 s.")
@command_options
def workers(*, silent: bool, as_json: bool, **options: Any) -> None:
    """List workers that gave a sign of life within the last day: their age, queues and types, and what they run."""

    async def use(runtime: Runtime) -> list[WorkerView]:
        found = await runtime.roster.workers(EVERYTHING, after=None, limit=_MOST)
        return [worker for worker in found if not (silent and worker.alive)]

    found = with_runtime(options, use)
    now = datetime.now(UTC)
    items = [{json_form.camel(name): json_form.value(value) for name, value in asdict(each).items()} for each in found]
    rows = [row for worker in found for row in _rows(worker, now)]
    output.print_items(items, ["WORKER", "STATE", "LAST SIGN", "QUEUES", "RUNS"], rows, as_json=as_json)


def _rows(worker: WorkerView, now: datetime) -> list[list[str]]:
    """Return a line for each job that a worker runs, or one line."""
    sign = output.duration(max(0.0, (now - worker.last_sign_at).total_seconds()))
    first = [worker.name, "alive" if worker.alive else "silent", f"{sign} ago", _queues(worker.queues)]
    jobs = [_job(job, now) for job in worker.running] or ["-"]
    return [[*first, jobs[0]], *([*[""] * len(first), job] for job in jobs[1:])]


def _queues(posts: Sequence[Registration]) -> str:
    texts = [f"{post.queue}: {'all types' if post.types is None else ', '.join(post.types)}" for post in posts]
    return "; ".join(texts) or "-"


def _job(job: Any, now: datetime) -> str:
    age = "" if job.start_at is None else f" for {output.duration(max(0.0, (now - job.start_at).total_seconds()))}"
    return f"{job.id} {job.type}{f', step {job.step},' if job.step else ''}{age}"
