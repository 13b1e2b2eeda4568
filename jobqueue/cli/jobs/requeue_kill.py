"""``jobqueue requeue`` and ``jobqueue kill``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.bulk.careful_options import careful_options, rules
from jobqueue.cli.bulk.step_options import from_step, step_options
from jobqueue.cli.process.ids import ids_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options, connection_flags
from jobqueue.domain.errors import ConflictError, InvalidInputError, NotFoundError
from jobqueue.domain.steps.step import as_json as as_json_form

if TYPE_CHECKING:
    from jobqueue.cli.process.api import Api


@click.command(
    cls=Command,
    epilog=errors.epilog(
        "requeue 65f0c2a4e1b2c3d4e5f60718 --from-step import",
        """requeue --filter '{"type": "import"}' --from-step fetch --pace 20 --stop-after 3 --follow""",
    ),
)
@ids_argument("ids")
@click.option("--data", type=values.JsonText(), help="Other input: JSON, @FILE or -.")
@click.option("--attempts", type=int, help="Other number of attempts.")
@click.option("--backoff", type=values.JsonText(source=False), help="Other wait between attempts.")
@click.option("--priority", type=int, help="Other priority.")
@step_options
@bulk.many_options
@careful_options()
@command_options
def requeue(ids: tuple[str, ...], *, as_json: bool, **options: Any) -> int:
    """Requeue ended or delayed jobs with all their attempts; their history is kept.

    Finished steps are kept, unless the job has succeeded or gets other data. A filter that does not name a state
    requeues only failed and killed jobs. With --trial, --pace or --stop-after the operation watches its jobs until
    they have ended.
    """
    careful = rules(options)
    if ids and careful:
        raise click.UsageError("--trial, --pace, --stop-after and --data-patch go with --filter or --all")
    flags, many, steps = connection_flags(options), _many(ids, options), as_json_form(from_step(options))
    changes = {
        name: value.value if isinstance(value, values.JsonValue) else value
        for name, value in options.items()
        if value is not None
    }
    body = {**changes, **steps, **careful}
    if many is not None:
        return bulk.run(flags, ("jobs", "requeue"), many.body | body, many.how, as_json=as_json)
    return _each(ids, flags, "requeue", body, as_json=as_json)


@click.command(cls=Command, epilog=errors.epilog())
@ids_argument("ids")
@click.option("--reason", default="killed by a person", show_default=True, help="What its error says.")
@bulk.many_options
@command_options
def kill(ids: tuple[str, ...], reason: str, *, as_json: bool, **options: Any) -> int:
    """Kill unfinished jobs; a running job is cancelled at once."""
    flags, many, body = connection_flags(options), _many(ids, options), {"reason": reason}
    if many is not None:
        return bulk.run(flags, ("jobs", "kill"), many.body | body, many.how, as_json=as_json)
    return _each(ids, flags, "kill", body, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """Jobs that a filter selects."""

    body: dict[str, Any]
    how: bulk.How


def _many(ids: tuple[str, ...], options: dict[str, Any]) -> _Selection | None:
    """Take the options that select many jobs out of those of a command; return ``None`` if there are ids.

    Raises:
        click.UsageError: nothing is meant, or ids and a filter are.
    """
    selection, everything = options.pop("selection"), options.pop("everything")
    how = bulk.How(**{name: options.pop(name, False) for name in ("dry_run", "yes", "follow")})
    by_filter = selection is not None or everything
    if by_filter == bool(ids):
        raise click.UsageError("say which jobs are meant: by their IDs, or by --filter or --all")
    if not by_filter:
        if how.dry_run:
            raise click.UsageError("--dry-run goes with --filter or --all")
        return None
    return _Selection(body={"filter": bulk.filter_of(selection), "all": everything}, how=how)


def _each(
    ids: tuple[str, ...],
    flags: dict[str, object],
    action: str,
    body: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    """Change the jobs one by one; report those that cannot be changed, and return the exit code of the first."""
    unique = list(dict.fromkeys(ids))
    code = errors.OK
    jobs: list[dict[str, Any]] = []

    async def use(api: Api) -> None:
        nonlocal code
        for job_id in unique:
            try:
                jobs.append(await api.post("jobs", job_id, action, body=body))
            except (NotFoundError, ConflictError, InvalidInputError) as error:
                code = code or errors.code_of(error)
                errors.report(error)

    with_api(flags, use)
    if as_json:
        output.print_json({"items": jobs})
    else:
        for job in jobs:
            output.print_line(f"{job['id']} {job['state']}")
    return code
