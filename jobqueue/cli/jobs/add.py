"""``jobqueue add``: add a job, or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.jobs.arguments import read
from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options, connection_flags
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import DEFAULT_QUEUE, NewJob
from jobqueue.domain.json_text import parse_json
from jobqueue.domain.values.checks import gather

if TYPE_CHECKING:
    from jobqueue.cli.process.api import Api

_CHILDREN: Final = ("on_complete", "on_success", "on_failure")
_MOST_TOLD: Final = 20
_EPILOG: Final = errors.epilog(
    """add thumbnail '{"src": "a.png"}' --queue media --meta user_id=42""",
    "add import @order.json --attempts 5 --backoff '[10, 60, 600]'",
    "add --bulk jobs.jsonl",
)


@click.command(cls=Command, epilog=_EPILOG, context_settings={"ignore_unknown_options": True})
@click.argument("kind", metavar="TYPE", required=False, shell_complete=complete.types)
@click.argument("words", metavar="[DATA]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--queue", metavar="NAME", shell_complete=complete.queues, help=f"Queue to put it in.  [default: {DEFAULT_QUEUE}]"
)
@click.option(
    "--meta", multiple=True, metavar="KEY=VALUE", help="Attach a value to search by: JSON or text; repeatable."
)
@click.option("--priority", type=int, help="Higher runs first.")
@click.option("--attempts", type=int, help="How many attempts are allowed.")
@click.option("--backoff", type=values.JsonText(source=False), help="Wait between attempts: 60, [10, 60], {…}.")
@click.option("--delay", type=values.Number(), metavar="SECONDS", help="Wait before the first attempt.")
@click.option("--delay-til", metavar="DATE", help="Not before this time, ISO 8601.")
@click.option("--start-before", metavar="DATE", help="Kill it unless it has started by then: ISO 8601, or seconds.")
@click.option("--lease", type=values.Number(), metavar="SECONDS", help="How long a claim lasts without a heartbeat.")
@click.option("--timeout", type=values.Number(), metavar="SECONDS", help="Longest an attempt may run.")
@click.option("--key", help="Unique among the unfinished jobs of the queue.")
@click.option("--on-success-delete", is_flag=True, default=None, help="Delete the job when it succeeds.")
@click.option("--on-complete", type=values.JsonText(), help="Job or list of jobs to create when it ends.")
@click.option("--on-success", type=values.JsonText(), help="Likewise when it succeeds.")
@click.option("--on-failure", type=values.JsonText(), help="Likewise when it fails or is killed.")
@click.option("--bulk", metavar="FILE", help="Add the jobs of a file, one JSON object a line, all or none; - is stdin.")
@command_options
def add(kind: str | None, bulk: str | None, words: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Add a job of TYPE and print its id.

    DATA is its input, a JSON object, @FILE to read it from, or - for stdin. A task that a living worker serves also
    takes its arguments as options: --src a.png --width 64; `jobqueue types` lists them.
    """
    flags = connection_flags(options)
    data, arguments = _split(words)
    if data is not None:
        options["data"] = data
    if bulk is not None:
        if kind is not None or words or any(value not in (None, ()) for value in options.values()):
            raise click.UsageError("--bulk takes no other job or options: the lines of the file have all fields")
        _add_all(_read_lines(bulk), flags, as_json=as_json)
        return
    if kind is None:
        raise click.UsageError("say which TYPE of job to add, or --bulk FILE")
    if arguments and data is not None:
        raise click.UsageError(f"give either DATA or {arguments[0]}, not both")
    if not arguments:
        new = _read(kind, options)

    async def use(api: Api) -> dict[str, Any]:
        job: dict[str, Any] = await api.post("jobs", body=json_form.new_job(await read_with(api)), keyed=True)
        return job

    async def read_with(api: Api) -> NewJob:
        if not arguments:
            return new
        schema = await _schema(api, options["queue"] or DEFAULT_QUEUE, kind)
        return _read(kind, options | {"data": read(arguments, kind, schema)})

    job = with_api(flags, use, creates=not arguments)
    output.print_document(job, job["id"], as_json=as_json)


def _split(words: tuple[str, ...]) -> tuple[values.JsonValue | None, tuple[str, ...]]:
    """Return the data, if there is any, and the arguments of a task."""
    if not words or words[0].startswith("--"):
        return None, words
    context = click.get_current_context()
    named = next(param for param in context.command.params if param.name == "words")
    data: values.JsonValue = values.JsonText().convert(words[0], named, context)
    if len(words) > 1:
        raise click.UsageError(f"{words[1]} is no option of add, and DATA is there already")
    return data, ()


def _add_all(new: list[NewJob], flags: dict[str, object], *, as_json: bool) -> None:
    body = {"jobs": [json_form.new_job(job) for job in new]}
    added = with_api(flags, lambda api: api.post("jobs", "bulk", body=body, keyed=True), creates=True)
    if as_json:
        output.print_json(added)
        return
    for job in added["items"]:
        output.print_line(job["id"])


async def _schema(api: Api, queue: str, kind: str) -> dict[str, Any] | None:
    """Return the JSON Schema of the data of a type, if a living worker has published one."""
    served = await api.items("types", query={"queue": queue})
    return next((each["schema"] for each in served if each["type"] == kind), None)


def _read(kind: str, options: dict[str, Any]) -> NewJob:
    """Return the job that the command line describes.

    Raises:
        InvalidInputError: naming each unacceptable field.
    """
    problems: Problems = {}
    fields = {name: value for name, value in options.items() if value not in (None, ())}
    fields |= {name: value.value for name, value in fields.items() if isinstance(value, values.JsonValue)}
    if "meta" in fields:
        fields["meta"] = gather(problems, _meta, fields["meta"]) or {}
    if "delay_til" in fields:
        fields["delay_til"] = gather(problems, values.moment, fields["delay_til"], "delayTil")
    if "start_before" in fields:
        fields["start_before"] = gather(problems, values.limit, fields["start_before"], "startBefore")
    for name in _CHILDREN:
        if name in fields:
            fields[name] = gather(problems, values.family, fields[name], json_form.camel(name))
    new: NewJob | None = gather(problems, lambda: NewJob(type=kind, **fields))
    if problems or new is None:
        raise InvalidInputError(problems)
    return new


def _meta(pairs: tuple[str, ...]) -> dict[str, Any]:
    return values.nested([values.pair(text, "meta") for text in pairs])


def _read_lines(name: str) -> list[NewJob]:
    text = values.read_source("-") if name == "-" else values.read_file(name.removeprefix("@"))
    problems: Problems = {}
    jobs = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        new = gather(problems, _read_line, line, f"line {number}")
        if new is not None:
            jobs.append(new)
        if len(problems) >= _MOST_TOLD:
            break
    if problems:
        raise InvalidInputError(problems)
    return jobs


def _read_line(line: str, path: str) -> NewJob:
    try:
        document = parse_json(line)
    except ValueError as error:
        raise InvalidInputError({path: [f"is not JSON: {error}"]}) from None
    return values.new_job(document, path)
