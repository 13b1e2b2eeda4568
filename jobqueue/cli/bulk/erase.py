"""``jobqueue erase``: erase the contents of all ended jobs of a person."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.job_columns import BRIEF
from jobqueue.cli.render.options import command_options, connection_flags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.cli.process.api import Api

_MOST_SHOWN: Final = 20
_COUNTS: Final = (
    ("log lines", "logs"),
    ("attempts", "attempts"),
    ("steps", "steps"),
    ("signals", "signals"),
    ("audit entries", "audit"),
    ("batches", "batches"),
    ("operations", "operations"),
    ("request keys", "idempotency"),
    ("documents set aside", "setAside"),
)
_LEFT: Final = ("batches", "schedules", "tokens", "parents")


@click.command(cls=Command, epilog=errors.epilog("erase --meta user_id=42", "erase --meta user_id=42 --yes"))
@click.option(
    "--meta",
    multiple=True,
    required=True,
    metavar="KEY=VALUE",
    help="A value that the jobs have: JSON or text; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Only print the number of these jobs, and what would be left.")
@click.option("--yes", is_flag=True, help="Erase without asking.")
@command_options
def erase(meta: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool, **options: Any) -> int:
    """Erase the contents of all ended jobs with certain values in their meta, for good.

    Data, meta, results, steps, signals, logs, errors and the copies of them elsewhere go; states, times and counts
    stay. Unfinished jobs are named and stay as they are. Without --yes it prints what it would erase, and asks.
    """
    flags = connection_flags(options)
    body = {"meta": values.nested([values.pair(text, "meta") for text in meta])}
    if not yes or dry_run:
        preview = with_api(flags, lambda api: api.post("erase", body={**body, "dryRun": True}, safe=True))
        if as_json and dry_run:
            output.print_json(preview)
            return errors.OK
        _print_preview(preview, to_stderr=as_json)
        if dry_run:
            return errors.OK
        if not (output.is_terminal(sys.stderr) and output.is_terminal(sys.stdin)):
            output.note("nothing was erased: say --yes to erase it for good")
            return errors.ERROR
        if not click.confirm("erase this for good?", err=True):
            return errors.ERROR

    async def use(api: Api) -> dict[str, Any]:
        return await bulk.follow(api, await api.post("erase", body=body), quiet=as_json)

    ended = with_api(flags, use)
    code = bulk.print_end(ended, as_json=as_json)
    if not as_json and ended.get("receipt"):
        _print_receipt(ended["receipt"])
    return code


def _print_preview(preview: Mapping[str, Any], *, to_stderr: bool) -> None:
    number = "many" if preview["matched"] is None else f"{preview['matched']:,}"
    line = f"would erase the contents of {number}{'' if preview['isExact'] else ' or more'} ended jobs"
    if to_stderr:
        output.note(line)
        return
    output.print_line(line)
    tables.print_rows(preview["samples"], BRIEF)
    _print_left(preview["left"])


def _print_receipt(receipt: Mapping[str, Any]) -> None:
    counts = [f"{receipt[name]:,} {noun}" for noun, name in _COUNTS if receipt.get(name)]
    if counts:
        output.print_wrapped(f"erased with them: {', '.join(counts)}", indent=2)
    _print_left(receipt["left"])


def _print_left(left: Mapping[str, Any]) -> None:
    jobs = left["jobs"]
    if jobs["count"]:
        ids = ", ".join(jobs["ids"][:_MOST_SHOWN])
        more = ", …" if jobs["count"] > _MOST_SHOWN else ""
        output.print_wrapped(f"not erased, as not ended: {jobs['count']:,} jobs: {ids}{more}", indent=2)
    for noun in _LEFT:
        if left.get(noun):
            names = output.plain(", ".join(left[noun][:_MOST_SHOWN]))
            output.print_wrapped(f"{noun} that still have the values: {names}", indent=2)
