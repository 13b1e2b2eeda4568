"""``jobqueue serve``: the options of the server."""

from __future__ import annotations

import click

from jobqueue.cli.render import errors
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import setting_options


@click.command(
    cls=Command, epilog=errors.epilog("serve --port 8080", "serve --mongo-url mongodb://db1,db2,db3/?replicaSet=rs0")
)
@setting_options(
    "host",
    "port",
    "tls_cert",
    "tls_key",
    "trusted_proxies",
    "allowed_hosts",
    "mongo_url",
    "db",
    "data_dir",
    "mongod",
    "commands",
    "concurrency",
    "poll_interval",
    "drain_timeout",
    "reap_interval",
    "webhook_allow",
    "webhook_ports",
    "log_level",
    "log_format",
)
def serve(**flags: str | None) -> int:
    """Serve the HTTP API, run webhooks and do the maintenance, until SIGTERM or Ctrl-C.

    Prints "listening on http://HOST:PORT" when it does, and logs to stderr. Any number of servers may share one
    database. When asked to stop it claims nothing more, lets running jobs finish for --drain-timeout and gives the
    others back, not counted as an attempt; asked a second time, it gives them back at once.
    """
    from jobqueue.cli.running.serving import run  # noqa: PLC0415 - server and driver take 0.5 s to import, --help must not

    return run(flags)
