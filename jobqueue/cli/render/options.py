"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from jobqueue.cli.render.help import SharedOption
from jobqueue.settings import describe

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

DATABASE: Final = ("mongo_url", "db", "data_dir", "mongod", "log_level", "log_format")
"""Settings of every command that needs the database."""
CONNECTION: Final = (*DATABASE, "server", "token")
"""Options of every command that uses the API of a server, or the database."""
_SHAPES: Final = {
    "mongo_url": "URL",
    "db": "NAME",
    "concurrency": "N",
    "poll_interval": "SECONDS",
    "drain_timeout": "SECONDS",
    "reap_interval": "SECONDS",
    "data_dir": "DIR",
    "mongod": "FILE",
    "commands": "FILE",
    "webhook_allow": "NETWORKS",
    "webhook_ports": "PORTS",
    "tls_cert": "FILE",
    "tls_key": "FILE",
    "trusted_proxies": "NETWORKS",
    "allowed_hosts": "HOSTS",
}


def setting_options(*names: str) -> Callable[[F], F]:
    """Add a flag for each of these settings, in this order; they arrive as texts, or ``None`` where not given."""
    rows = {row.name: row for row in describe()}

    def add(function: F) -> F:
        for name in reversed(names):
            row = rows[name]
            function = click.option(
                f"--{name.replace('_', '-')}",
                metavar=_SHAPES.get(name, name.rpartition("_")[2].upper()),
                help=f"{row.help}. [{row.env}; default: {row.default}]",
                **_shared(name),
            )(function)
        return function

    return add


def _shared(name: str) -> dict[str, Any]:
    return {"cls": SharedOption} if name in DATABASE else {}


def json_option(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def command_options(function: F) -> F:
    """Add ``--json`` and the flags of `CONNECTION`."""
    return json_option(server_options(database_options(function)))


def server_options(function: F) -> F:
    """Add ``--server`` and ``--token``."""
    token = click.option(
        "--token",
        metavar="TOKEN",
        help="Token for the server. Other users of this machine can read it in the list of processes: better set "
        "JOBQUEUE_API_TOKEN, or name a file by JOBQUEUE_API_TOKEN_FILE.",
    )
    server = click.option(
        "--server",
        metavar="URL",
        help="Server of the HTTP API to use, in place of a database. [JOBQUEUE_URL]",
    )
    return server(token(function))


def database_options(function: F) -> F:
    """Add the flags of `DATABASE`."""
    return setting_options(*DATABASE)(function)


def database_flags(options: dict[str, Any]) -> dict[str, object]:
    """Remove the flags of `DATABASE` from a command's arguments, and return them."""
    return {name: options.pop(name) for name in DATABASE}


def connection_flags(options: dict[str, Any]) -> dict[str, object]:
    """Remove the flags of `CONNECTION` from a command's arguments, and return them."""
    return {name: options.pop(name) for name in CONNECTION}
