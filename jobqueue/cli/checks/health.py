"""``jobqueue health``: request the health of the server on this machine."""

from __future__ import annotations

import click

from jobqueue.cli.render import errors, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import setting_options


@click.command(cls=Command, epilog=errors.epilog("health", "health --ready", "health --port 9000"))
@click.option("--ready", is_flag=True, help="Check that requests can be served, not only that the process lives.")
@click.option(
    "--timeout", default=3.0, show_default=True, type=click.FloatRange(0.1, 60), help="Seconds it has to answer."
)
@setting_options("host", "port", "tls_cert", "tls_key")
def health(*, ready: bool, timeout: float, **flags: str | None) -> int:
    """Request the health of the server on this machine, and exit 1 if it is not healthy.

    The settings are those of serve. In a container the flags of a serve that is process 1 count too. The health check
    of an image therefore needs no flag.
    """
    from jobqueue.cli.checks.checking import ask  # noqa: PLC0415 - an HTTP client is not needed for --help

    output.print_line(ask(flags, ready=ready, timeout=timeout))
    return errors.OK
