"""Texts of the OpenAPI document that no route and no schema has."""

from __future__ import annotations

from typing import Any, Final

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.json_types import FINGERPRINT

PATHS: Final = {
    "id": json_types.ID,
    "parent": json_types.ID,
    "step": json_types.STEP_NAME,
    "queue": json_types.QUEUE,
    "name": json_types.QUEUE,
    "fingerprint": FINGERPRINT,
}
HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {"type": "string", "pattern": "^[\\x20-\\x7e]{1,255}$"},
    "Last-Event-ID": {"type": "string"},
    "Location": {"type": "string", "format": "uri-reference"},
}
_TAG: Final = r'(W/)?"[^"\x00-\x20\x7f]*"'
TAG_LIST: Final = rf"^(\*|[ \t,]*{_TAG}([ \t]*,[ \t,]*{_TAG})*[ \t,]*)$"
CONDITIONS: Final = {
    "If-Match": "Do it only if the present `ETag` is one of these; `*` for any. Weak ones never match.",
    "If-None-Match": (
        "Do it only if the present `ETag` is none of these; `*` only if nothing is there. A GET answers 304 otherwise."
    ),
}
ETAG: Final[dict[str, Any]] = {"schema": {"type": "string"}, "description": "for `If-Match` and `If-None-Match`"}
UNCHANGED: Final = "the caller has what `If-None-Match` names already"
TITLES: Final = {
    400: "the body is not JSON that can be understood, or a header cannot be understood",
    401: "a valid token is missing",
    403: "the token has not the role for this",
    404: "it is not there",
    408: "the body comes too slowly",
    409: "the present state does not allow it",
    410: "it is gone",
    412: "a condition of `If-Match` or `If-None-Match` does not hold",
    413: "it is too large",
    415: "the body is not declared as what it has to be",
    422: "values are not acceptable; `errors` names them",
    429: "too many failed attempts from this address, or a second search that insists",
    500: "the server made a mistake",
    503: "the database or the server cannot answer now",
}
CLAIM: Final = "`Authorization: Claim TOKEN` with the token of a job's claim, for the routes of that job while it runs"
META: Final = (
    "Members of the `meta` of jobs or batches by their path: `meta.user_id=42` finds what has the number or the text "
    "there, `meta.order.kind=gift` what has the text in an inner object. All of several have to match."
)
DESCRIPTION: Final = (
    "Durations are seconds, dates ISO 8601 in UTC. Lists are `items` and `next`, a cursor or null. "
    "Errors are `application/problem+json` (RFC 9457)."
)

TAGS: Final = {
    "jobs": "Create jobs, find them, and change, restart and end them, one or many.",
    "work": "The protocol of workers that poll: claim a job, report about it, and keep its steps.",
    "batches": "Jobs that belong together, with dependencies between them and callbacks at their end.",
    "queues": "Queues: their limits, processors and counts.",
    "schedules": "Schedules, which make jobs at their times.",
    "alerts": "Alerts, which send signed messages about what needs somebody.",
    "history": "Failures in groups, statistics, and changes of jobs as they happen.",
    "access": "Tokens, and the record of what people have changed.",
    "system": "Health, metrics and documentation of the service itself.",
}
"""Sections of the document, in their order."""
