"""``jobqueue apply``: configure queues and schedules as files say."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.queues.queue import new_secrets
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.access.masking import MASK, masked_queue
from jobqueue.domain.errors import InvalidInputError, NotFoundError, Problems
from jobqueue.domain.queues import queue, queue_form
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.values.checks import check_queue, gather

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.cli.process.api import Api
    from jobqueue.domain.schedules.schedule import Schedule

_TABLES: Final = ("queues", "schedules")
_NAME: Final = "name"
_CHANGED: Final = 412


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """The contents of all files."""

    queues: Mapping[str, Mapping[str, Any]]
    schedules: Mapping[str, Schedule]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    """A queue or a schedule, before and after."""

    kind: str
    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]
    secrets: Mapping[str, str]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The fields that differ; their URLs have masks, as people read this in logs of builds."""
        before: Mapping[str, Any] = self.before or {}
        names = [name for name in {**before, **self.after} if before.get(name) != self.after.get(name)]
        old, new = masked_queue(before), masked_queue(self.after)
        return [{"field": name, "before": old.get(name), "after": new.get(name)} for name in names]

    @property
    def action(self) -> str:
        """The word for what becomes of it."""
        if self.before is None:
            return "created"
        return "changed" if self.changes else "unchanged"


@click.command(
    cls=Command, name="apply", epilog=errors.epilog("apply queues.toml --dry-run", "apply queues.toml schedules.toml")
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Change nothing, and print what would change.")
@command_options
def apply_files(files: tuple[str, ...], *, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Configure queues and schedules as TOML files say, and print what has changed; - is stdin.

    A table [queues.NAME] is the whole configuration of a queue, [schedules.NAME] the whole definition of a schedule.
    Queues and schedules that no file names stay as they are, and so do the secrets of webhooks. A mistake in any file
    changes nothing.
    """
    wanted = _read(files)

    async def use(api: Api) -> list[_Applied]:
        await _check_schedules(api, wanted.schedules)
        applied = [await _queue(api, name, body, dry_run=dry_run) for name, body in wanted.queues.items()]
        return applied + [await _schedule(api, each, dry_run=dry_run) for each in wanted.schedules.values()]

    applied = with_api(options, use, creates=not dry_run)
    if as_json:
        output.print_json({"dryRun": dry_run, "items": [_document(each) for each in applied]})
        return
    for each in applied:
        output.print_line(f"{each.kind} {each.name}: {'would be ' if dry_run and each.changes else ''}{each.action}")
        for change in each.changes if each.before is not None else ():
            before, after = output.compact(change["before"]), output.compact(change["after"])
            same = " (a masked part differs)" if change["before"] == change["after"] else ""
            output.print_line(f"  {change['field']}: {output.plain(before)} -> {output.plain(after)}{same}")
        for kind, secret in each.secrets.items():
            output.print_line(f"  new secret of the webhook for {output.plain(kind)}, shown only now: {secret}")


async def _check_schedules(api: Api, wanted: Mapping[str, Schedule]) -> None:
    """Make sure, before anything is written, that the jobs of all schedules would be taken."""
    problems: Problems = {}
    for name, schedule in wanted.items():
        try:
            await api.put("schedules", name, body=schedule.wire(), query={"dryRun": True}, safe=True)
        except InvalidInputError as error:
            problems |= error.under(f"schedules.{name}").problems
    if problems:
        raise InvalidInputError(problems)


async def _queue(api: Api, name: str, body: Mapping[str, Any], *, dry_run: bool) -> _Applied:
    before = _config(await api.get("queues", name))
    # Without a configuration a queue has no tag that it could have.
    known = await api.find("queues", name, headers={"If-Match": "*"}, without=_CHANGED)
    applied = partial(_Applied, kind="queue", name=name, before=known and before)
    if dry_run:
        return applied(after=_with_secrets(queue_form.queue(queue.read(body), urls=True), before), secrets={})
    after = _config(await api.put("queues", name, body=body))
    secrets = new_secrets(after)
    for kind in secrets:
        after["processors"][kind]["secret"] = MASK
    return applied(after=after, secrets=secrets)


async def _schedule(api: Api, new: Schedule, *, dry_run: bool) -> _Applied:
    after, before = new.wire(), None
    try:
        present = await api.get("schedules", new.name)
        before = {name: present[name] for name in after}
    except NotFoundError as error:
        if error.kind != "schedule":
            # It is there, and cannot be read.
            before = {}
    if not dry_run:
        await api.put("schedules", new.name, body=after, safe=True)
    return _Applied(kind="schedule", name=new.name, before=before, after=after, secrets={})


def _config(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration in the document of a queue."""
    return {name: document[name] for name in queue_form.queue(QueueConfig())}


def _with_secrets(after: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose webhooks keep the secrets that they have."""
    kept = ("secret", "previousSecrets")
    processors = {
        kind: {name: value for name, value in before["processors"].get(kind, {}).items() if name in kept} | each
        if each["kind"] == "webhook"
        else each
        for kind, each in after["processors"].items()
    }
    return {**after, "processors": processors}


def _read(files: Sequence[str]) -> _Wanted:
    """Return the contents of files.

    Raises:
        InvalidInputError: naming each mistake with its place.
    """
    problems: Problems = {}
    bodies: dict[str, dict[str, Any]] = {table: {} for table in _TABLES}
    for name in files:
        gather(problems, _add, bodies, name)
    if problems:
        raise InvalidInputError(problems)
    for name, body in bodies["queues"].items():
        gather(problems, _check_queue, name, body)
    read = {name: gather(problems, _read_schedule, name, body) for name, body in bodies["schedules"].items()}
    if problems:
        raise InvalidInputError(problems)
    return _Wanted(queues=bodies["queues"], schedules={name: each for name, each in read.items() if each is not None})


def _add(bodies: dict[str, dict[str, Any]], file: str) -> None:
    text = values.read_source("-") if file == "-" else values.read_file(file)
    try:
        document = _plain(tomllib.loads(text))
    except RecursionError:
        raise InvalidInputError({file: ["is nested too deeply"]}) from None
    except ValueError as error:
        raise InvalidInputError({file: [f"is not TOML: {error}"]}) from None
    problems: Problems = {}
    for table, named in document.items():
        if table not in _TABLES or not isinstance(named, dict):
            problems[f"{file}: {table}"] = ["is none of the tables [queues.NAME] and [schedules.NAME]"]
            continue
        for name, body in named.items():
            if name in bodies[table]:
                problems[f"{file}: {table}.{name}"] = ["is in an earlier file, too"]
            elif not isinstance(body, dict):
                problems[f"{file}: {table}.{name}"] = ["must be a table"]
            else:
                bodies[table][name] = body
    if problems:
        raise InvalidInputError(problems)


def _check_queue(name: str, body: Mapping[str, Any]) -> None:
    try:
        check_queue(name, _NAME)
        queue.read(body)
    except InvalidInputError as error:
        raise error.under(f"queues.{name}") from None


def _read_schedule(name: str, body: Mapping[str, Any]) -> Schedule:
    try:
        return schedules.read(name, body, values.new_job)
    except InvalidInputError as error:
        raise error.under(f"schedules.{name}") from None


def _plain(value: Any) -> Any:
    """Return a TOML value as JSON."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime | date | time) else value


def _document(applied: _Applied) -> dict[str, Any]:
    return {
        "kind": applied.kind,
        "name": applied.name,
        "action": applied.action,
        "changes": applied.changes,
        "secrets": dict(applied.secrets),
    }
