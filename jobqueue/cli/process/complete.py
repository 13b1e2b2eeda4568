"""Completions of the shell that the database knows: queues, types of jobs, schedules and fingerprints."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from jobqueue.cli.process.session import connected
from jobqueue.cli.render.options import DATABASE
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import click

    from jobqueue.services.application import Runtime

_LONGEST: Final = 2.0
"""Seconds that somebody waits after the tabulator key."""
_MOST: Final = 200


def queues(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of queues."""
    return _known(context, incomplete, lambda runtime: runtime.queues.names())


def types(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return types of jobs that workers serve."""

    async def served(runtime: Runtime) -> list[str]:
        from jobqueue.domain.access.access import EVERYTHING  # noqa: PLC0415 - only here

        return sorted({each.type for each in await runtime.roster.types(EVERYTHING)})

    return _known(context, incomplete, served)


def schedules(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of schedules."""

    async def named(runtime: Runtime) -> list[str]:
        return [schedule.name for schedule in await runtime.schedules.store.page("", _MOST)]

    return _known(context, incomplete, named)


def fingerprints(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return fingerprints of failures."""

    async def grouped(runtime: Runtime) -> list[str]:
        from jobqueue.domain.work.failure import FailureQuery  # noqa: PLC0415 - only here

        groups, _ = await runtime.failures.page(FailureQuery(limit=_MOST))
        return [group.fingerprint for group in groups]

    return _known(context, incomplete, grouped)


def _known(context: click.Context, incomplete: str, look: Callable[[Runtime], Awaitable[Sequence[str]]]) -> list[str]:
    """Return texts with a beginning; none without a MongoDB URL, or if the database does not answer at once."""

    async def read(settings: Settings) -> Sequence[str]:
        async with asyncio.timeout(_LONGEST), connected(settings, creates=False) as runtime:
            return await look(runtime)

    # A key must neither print errors nor start a database.
    with contextlib.suppress(Exception):
        flags: dict[str, Any] = {name: context.params.get(name) for name in DATABASE}
        settings = Settings.load(flags)
        if settings.mongo_url is not None:
            return [text for text in asyncio.run(read(settings)) if text.startswith(incomplete)][:_MOST]
    return []
