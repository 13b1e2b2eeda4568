"""``jobqueue signal``: send a signal to a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.errors import JobQueueError

if TYPE_CHECKING:
    from jobqueue.cli.process.api import Api


@click.command(
    cls=Command,
    epilog=errors.epilog("""signal 65f0c2a4e1b2c3d4e5f60718 approved '{"by": "ann"}'""", "list --waiting signal"),
)
@id_argument("job_id")
@click.argument("name")
@click.argument("value", type=values.JsonText(), required=False)
@click.option("--id", "signal_id", metavar="TEXT", help="The same id again sends nothing.")
@command_options
def signal(job_id: str, name: str, value: Any, signal_id: str | None, *, as_json: bool, **options: Any) -> None:
    """Send a signal to a job: VALUE is JSON, @FILE or -, and null by default.

    The job keeps the signal until a step takes it; if the job waits for it, it goes on.
    """
    content = value.value if isinstance(value, values.JsonValue) else value

    body = {"value": content, **({} if signal_id is None else {"id": signal_id})}
    place = ("jobs", job_id, "signals", name)

    async def send(api: Api) -> tuple[Any, list[str]]:
        sent = await api.post(*place, body=body, keyed=signal_id is None, safe=True)
        return sent, await _others(api, job_id, name)

    document, others = with_api(options, send)
    text = f"{document['jobId']} {'had the signal already' if document['existed'] else 'signalled'}"
    output.print_document(document, text, as_json=as_json)
    if others:
        output.note(f"the job waits for {', '.join(others)}; it keeps {name} until it asks for that")


async def _others(api: Api, job_id: str, name: str) -> list[str]:
    """Return the signals for which the job waits if the name is none of them."""
    try:
        job = await api.get("jobs", job_id)
    except JobQueueError:
        # The signal is sent; a token may be allowed to send and not to read.
        return []
    names = (job.get("wait") or {}).get("signals") or []
    return [] if name in names else names
