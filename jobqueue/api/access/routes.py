"""The routes of the audit."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Operation, Reply, Route
from jobqueue.api.insight import audit
from jobqueue.api.schemas import more_responses, queries

ROUTES: Final = (
    Route(
        "GET",
        "/v1/audit",
        audit.list_changes,
        "admin",
        Operation(tag="access", query=queries.AuditQueryString, replies={200: Reply(more_responses.ChangePage)}),
    ),
)
