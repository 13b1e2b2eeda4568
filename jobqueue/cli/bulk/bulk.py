"""Operations on many jobs: ask, carry them out, show their progress."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.job_columns import BRIEF
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.bulk.operation import NewOperation, Operation
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime

_LOOK_SECONDS: Final = 0.5
_DONE: Final = {"requeue": "requeued", "kill": "killed", "delete": "deleted"}
Preview = tuple[int | None, bool, "list[Job]"]


def many_options(function: Any) -> Any:
    """Add the options that select many jobs."""
    for option in reversed(
        (
            click.option(
                "--filter",
                "selection",
                type=values.JsonText(),
                help="Jobs that this MongoDB filter finds: JSON, @FILE or -.",
            ),
            click.option("--all", "everything", is_flag=True, help="All jobs."),
            click.option("--dry-run", is_flag=True, help="Only print the number of these jobs, and some of them."),
            click.option("--yes", is_flag=True, help="Do not ask before many jobs are changed."),
        )
    ):
        function = option(function)
    return function


def filter_of(selection: values.JsonValue | None) -> Any:
    """Return the filter of ``--filter``, else an empty one.

    Raises:
        click.UsageError: it is no object.
    """
    query = {} if selection is None else selection.value
    if not isinstance(query, dict):
        raise click.UsageError("--filter must be a JSON object")
    return query


def run(flags: dict[str, object], new: NewOperation, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Run an operation, after asking on a terminal; return the exit code."""
    if dry_run or (not yes and _is_interactive()):
        preview = with_runtime(flags, lambda runtime: runtime.operations.preview(new))
        if dry_run:
            _print_preview(_previewed(new, preview), as_json=as_json)
            return errors.OK
        if not click.confirm(f"{new.action} {_number(*preview[:2])} jobs?", err=True):
            return errors.ERROR

    async def use(runtime: Runtime) -> Operation:
        return await follow(runtime, await runtime.operations.create(new), quiet=as_json)

    return print_end(document(with_runtime(flags, use)), as_json=as_json)


def print_end(ended: Mapping[str, Any], *, as_json: bool) -> int:
    """Print the result of an operation; return the exit code."""
    if as_json:
        output.print_json(ended)
    else:
        output.print_line(f"{ended['id']} {ended['state']}: {_counts(ended)}")
        for failure in ended["failures"]:
            output.note(f"error: {failure['id']}: {failure['reason']}")
        if ended["error"] is not None:
            output.note(f"error: {ended['error']}")
    if ended["state"] == Stage.STOPPED:
        return errors.INTERRUPTED
    return errors.CONFLICT if ended["failed"] else errors.OK if ended["state"] == Stage.FINISHED else errors.ERROR


def document(operation: Operation) -> dict[str, Any]:
    """Return an operation as the HTTP API does."""
    from jobqueue.api.bulk.schemas import OperationResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    return OperationResponse.of(operation)


async def follow(runtime: Runtime, made: Operation, *, quiet: bool) -> Operation:
    """Carry out an operation, or watch another process do so; an interrupt stops it.

    Args:
        runtime: the services.
        made: the operation.
        quiet: show no progress.
    """
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    shown = ""
    # Jobs that were being changed at the stop are still to be counted.
    while made.stage is Stage.RUNNING or made.chosen:
        if interrupted.is_set() and made.stage is Stage.RUNNING:
            try:
                await runtime.operations.store.stop(made.id, made.new.by)
            except ConflictError:
                # The operation has just ended by itself.
                interrupted.clear()
        elif not await runtime.operations.carry_on(made.id):
            await asyncio.sleep(_LOOK_SECONDS)
        made = await runtime.operations.store.get(made.id)
        line = _progress(document(made))
        if line != shown and not quiet:
            output.show_progress(line)
            shown = line
    if shown:
        output.end_progress()
    return made


def _previewed(new: NewOperation, preview: Preview) -> dict[str, Any]:
    matched, is_exact, samples = preview
    jobs = [{"id": job.id, "type": job.type, "queue": job.queue, "state": job.state.value} for job in samples]
    return {"action": new.action.value, "matched": matched, "isExact": is_exact, "samples": jobs}


def _print_preview(preview: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(preview)
        return
    output.print_line(f"would {preview['action']} about {_number(preview['matched'], preview['isExact'])} jobs")
    tables.print_rows(preview["samples"], BRIEF)


def _number(matched: int | None, is_exact: bool) -> str:  # noqa: FBT001 - as they come together
    if matched is None:
        return "many"
    return f"{matched:,}" if is_exact else f"{matched:,} or more"


def _counts(operation: Mapping[str, Any]) -> str:
    parts = [f"{operation['done']:,} {_DONE[operation['action']]}"]
    parts += [f"{operation[name]:,} {name}" for name in ("skipped", "failed") if operation[name]]
    return ", ".join(parts)


def _progress(operation: Mapping[str, Any]) -> str:
    return f"{_counts(operation)} of {_number(operation['matched'], operation['isExact'])}"


def _is_interactive() -> bool:
    return output.is_terminal(sys.stderr) and output.is_terminal(sys.stdin)
