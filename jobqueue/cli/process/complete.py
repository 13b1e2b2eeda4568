"""Completions of the shell that the database knows: queues, types of jobs, schedules, alerts and fingerprints."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from jobqueue.cli.process.session import named_server, opened
from jobqueue.cli.render.options import CONNECTION, DATABASE
from jobqueue.settings import Settings

if TYPE_CHECKING:
    import click


_LONGEST: Final = 2.0
"""Seconds that somebody waits after the tabulator key."""
_MOST: Final = 200


def queues(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of queues."""
    return _known(context, incomplete, "queues", "name")


def types(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return types of jobs that workers serve."""
    return _known(context, incomplete, "types", "type")


def schedules(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of schedules."""
    return _known(context, incomplete, "schedules", "name")


def workers(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of workers."""
    return _known(context, incomplete, "workers", "name")


def alerts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of alerts."""
    return _known(context, incomplete, "alerts", "name")


def fingerprints(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return fingerprints of failures."""
    return _known(context, incomplete, "failures", "fingerprint")


def _known(context: click.Context, incomplete: str, listing: str, name: str) -> list[str]:
    """Return texts with a beginning; none without a server or a MongoDB URL, or if there is no answer at once."""

    async def read() -> list[str]:
        async with asyncio.timeout(_LONGEST), opened(flags, creates=False, quiet=True) as api:
            return sorted({item[name] for item in await api.items(listing)})

    # A key must neither print errors nor start a database.
    with contextlib.suppress(Exception):
        flags = {name: context.params.get(name) for name in CONNECTION}
        is_remote = named_server(flags) is not None
        if is_remote or Settings.load({name: flags[name] for name in DATABASE}).mongo_url is not None:
            return [text for text in asyncio.run(read()) if text.startswith(incomplete)][:_MOST]
    return []
