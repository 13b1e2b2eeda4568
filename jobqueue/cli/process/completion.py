"""``jobqueue completion``: complete commands, options and names in a shell."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from jobqueue.cli.render import errors, output
from jobqueue.cli.render.help import Command

SHELLS: Final = ("bash", "zsh", "fish")
_VARIABLE: Final = "_JOBQUEUE_COMPLETE"


@click.command(
    cls=Command,
    epilog=errors.epilog(
        'completion bash >> ~/.bashrc   # or, for this shell only: eval "$(jobqueue completion bash)"',
        "completion fish > ~/.config/fish/completions/jobqueue.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands, options and states, and with a MongoDB URL also names.

    These are the names of queues, schedules and types that are served, and fingerprints of failures.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows these shells
    output.print_line(kind(context.find_root().command, {}, "jobqueue", _VARIABLE).source().strip())
