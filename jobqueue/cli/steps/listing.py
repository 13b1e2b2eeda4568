"""``jobqueue steps``: the steps of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, step_text, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.job_text import error_text
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column

if TYPE_CHECKING:
    from jobqueue.cli.render.tables import View

_COLUMNS: Final = (
    tables.field("name", least=16),
    tables.field("kind", rank=2),
    tables.field("state"),
    tables.field("attempt", is_number=True, rank=3),
    tables.field("tries", is_number=True, rank=1),
    tables.field("start", "startAt", rank=5),
    Column(name="duration", cell=lambda step, _: step_text.duration(step), is_number=True),
    Column(name="size", cell=lambda step, _: step_text.size(step), is_number=True, rank=4),
    Column(name="until", cell=lambda step, _: step.get("until") or "", hidden=True),
    Column(name="error", cell=lambda step, _: error_text(step.get("error")), answers=True),
)


@click.command(cls=Command, epilog=errors.epilog("steps 65f0c2a4e1b2c3d4e5f60718"))
@id_argument("job_id")
@tables.table_options(_COLUMNS)
@command_options
def steps(job_id: str, *, view: View, as_json: bool, **options: Any) -> None:
    """List the steps of a job: finished steps, waits, and steps that are tried again."""
    job = with_api(options, lambda api: api.get("jobs", job_id))
    items = [step | {"state": step_text.state(step)} for step in job.get("steps", [])]
    tables.print_items(items, view, as_json=as_json, empty="the job has no steps")
