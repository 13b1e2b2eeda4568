"""``jobqueue why``: print why a job is not running."""

from __future__ import annotations

from typing import Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import command_options, id_argument


@click.command(epilog=errors.epilog("why 65f0c2a4e1b2c3d4e5f60718"))
@id_argument("job_id")
@command_options
def why(job_id: str, *, as_json: bool, **options: Any) -> None:
    """Print the reasons why a job is not running, in their order."""
    explanation = with_runtime(options, lambda runtime: runtime.explainer.why(job_id))
    if as_json:
        from jobqueue.api.jobs.schemas import WhyResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

        output.print_json(WhyResponse.of(explanation))
        return
    for reason in explanation.reasons:
        output.print_line(f"{reason.kind:<11}  {output.plain(reason.message)}")
    if not explanation.reasons:
        output.print_line("nothing keeps it from running: it is the next one to be claimed")
