"""The routes of the audit."""

from __future__ import annotations

from typing import Final

from jobqueue.api import audit
from jobqueue.api.operations import Operation, Reply, Route
from jobqueue.api.schemas import queries, shown_more

ROUTES: Final = (
    Route(
        "GET",
        "/v1/audit",
        audit.list_changes,
        "admin",
        Operation(tag="access", query=queries.AuditQueryString, replies={200: Reply(shown_more.ChangePage)}),
    ),
)
