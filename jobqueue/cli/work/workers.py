"""``jobqueue workers``: list workers with what they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api
    from jobqueue.cli.render.tables import View

_MOST = 1_000


def _rows(worker: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each job that a worker runs, or one row; the worker is in the first one."""
    jobs = worker["running"] or [None]
    return [{"worker": worker if number == 0 else None, "job": job} for number, job in enumerate(jobs)]


def _of_worker(text: Callable[[Mapping[str, Any], datetime], str]) -> Callable[[Mapping[str, Any], datetime], str]:
    """Return the cell of a column about the worker of a row."""
    return lambda row, now: "" if row["worker"] is None else text(row["worker"], now)


def _of_job(text: Callable[[Mapping[str, Any], datetime], str]) -> Callable[[Mapping[str, Any], datetime], str]:
    """Return the cell of a column about the job of a row."""
    return lambda row, now: "" if row["job"] is None else text(row["job"], now)


def _state(worker: Mapping[str, Any]) -> str:
    if worker.get("draining"):
        return "draining" if worker["alive"] or worker["running"] else "drained"
    return "alive" if worker["alive"] else "silent"


def _served(worker: Mapping[str, Any], _: datetime) -> str:
    texts = [
        f"{post['queue']}: {'all types' if post['types'] is None else ', '.join(post['types'])}"
        for post in worker["queues"]
    ]
    return "; ".join(texts) or "-"


def _runs(row: Mapping[str, Any], now: datetime) -> str:
    job = row["job"]
    if job is None:
        return "-"
    age = f" for {moments.ago(job['startAt'], now)}" if job["startAt"] else ""
    step = f", step {job['step']}" if job["step"] else ""
    return f"{output.shortened(job['id'])} {job['type']}{age}{step}"


_COLUMNS: Final = (
    Column(name="worker", cell=_of_worker(lambda worker, _: str(worker["name"])), answers=True),
    Column(name="state", cell=_of_worker(lambda worker, _: _state(worker))),
    Column(
        name="sign",
        heading="LAST SIGN",
        cell=_of_worker(lambda worker, now: f"{moments.ago(worker['lastSignAt'], now)} ago"),
    ),
    Column(name="queues", cell=_of_worker(_served), least=12, rank=1),
    Column(name="runs", cell=_runs, answers=True),
    Column(name="job", cell=_of_job(lambda job, _: str(job["id"])), hidden=True, is_id=True),
    Column(name="progress", cell=_of_job(lambda job, _: f"{job['progress']:g} %"), hidden=True, is_number=True),
    Column(name="host", cell=_of_worker(lambda worker, _: worker["host"] or ""), hidden=True, least=12),
    Column(name="pid", cell=_of_worker(lambda worker, _: str(worker["pid"] or "")), hidden=True, is_number=True),
    Column(name="version", cell=_of_worker(lambda worker, _: worker["version"] or ""), hidden=True),
    Column(name="since", cell=_of_worker(lambda worker, _: worker["since"] or ""), hidden=True),
    Column(
        name="drain",
        heading="DRAINED BY",
        cell=_of_worker(lambda worker, _: (worker.get("draining") or {}).get("by", "")),
        hidden=True,
    ),
)


@click.command(cls=Command, epilog=errors.epilog("workers", "workers --silent"))
@click.option("--silent", is_flag=True, help="Only workers whose last sign of life is older than 30 s.")
@tables.table_options(_COLUMNS)
@command_options
def workers(*, view: View, silent: bool, as_json: bool, **options: Any) -> None:
    """List workers that gave a sign of life within the last day: their age, queues and types, and what they run."""

    async def use(api: Api) -> tuple[list[dict[str, Any]], datetime]:
        return await api.items("workers", most=_MOST), await api.now()

    found, now = with_api(options, use)
    items = [worker for worker in found if not (silent and worker["alive"])]
    rows = [row for worker in items for row in _rows(worker)]
    empty = "no worker is silent" if silent else "no worker gave a sign of life within the last day"
    tables.print_items(items, view, rows, as_json=as_json, now=now, empty=empty)
