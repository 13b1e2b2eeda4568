"""``jobqueue steps``: the steps of a job."""

from __future__ import annotations

from typing import Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output, step_text
from jobqueue.cli.render.options import command_options, id_argument
from jobqueue.domain.jobs import json_form


@click.command(epilog=errors.epilog("steps 65f0c2a4e1b2c3d4e5f60718"))
@id_argument("job_id")
@command_options
def steps(job_id: str, *, as_json: bool, **options: Any) -> None:
    """List the steps of a job: finished steps, waits, and steps that are tried again."""
    job = with_runtime(options, lambda runtime: runtime.jobs.whole(job_id))
    documents = zip(json_form.job(job).get("steps", []), job.steps or (), strict=True)
    items = [entry | {"state": step_text.state(entry), "size": step.size} for entry, step in documents]
    if items or as_json:
        output.print_items(items, step_text.HEADINGS, [step_text.row(step) for step in items], as_json=as_json)
    else:
        output.note("the job has no steps")
