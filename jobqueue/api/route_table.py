"""The table of all routes, in the order of ``docs/http-api.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.api.access import routes as access
from jobqueue.api.alerts import routes as alerts
from jobqueue.api.bulk import routes as bulk
from jobqueue.api.insight import routes as insight
from jobqueue.api.jobs import routes as jobs
from jobqueue.api.queues import routes as queues
from jobqueue.api.schedules import routes as schedules
from jobqueue.api.steps import routes as steps
from jobqueue.api.system import routes as system
from jobqueue.api.work import routes as work
from jobqueue.api.workflow import routes as workflow

if TYPE_CHECKING:
    from jobqueue.api.http.route_spec import Route

ROUTES: Final[tuple[Route, ...]] = (
    *system.ROUTES,
    *jobs.ROUTES,
    *bulk.ROUTES,
    *work.ROUTES,
    *steps.ROUTES,
    *workflow.ROUTES,
    *queues.ROUTES,
    *schedules.ROUTES,
    *alerts.ROUTES,
    *insight.ROUTES,
    *access.ROUTES,
)
