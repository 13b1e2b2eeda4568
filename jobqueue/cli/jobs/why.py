"""``jobqueue why``: what keeps a job from running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import database_flags, database_options, json_option
from jobqueue.domain.jobs.checks import check_id

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.services.queues.explain import Why


@click.command(epilog=errors.epilog("why 65f0c2a4e1b2c3d4e5f60718"))
@click.argument("job_id", metavar="ID")
@json_option
@database_options
def why(job_id: str, *, as_json: bool, **options: Any) -> None:
    """Say why a job is not running, in the order in which things stand in its way."""
    wanted = check_id(job_id)

    async def use(runtime: Runtime) -> Why:
        return await runtime.explainer.why(wanted)

    found = with_runtime(database_flags(options), use)
    if as_json:
        from jobqueue.api.jobs.schemas import WhyResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

        output.print_json(WhyResponse.of(found))
        return
    for reason in found.reasons:
        output.print_line(f"{reason.kind:<11}  {output.plain(reason.message)}")
    if not found.reasons:
        output.print_line("nothing keeps it from running: it is the next one to be claimed")
