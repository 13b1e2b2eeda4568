"""``jobqueue workers``: list workers with what they run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, moments, output
from jobqueue.cli.render.options import command_options
from jobqueue.domain.access.access import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.services.application import Runtime
    from jobqueue.services.work.roster import WorkerView

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
    items = [_document(worker) for worker in found]
    rows = [row for worker in items for row in _rows(worker, now)]
    output.print_items(items, ["WORKER", "STATE", "LAST SIGN", "QUEUES", "RUNS"], rows, as_json=as_json)


def _document(worker: WorkerView) -> dict[str, Any]:
    from jobqueue.api.work.schemas import WorkerResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    return WorkerResponse.of(worker)


def _rows(worker: Mapping[str, Any], now: datetime) -> list[list[str]]:
    """Return a line for each job that a worker runs, or one line."""
    state, sign = "alive" if worker["alive"] else "silent", moments.ago(worker["lastSignAt"], now)
    first = [worker["name"], state, f"{sign} ago", _queues(worker["queues"])]
    jobs = [_job(job, now) for job in worker["running"]] or ["-"]
    return [[*first, jobs[0]], *([*[""] * len(first), job] for job in jobs[1:])]


def _queues(posts: Sequence[Mapping[str, Any]]) -> str:
    texts = [f"{post['queue']}: {'all types' if post['types'] is None else ', '.join(post['types'])}" for post in posts]
    return "; ".join(texts) or "-"


def _job(job: Mapping[str, Any], now: datetime) -> str:
    age = "" if job["startAt"] is None else f" for {moments.ago(job['startAt'], now)}"
    step = f", step {job['step']}," if job["step"] else ""
    return f"{job['id']} {job['type']}{step}{age}"
