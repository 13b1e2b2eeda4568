"""What the commands share that do something to many jobs: ask, carry it out, show how far it is."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output, values
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.errors import ConflictError

if TYPE_CHECKING:
    from jobqueue.domain.bulk.operation import NewOperation, Operation
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime

_LOOK_SECONDS: Final = 0.5
_DONE: Final = {"requeue": "requeued", "kill": "killed", "delete": "deleted"}
Preview = tuple[int | None, bool, "list[Job]"]


def many_options(function: Any) -> Any:
    """Add what says that many jobs are meant."""
    for option in reversed(
        (
            click.option(
                "--filter",
                "wanted",
                type=values.JsonText(),
                help="Jobs that this MongoDB filter finds: JSON, @FILE or -.",
            ),
            click.option("--all", "everything", is_flag=True, help="All jobs."),
            click.option("--dry-run", is_flag=True, help="Only say how many jobs these are, and show some."),
            click.option("--yes", is_flag=True, help="Do not ask before many jobs are changed."),
        )
    ):
        function = option(function)
    return function


def filter_of(wanted: values.Given | None) -> Any:
    """Return the filter that was given, else an empty one.

    Raises:
        click.UsageError: it is no object.
    """
    found = {} if wanted is None else wanted.value
    if not isinstance(found, dict):
        raise click.UsageError("--filter must be a JSON object")
    return found


def run(flags: dict[str, object], new: NewOperation, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Do something to many jobs, after asking on a terminal; return the exit code."""

    async def look(runtime: Runtime) -> Preview:
        return await runtime.operations.preview(new)

    if dry_run or (not yes and _is_interactive()):
        preview = with_runtime(flags, look)
        if dry_run:
            _print_preview(new, preview, as_json=as_json)
            return errors.OK
        if not click.confirm(f"{new.action} {_number(*preview[:2])} jobs?", err=True):
            return errors.ERROR

    return print_end(with_runtime(flags, lambda runtime: _carry_out(runtime, new, quiet=as_json)), as_json=as_json)


def print_end(ended: Operation, *, as_json: bool) -> int:
    """Print what has become of an operation; return the exit code."""
    if as_json:
        from jobqueue.api.bulk.schemas import OperationResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

        output.print_json(OperationResponse.of(ended))
    else:
        output.print_line(f"{ended.id} {ended.stage}: {_counts(ended)}")
        for one in ended.failures:
            output.note(f"error: {one['id']}: {one['reason']}")
        if ended.error is not None:
            output.note(f"error: {ended.error}")
    if ended.stage is Stage.STOPPED:
        return errors.INTERRUPTED
    return errors.CONFLICT if ended.failed else errors.OK if ended.stage is Stage.FINISHED else errors.ERROR


async def _carry_out(runtime: Runtime, new: NewOperation, *, quiet: bool) -> Operation:
    return await follow(runtime, await runtime.operations.create(new), quiet=quiet)


async def follow(runtime: Runtime, made: Operation, *, quiet: bool) -> Operation:
    """Carry an operation out, or watch the process that does; an interrupt stops it.

    Args:
        runtime: the services.
        made: the operation.
        quiet: show no progress.
    """
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    shown = ""
    # What was being changed when it was stopped is still to be counted.
    while made.stage is Stage.RUNNING or made.chosen:
        if interrupted.is_set() and made.stage is Stage.RUNNING:
            try:
                await runtime.operations.store.stop(made.id, made.new.by)
            except ConflictError:
                # It has just ended by itself.
                interrupted.clear()
        elif not await runtime.operations.carry_on(made.id):
            await asyncio.sleep(_LOOK_SECONDS)
        made = await runtime.operations.store.get(made.id)
        line = _progress(made)
        if line != shown and not quiet:
            _show(line)
            shown = line
    if shown and _is_terminal():
        output.note("")
    return made


def _print_preview(new: NewOperation, preview: Preview, *, as_json: bool) -> None:
    matched, is_exact, samples = preview
    if as_json:
        found = [{"id": job.id, "type": job.type, "queue": job.queue, "state": job.state.value} for job in samples]
        output.print_json({"action": new.action.value, "matched": matched, "isExact": is_exact, "samples": found})
        return
    output.print_line(f"{new.action} would be about {_number(matched, is_exact)} jobs")
    rows = [[job.id, job.state.value, job.queue, job.type] for job in samples]
    if rows:
        output.print_table(["ID", "STATE", "QUEUE", "TYPE"], rows)


def _number(matched: int | None, is_exact: bool) -> str:  # noqa: FBT001 - as they come together
    if matched is None:
        return "many"
    return f"{matched:,}" if is_exact else f"{matched:,} or more"


def _counts(one: Operation) -> str:
    parts = [f"{one.done:,} {_DONE[one.new.action]}"]
    parts += [f"{one.skipped:,} skipped"] if one.skipped else []
    parts += [f"{one.failed:,} failed"] if one.failed else []
    return ", ".join(parts)


def _progress(one: Operation) -> str:
    return f"{_counts(one)} of {_number(one.matched, one.is_exact)}"


def _show(line: str) -> None:
    if _is_terminal():
        click.echo(f"\r\033[K{line}", err=True, nl=False)
    else:
        output.note(line)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _is_interactive() -> bool:
    return _is_terminal() and sys.stdin is not None and sys.stdin.isatty()
