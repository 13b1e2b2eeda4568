"""``jobqueue batch``: look at batches, wait for them, start them again, end them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.queues.queue import person
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import database_flags, database_options, json_option
from jobqueue.domain.bulk.operation import Operation
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.checks import check_id
from jobqueue.domain.jobs.states import State
from jobqueue.domain.search.query import JobQuery

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.services.workflow.batches import BatchView

_LOOK_SECONDS: Final = 0.5
_FINISHED: Final = "finished"
_BAR: Final = 30


@click.group(epilog=errors.epilog())
def batch() -> None:
    """Look at batches, wait for them, start them again, end them."""


@batch.command(name="list", epilog=errors.epilog())
@click.option("--state", type=click.Choice(["open", _FINISHED]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@json_option
@database_options
def list_batches(state: str | None, limit: int, *, as_json: bool, **options: Any) -> None:
    """List batches, newest first."""

    async def use(runtime: Runtime) -> list[BatchView]:
        return await runtime.batches.page(state=state, limit=limit)

    found = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json({"items": [_form(view) for view in found]})
        return
    rows = [[one.batch.id, one.batch.state, f"{one.progress:.0f} %", _counts(one)] for one in found]
    output.print_table(["ID", "STATE", "PROGRESS", "JOBS"], rows)


@batch.command(epilog=errors.epilog("batch show 65f0c2a4e1b2c3d4e5f60718"))
@click.argument("batch_id", metavar="ID")
@json_option
@database_options
def show(batch_id: str, *, as_json: bool, **options: Any) -> None:
    """Print a batch: its state, the counts of its jobs, its progress, and the jobs that did not succeed."""
    wanted = check_id(batch_id)

    async def use(runtime: Runtime) -> tuple[BatchView, list[dict[str, Any]]]:
        view = await runtime.batches.get(wanted)
        bad = JobQuery(batch_id=wanted, states=(State.FAILED, State.KILLED), oldest_first=True, limit=20)
        return view, [json_form.job(job) for job in (await runtime.listing.page(bad)).items]

    view, bad = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json(_form(view))
        return
    for name, value in _form(view).items():
        output.print_line(f"{name:<10}  {output.compact(value)}")
    if bad:
        rows = [[job["id"], job["state"], job["type"], (job["error"] or {}).get("message", "")] for job in bad]
        output.print_line()
        output.print_table(["ID", "STATE", "TYPE", "WHY"], rows)


@batch.command(epilog=errors.epilog())
@click.argument("batch_id", metavar="ID")
@click.option("--callbacks", is_flag=True, help="Let onSuccess come again if it came before.")
@json_option
@database_options
def requeue(batch_id: str, *, callbacks: bool, as_json: bool, **options: Any) -> None:
    """Restart what has failed or was killed, and what was killed because of it; what has succeeded is not run again."""
    wanted = check_id(batch_id)

    async def use(runtime: Runtime) -> BatchView:
        return await runtime.batches.requeue(wanted, callbacks=callbacks, by=person())

    _print(with_runtime(database_flags(options), use), as_json=as_json)


@batch.command(epilog=errors.epilog())
@click.argument("batch_id", metavar="ID")
@json_option
@database_options
def seal(batch_id: str, *, as_json: bool, **options: Any) -> None:
    """Say that no further jobs will be added to a batch."""
    wanted = check_id(batch_id)

    async def use(runtime: Runtime) -> BatchView:
        return await runtime.batches.seal(wanted, by=person())

    _print(with_runtime(database_flags(options), use), as_json=as_json)


@batch.command(epilog=errors.epilog())
@click.argument("batch_id", metavar="ID")
@click.option("--reason", default="its batch was killed by a person", show_default=True, help="What their errors say.")
@json_option
@database_options
def kill(batch_id: str, reason: str, *, as_json: bool, **options: Any) -> int:
    """End all unfinished jobs of a batch."""
    wanted = check_id(batch_id)

    async def use(runtime: Runtime) -> BatchView | Operation:
        killed = await runtime.batches.kill(wanted, reason=reason, by=person())
        if isinstance(killed, Operation):
            return await bulk.follow(runtime, killed, quiet=as_json)
        return await runtime.batches.get(wanted)

    done = with_runtime(database_flags(options), use)
    if isinstance(done, Operation):
        return bulk.print_end(done, as_json=as_json)
    _print(done, as_json=as_json)
    return errors.OK


@batch.command(epilog=errors.epilog("batch wait 65f0c2a4e1b2c3d4e5f60718 && echo all is well"))
@click.argument("batch_id", metavar="ID")
@json_option
@database_options
def wait(batch_id: str, *, as_json: bool, **options: Any) -> int:
    """Wait until a batch has finished, and show how far it is; exit 6 if a job of it failed or was killed."""
    wanted = check_id(batch_id)

    async def use(runtime: Runtime) -> BatchView:
        shown = None
        while True:
            view = await runtime.batches.get(wanted)
            line = _line(view)
            if line != shown and not as_json:
                _show(line)
                shown = line
            if view.batch.state == _FINISHED:
                return view
            await asyncio.sleep(_LOOK_SECONDS)

    view = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json(_form(view))
    elif _is_terminal():
        output.note("")
    bad = view.counts["failed"] + view.counts["killed"]
    return errors.JOB_FAILED if bad else errors.OK


def _print(view: BatchView, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_form(view))
    else:
        output.print_line(f"{view.batch.id} {view.batch.state}: {_counts(view)}")


def _form(view: BatchView) -> dict[str, Any]:
    from jobqueue.api.workflow.schemas import BatchResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    return BatchResponse.of(view)


def _counts(view: BatchView) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in view.counts.items() if count) or "no jobs"


def _line(view: BatchView) -> str:
    full = round(_BAR * view.progress / 100)
    return f"{'#' * full}{'.' * (_BAR - full)} {view.progress:3.0f} %  {_counts(view)}"


def _show(line: str) -> None:
    """Show how far it is, on a terminal always in the same line."""
    if _is_terminal():
        click.echo(f"\r\033[K{line}", err=True, nl=False)
    else:
        output.note(line)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
