"""``jobqueue batch``: show, wait for, requeue, seal and kill batches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.process import complete
from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output, tables, values
from jobqueue.cli.render.help import Group
from jobqueue.cli.render.job_text import error_text
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column
from jobqueue.client.wire.forms import batch_query_form
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.transitions import DEPENDENCY
from jobqueue.domain.workflow.batch import FINISHED, OPEN
from jobqueue.domain.workflow.batch_query import BatchQuery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api
    from jobqueue.cli.render.tables import View

_MOST_CULPRITS: Final = 20
_MOST_COUNTED: Final = 200
_LOOK_SECONDS: Final = 0.5
_BAR: Final = 30


def _counts(batch: Mapping[str, Any], _: datetime | None = None) -> str:
    return ", ".join(f"{count:,} {state}" for state, count in batch["counts"].items() if count) or "no jobs"


_COLUMNS: Final = (
    tables.field("id", is_id=True),
    tables.field("state"),
    Column(name="progress", cell=lambda batch, _: f"{batch['progress']:.0f} %", is_number=True),
    Column(name="age", cell=lambda batch, now: moments.ago(batch["insertAt"], now), is_number=True),
    Column(name="jobs", cell=_counts, answers=True),
    tables.field("verdict", hidden=True),
    tables.field("generation", hidden=True, is_number=True),
    tables.field("meta", hidden=True),
)


@click.group(cls=Group, epilog=errors.epilog())
def batch() -> None:
    """Show, wait for, requeue, seal and kill batches."""


@batch.command(name="list", epilog=errors.epilog())
@click.option("--state", type=click.Choice([OPEN, FINISHED]), help="Only these.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="With this value in their own meta; repeatable.")
@click.option("--type", "kind", metavar="TYPE", shell_complete=complete.types, help="With a job of this type.")
@click.option("--failed", is_flag=True, help="With a job that has failed or was killed.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@tables.table_options(_COLUMNS)
@command_options
def list_batches(limit: int, *, view: View, as_json: bool, **options: Any) -> None:
    """List batches, newest first."""
    meta = tuple(values.pair(text, "meta") for text in options.pop("meta"))
    query = BatchQuery(state=options.pop("state"), type=options.pop("kind"), failed=options.pop("failed"), meta=meta)
    batches = with_api(options, lambda api: api.items("batches", query=batch_query_form(query), most=limit))
    is_all = query == BatchQuery()
    tables.print_items(batches, view, as_json=as_json, empty="there are no batches" if is_all else "no batches match")


@batch.command(epilog=errors.epilog("batch show 65f0c2a4e1b2c3d4e5f60718"))
@id_argument("batch_id", kind="batch")
@command_options
def show(batch_id: str, *, as_json: bool, **options: Any) -> None:
    """Print a batch: first the jobs that failed by themselves, then its state, its counts and its progress.

    Jobs that fell because another one failed are only counted: `list --batch ID --state killed` has them.
    """

    async def use(api: Api) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
        jobs = await _unsuccessful(api, batch_id, {"$ne": DEPENDENCY}, limit=_MOST_CULPRITS)
        fallen = await _unsuccessful(api, batch_id, DEPENDENCY, limit=_MOST_COUNTED)
        return await api.get("batches", batch_id), jobs, fallen

    document, jobs, fallen = with_api(options, use)
    if as_json:
        output.print_json(document)
        return
    for job in jobs:
        output.print_wrapped(output.plain(_culprit(job)), indent=4)
    if len(jobs) == _MOST_CULPRITS:
        output.note(f"there may be more: jobqueue list --batch {batch_id} --state failed")
    if fallen:
        count = f"{_MOST_COUNTED} or more" if len(fallen) == _MOST_COUNTED else f"{len(fallen)}"
        cause = "it" if len(jobs) == 1 else "them"
        output.print_line(f"{count} {'job' if len(fallen) == 1 else 'jobs'} fell because of {cause}")
    if jobs or fallen:
        output.print_line()
    output.print_fields({**document, "counts": _counts(document)})


@batch.command(epilog=errors.epilog())
@id_argument("batch_id", kind="batch")
@click.option("--callbacks", is_flag=True, help="Fire onSuccess again if it fired before.")
@command_options
def requeue(batch_id: str, *, callbacks: bool, as_json: bool, **options: Any) -> None:
    """Restart failed and killed jobs of a batch, and jobs killed because of them. Succeeded jobs stay as they are."""
    body = {"callbacks": callbacks}
    _print(with_api(options, lambda api: api.post("batches", batch_id, "requeue", body=body)), as_json=as_json)


@batch.command(epilog=errors.epilog())
@id_argument("batch_id", kind="batch")
@command_options
def seal(batch_id: str, *, as_json: bool, **options: Any) -> None:
    """Seal a batch: no further jobs can be added."""
    _print(with_api(options, lambda api: api.post("batches", batch_id, "seal", safe=True)), as_json=as_json)


@batch.command(epilog=errors.epilog())
@id_argument("batch_id", kind="batch")
@click.option("--reason", default="its batch was killed by a person", show_default=True, help="What their errors say.")
@command_options
def kill(batch_id: str, reason: str, *, as_json: bool, **options: Any) -> int:
    """Kill all unfinished jobs of a batch."""

    async def use(api: Api) -> dict[str, Any]:
        killed: dict[str, Any] = await api.post("batches", batch_id, "kill", body={"reason": reason}, safe=True)
        return await bulk.follow(api, killed, quiet=as_json) if "action" in killed else killed

    result = with_api(options, use)
    if "action" in result:
        return bulk.print_end(result, as_json=as_json)
    _print(result, as_json=as_json)
    return errors.OK


@batch.command(epilog=errors.epilog("batch wait 65f0c2a4e1b2c3d4e5f60718 && echo all is well"))
@id_argument("batch_id", kind="batch")
@command_options
def wait(batch_id: str, *, as_json: bool, **options: Any) -> int:
    """Wait until a batch has finished, and show its progress; exit 6 if a job of it failed or was killed."""

    async def use(api: Api) -> dict[str, Any]:
        shown = None
        while True:
            seen: dict[str, Any] = await api.get("batches", batch_id)
            line = _line(seen)
            if line != shown and not as_json:
                output.show_progress(line)
                shown = line
            if seen["state"] == FINISHED:
                return seen
            await asyncio.sleep(_LOOK_SECONDS)

    ended = with_api(options, use)
    if as_json:
        output.print_json(ended)
    else:
        output.end_progress()
    return errors.JOB_FAILED if ended["counts"][State.FAILED] + ended["counts"][State.KILLED] else errors.OK


def _print(batch: Mapping[str, Any], *, as_json: bool) -> None:
    output.print_document(batch, f"{batch['id']} {batch['state']}: {_counts(batch)}", as_json=as_json)


async def _unsuccessful(api: Api, batch_id: str, kind: Any, *, limit: int) -> list[dict[str, Any]]:
    """Return failed and killed jobs of a batch whose error is of a kind, the oldest first."""
    states = [State.FAILED.value, State.KILLED.value]
    selection = {"batchId": batch_id, "state": {"$in": states}, "error.kind": kind}
    body = {"filter": selection, "sort": {"insertAt": 1}, "limit": limit}
    found: list[dict[str, Any]] = (await api.post("jobs", "search", body=body, safe=True))["items"]
    return found


def _culprit(job: Mapping[str, Any]) -> str:
    ref = f" ({job['ref']})" if job.get("ref") else ""
    return (
        f"job {job['id']} of type {job['type']}{ref} {job['state']}: {error_text(job['error']) or 'without an error'}"
    )


def _line(batch: Mapping[str, Any]) -> str:
    full = round(_BAR * batch["progress"] / 100)
    return f"{'#' * full}{'.' * (_BAR - full)} {batch['progress']:3.0f} %  {_counts(batch)}"
