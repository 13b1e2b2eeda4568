"""Operations on many jobs: ask, carry them out, show their progress."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.job_columns import BRIEF
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.bulk.rules import Why
from jobqueue.domain.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.cli.process.api import Api

_LOOK_SECONDS: Final = 0.5
_ABSENT: Final = object()
_DONE: Final = {"requeue": "requeued", "kill": "killed", "delete": "deleted", "erase": "erased"}


class How(NamedTuple):
    """Options of operations: only look, do not ask, and wait also for one that watches its jobs."""

    dry_run: bool
    yes: bool
    follow: bool = False


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


def run(flags: dict[str, object], place: tuple[str, ...], body: dict[str, Any], how: How, *, as_json: bool) -> int:
    """Run an operation, after asking on a terminal; return the exit code.

    Args:
        flags: those of `CONNECTION`.
        place: the path of the request that begins the operation.
        body: of this request.
        how: to run it.
        as_json: print the operation as JSON.
    """
    if how.dry_run or (not how.yes and _is_interactive()):
        preview = with_api(flags, lambda api: api.post(*place, body={**body, "dryRun": True}, safe=True))
        if how.dry_run:
            _print_preview(preview, as_json=as_json)
            return errors.OK
        if not click.confirm(f"{preview['action']} {_number(preview['matched'], preview['isExact'])} jobs?", err=True):
            return errors.ERROR

    async def use(api: Api) -> dict[str, Any]:
        begun: dict[str, Any] = await api.post(*place, body=body)
        is_watched = begun.get("results") is not None and not how.follow
        return begun if is_watched else await follow(api, begun, quiet=as_json)

    return print_end(with_api(flags, use), as_json=as_json)


def print_end(ended: Mapping[str, Any], *, as_json: bool) -> int:
    """Print an operation that has ended, or is left to others; return the exit code."""
    if as_json:
        output.print_json(ended)
    else:
        output.print_line(f"{ended['id']} {ended['state']}: {counts(ended)}")
        for failure in ended["failures"]:
            output.note(f"error: {failure['id']}: {failure['reason']}")
        for failure in ended.get("failedAgain", ()):
            output.note(f"failed again: {failure['id']}: {failure['reason']}")
        if ended["error"] is not None:
            output.note(f"error: {ended['error']}")
        if ended.get("stopped") is not None:
            output.note(f"stopped: {ended['stopped']['message']}")
            output.note(f"to go on: jobqueue operations resume {ended['id']}")
        if ended["state"] == Stage.RUNNING:
            output.note(f"servers and workers carry it out: jobqueue operations show {ended['id']} --follow")
    return _code(ended)


def _code(ended: Mapping[str, Any]) -> int:
    """Return the exit code of an operation."""
    results = ended.get("results") or {}
    why = (ended.get("stopped") or {}).get("why")
    if ended["state"] == Stage.STOPPED and why in {None, Why.PERSON}:
        return errors.INTERRUPTED
    if results.get("failed"):
        return errors.JOB_FAILED
    if ended["failed"]:
        return errors.CONFLICT
    return errors.ERROR if ended["state"] == Stage.FAILED or why == Why.FAILED_TRIAL else errors.OK


async def follow(api: Api, made: dict[str, Any], *, quiet: bool, stops: bool = True) -> dict[str, Any]:
    """Carry out an operation, or watch another process do so.

    Args:
        api: of a server, or of this process.
        made: the operation.
        quiet: show no progress.
        stops: an interrupt stops the operation; otherwise it only ends the watch.
    """
    place = ("operations", made["id"])
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    shown = ""
    # Jobs that were being changed at the stop are still to be counted.
    while made["state"] == Stage.RUNNING or made.get("isCounting"):
        if interrupted.is_set() and not stops:
            break
        if interrupted.is_set() and made["state"] == Stage.RUNNING:
            try:
                await api.post(*place, "stop", safe=True)
            except ConflictError:
                # The operation has just ended by itself.
                interrupted.clear()
        elif not await api.carry_on(made["id"]):
            await asyncio.sleep(_LOOK_SECONDS)
        made = await api.get(*place)
        line = _progress(made)
        if line != shown and not quiet:
            output.show_progress(line)
            shown = line
    if shown:
        output.end_progress()
    return made


def _print_preview(preview: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(preview)
        return
    output.print_line(f"would {preview['action']} about {_number(preview['matched'], preview['isExact'])} jobs")
    tables.print_rows(preview["samples"], BRIEF)
    for sample in preview.get("dataSamples", ()):
        output.print_line()
        output.print_line(sample["id"])
        before, after = sample["before"], sample["after"]
        names = [name for name in {**before, **after} if before.get(name, _ABSENT) != after.get(name, _ABSENT)]
        for label, data in (("before", before), ("after", after)):
            shown = {name: data[name] for name in names if name in data}
            output.print_wrapped(output.plain(f"  {label:7}{output.compact(shown)}"), indent=9)
        if sample["problem"] is not None:
            output.print_wrapped(output.plain(f"  refused: {sample['problem']}"), indent=9)


def _number(matched: int | None, is_exact: bool) -> str:  # noqa: FBT001 - as they come together
    if matched is None:
        return "many"
    return f"{matched:,}" if is_exact else f"{matched:,} or more"


def counts(operation: Mapping[str, Any]) -> str:
    """Return the numbers of an operation in words."""
    parts = [f"{operation['done']:,} {_DONE[operation['action']]}"]
    parts += [f"{operation[name]:,} {name}" for name in ("skipped", "failed") if operation[name]]
    results = operation.get("results") or {}
    words = {"succeeded": "succeeded", "failed": "failed again", "unknown": "ended unknown", "unfinished": "unfinished"}
    parts += [f"{results[name]:,} {word}" for name, word in words.items() if results.get(name)]
    return ", ".join(parts)


def _progress(operation: Mapping[str, Any]) -> str:
    return f"{counts(operation)} of {_number(operation['matched'], operation['isExact'])}"


def _is_interactive() -> bool:
    return output.is_terminal(sys.stderr) and output.is_terminal(sys.stdin)
