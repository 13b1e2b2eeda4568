"""``jobqueue decide``: say whether a step in doubt has happened."""

from __future__ import annotations

from typing import Any

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options


@click.command(
    cls=Command,
    epilog=errors.epilog(
        """decide 65f0c2a4e1b2c3d4e5f60718 charge --happened '{"payment": "p-7"}'""",
        "decide 65f0c2a4e1b2c3d4e5f60718 charge --not-happened",
    ),
)
@id_argument("job_id")
@click.argument("name")
@click.option(
    "--happened",
    is_flag=False,
    flag_value="null",
    default=None,
    type=values.JsonText(),
    metavar="[JSON]",
    help="It has happened; perhaps with its result.",
)
@click.option("--not-happened", is_flag=True, help="It has not happened: it runs again.")
@command_options
def decide(job_id: str, name: str, *, happened: Any, not_happened: bool, as_json: bool, **options: Any) -> None:
    """Say whether a step in doubt has happened, so that its job goes on.

    `jobqueue list --waiting doubt` lists the jobs that wait for this.
    """
    if (happened is None) == (not not_happened):
        raise click.UsageError("say either --happened or --not-happened")
    result = happened.value if isinstance(happened, values.JsonValue) else happened

    body = {"happened": not not_happened, "result": None if not_happened else result}
    job = with_api(options, lambda api: api.post("jobs", job_id, "steps", name, body=body))
    output.print_document(job, f"{job['id']} {job['state']}", as_json=as_json)
