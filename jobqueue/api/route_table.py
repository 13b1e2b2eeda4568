"""The one table of routes, in the order of the README's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.api.routes import access, batches, bulk, jobs, queues, schedules, system, watching, work

if TYPE_CHECKING:
    from jobqueue.api.operations import Route

ROUTES: Final[tuple[Route, ...]] = (
    *system.ROUTES,
    *jobs.ROUTES,
    *bulk.ROUTES,
    *work.ROUTES,
    *batches.ROUTES,
    *queues.ROUTES,
    *schedules.ROUTES,
    *watching.ROUTES,
    *access.ROUTES,
)
