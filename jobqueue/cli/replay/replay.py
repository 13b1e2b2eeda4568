"""``jobqueue replay``: the options of a replay."""

from __future__ import annotations

from typing import Any

import click

from jobqueue.cli.bulk.step_options import from_step, step_options
from jobqueue.cli.render import errors, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import json_option


@click.command(
    cls=Command,
    epilog=errors.epilog(
        "replay order.json app:queue",
        'replay order.json app:queue --from-step reserve --data-patch \'{"card": "4111"}\' --debug',
        "replay order.json --commands commands.toml",
        "replay order.json --url http://127.0.0.1:8000/hooks",
    ),
)
@click.argument("file", metavar="FILE")
@click.argument("target", metavar="[MODULE:QUEUE]", required=False)
@step_options
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Run this attempt, in place of the last one.")
@click.option("--data", type=values.JsonText(), help="Other input: JSON, @FILE or -.")
@click.option("--data-patch", type=values.JsonText(), help="Changes of the input, as a JSON merge patch.")
@click.option("--signal", "signals", metavar="NAME=JSON", multiple=True, help="A signal that the job gets here.")
@click.option(
    "--run-once", "may_run", metavar="STEP", multiple=True, help="Run this step here though it must not run twice."
)
@click.option("--debug", is_flag=True, help="Open pdb at the error. The job has no time limit then.")
@click.option("--commands", metavar="FILE", help="Run the command of the job, as this file defines it.")
@click.option("--url", metavar="URL", help="Send the webhook of the job to this URL.")
@click.option(
    "--secret",
    metavar="SECRET",
    envvar="JOBQUEUE_REPLAY_SECRET",
    help="Sign the webhook by it. [JOBQUEUE_REPLAY_SECRET]",
)
@json_option
def replay(file: str, target: str | None, **options: Any) -> int:
    """Run the handler of a job here, with a FILE of jobqueue bundle and without a database.

    MODULE is imported, from the current directory too, and QUEUE is the object's name in it. Finished steps, children
    and signals come from the file; all else runs here, the code of the handler from its top. A sleep is over at once.
    Jobs that the handler adds are told and not added. A step with once=True runs with --run-once only.

    Exit codes of the run: 0 the handler has succeeded, 6 it ends with the same error as in the file, 7 it ends
    otherwise.
    """
    from jobqueue.cli.replay import running, ways  # noqa: PLC0415 - the driver takes 0.2 s to import, --help must not

    named = {name: options.pop(name) for name in ("commands", "url", "secret")}
    wishes = running.Wishes(first=from_step(options), **options)
    return running.run(file, ways.Program(target=target, **named), wishes)
