"""``jobqueue batch``: show, wait for, requeue, seal and kill batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.process.session import operator, with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import command_options, id_argument
from jobqueue.domain.bulk.operation import Operation
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.states import State
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.workflow.batch import FINISHED, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.workflow.batch import BatchView
    from jobqueue.services.application import Runtime

_LOOK_SECONDS: Final = 0.5
_BAR: Final = 30


@click.group(epilog=errors.epilog())
def batch() -> None:
    """Show, wait for, requeue, seal and kill batches."""


@batch.command(name="list", epilog=errors.epilog())
@click.option("--state", type=click.Choice([OPEN, FINISHED]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@command_options
def list_batches(state: str | None, limit: int, *, as_json: bool, **options: Any) -> None:
    """List batches, newest first."""
    views = with_runtime(options, lambda runtime: runtime.batches.page(state=state, limit=limit))
    batches = [_document(view) for view in views]
    rows = [[batch["id"], batch["state"], f"{batch['progress']:.0f} %", _counts(batch)] for batch in batches]
    output.print_items(batches, ["ID", "STATE", "PROGRESS", "JOBS"], rows, as_json=as_json)


@batch.command(epilog=errors.epilog("batch show 65f0c2a4e1b2c3d4e5f60718"))
@id_argument("batch_id")
@command_options
def show(batch_id: str, *, as_json: bool, **options: Any) -> None:
    """Print a batch: its state, the counts of its jobs, its progress, and the jobs that did not succeed."""
    query = JobQuery(batch_id=batch_id, states=(State.FAILED, State.KILLED), oldest_first=True, limit=20)

    async def use(runtime: Runtime) -> tuple[BatchView, Sequence[Job]]:
        return await runtime.batches.get(batch_id), (await runtime.listing.page(query)).items

    view, fallen = with_runtime(options, use)
    if as_json:
        output.print_json(_document(view))
        return
    output.print_fields(_document(view))
    jobs = [json_form.job(job) for job in fallen]
    if jobs:
        rows = [[job["id"], job["state"], job["type"], job["error"]["message"] if job["error"] else ""] for job in jobs]
        output.print_line()
        output.print_table(["ID", "STATE", "TYPE", "WHY"], rows)


@batch.command(epilog=errors.epilog())
@id_argument("batch_id")
@click.option("--callbacks", is_flag=True, help="Fire onSuccess again if it fired before.")
@command_options
def requeue(batch_id: str, *, callbacks: bool, as_json: bool, **options: Any) -> None:
    """Restart failed and killed jobs of a batch, and jobs killed because of them. Succeeded jobs stay as they are."""
    view = with_runtime(options, lambda runtime: runtime.batches.requeue(batch_id, callbacks=callbacks, by=operator()))
    _print(_document(view), as_json=as_json)


@batch.command(epilog=errors.epilog())
@id_argument("batch_id")
@command_options
def seal(batch_id: str, *, as_json: bool, **options: Any) -> None:
    """Seal a batch: no further jobs can be added."""
    view = with_runtime(options, lambda runtime: runtime.batches.seal(batch_id, by=operator()))
    _print(_document(view), as_json=as_json)


@batch.command(epilog=errors.epilog())
@id_argument("batch_id")
@click.option("--reason", default="its batch was killed by a person", show_default=True, help="What their errors say.")
@command_options
def kill(batch_id: str, reason: str, *, as_json: bool, **options: Any) -> int:
    """Kill all unfinished jobs of a batch."""

    async def use(runtime: Runtime) -> BatchView | Operation:
        killed = await runtime.batches.kill(batch_id, reason=reason, by=operator())
        if isinstance(killed, Operation):
            return await bulk.follow(runtime, killed, quiet=as_json)
        return await runtime.batches.get(batch_id)

    result = with_runtime(options, use)
    if isinstance(result, Operation):
        return bulk.print_end(bulk.document(result), as_json=as_json)
    _print(_document(result), as_json=as_json)
    return errors.OK


@batch.command(epilog=errors.epilog("batch wait 65f0c2a4e1b2c3d4e5f60718 && echo all is well"))
@id_argument("batch_id")
@command_options
def wait(batch_id: str, *, as_json: bool, **options: Any) -> int:
    """Wait until a batch has finished, and show its progress; exit 6 if a job of it failed or was killed."""

    async def use(runtime: Runtime) -> BatchView:
        shown = None
        while True:
            view = await runtime.batches.get(batch_id)
            line = _line(_document(view))
            if line != shown and not as_json:
                output.show_progress(line)
                shown = line
            if view.batch.state == FINISHED:
                return view
            await asyncio.sleep(_LOOK_SECONDS)

    ended = _document(with_runtime(options, use))
    if as_json:
        output.print_json(ended)
    else:
        output.end_progress()
    return errors.JOB_FAILED if ended["counts"][State.FAILED] + ended["counts"][State.KILLED] else errors.OK


def _print(batch: Mapping[str, Any], *, as_json: bool) -> None:
    output.print_document(batch, f"{batch['id']} {batch['state']}: {_counts(batch)}", as_json=as_json)


def _document(view: BatchView) -> dict[str, Any]:
    from jobqueue.api.workflow.schemas import BatchResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    return BatchResponse.of(view)


def _counts(batch: Mapping[str, Any]) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in batch["counts"].items() if count) or "no jobs"


def _line(batch: Mapping[str, Any]) -> str:
    full = round(_BAR * batch["progress"] / 100)
    return f"{'#' * full}{'.' * (_BAR - full)} {batch['progress']:3.0f} %  {_counts(batch)}"
