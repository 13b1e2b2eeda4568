"""``jobqueue drain``: a worker finishes what it runs, and leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.cli.process.api import Api

_MOST = 1_000
_SHOWN = 3


@click.command(cls=Command, epilog=errors.epilog("drain host-03:7741", "drain host-03:7741 --undo"))
@click.argument("worker", shell_complete=complete.workers)
@click.option("--undo", is_flag=True, help="Undo the drain of a worker that has not left yet.")
@command_options
def drain(worker: str, *, undo: bool, as_json: bool, **options: Any) -> None:
    """Drain a worker: it claims no more jobs, finishes what it runs, and leaves.

    WORKER is its name as `jobqueue workers` shows it, or the beginning of only one, which cuts no number: 774 does not
    stand for 7741. The worker sees this within five seconds. Jobs that still run after its --drain-timeout go back to
    their queues, uncounted. Its process then exits with code 0; a program with a JobQueue of its own goes on without
    working.
    """
    if not worker:
        raise InvalidInputError({"worker": ["must not be empty"]})

    async def use(api: Api) -> dict[str, Any]:
        name = await _name(api, worker)
        return dict(await api.post("workers", name, "resume" if undo else "drain", safe=True))

    found = with_api(options, use)
    runs = len(found["running"])
    text = f"{found['name']} claims jobs again" if undo else f"{found['name']} drains, and still runs {runs} jobs"
    output.print_document(found, text.replace(" 1 jobs", " 1 job"), as_json=as_json)


async def _name(api: Api, given: str) -> str:
    names = [str(each["name"]) for each in await api.items("workers", most=_MOST)]
    found = [name for name in names if _begins(name, given)]
    if given in names or not found:
        return given
    if len(found) > 1:
        some = ", ".join(found[:_SHOWN])
        raise InvalidInputError({"worker": [f"begins the names of {len(found)} workers, such as {some}"]})
    return found[0]


def _begins(name: str, given: str) -> bool:
    """Return True if a name begins with a text that ends within no number: the worker of another pid is another one."""
    rest = name.removeprefix(given)
    return name.startswith(given) and not (given[-1].isdigit() and rest[:1].isdigit())
