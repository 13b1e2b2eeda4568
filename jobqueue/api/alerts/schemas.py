"""Requests about alerts, and their replies."""

from __future__ import annotations

from typing import Any, Final

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict, page
from jobqueue.domain.alerts.alert import (
    KINDS,
    LONGEST_MUTE,
    LONGEST_REASON,
    MOST_FAILURES,
    MOST_QUEUES,
    REMIND,
    STUCK,
    WAITING,
)
from jobqueue.domain.work.processing import LONGEST_TIMEOUT


def _bounds(bounds: tuple[float, float]) -> dict[str, Any]:
    return {"minimum": bounds[0], "maximum": bounds[1]}


_KIND: Final = {"enum": list(KINDS)}


class AlertSchema(Strict):
    """An alert to put; `domain.alerts.alert` reads it."""

    url = fields.Text(required=True, spec={"format": "uri"})
    secret = fields.Text(allow_none=True)
    headers = fields.Object(spec={"additionalProperties": {"type": "string"}})
    timeout = fields.Number(spec={"exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT})
    kinds = fields.Items(fields.Text(spec=_KIND), spec={"minItems": 1})
    queues = fields.Items(
        fields.Text(spec=json_types.QUEUE), allow_none=True, spec={"minItems": 1, "maxItems": MOST_QUEUES}
    )
    stuck_seconds = fields.Number(spec=_bounds(STUCK))
    waiting_seconds = fields.Number(spec=_bounds(WAITING))
    minimum_failures = fields.Whole(spec=_bounds((1, MOST_FAILURES)))
    remind_seconds = fields.Number(allow_none=True, spec=_bounds(REMIND))
    recovered = fields.Flag()


class MuteSchema(Strict):
    """The time for which an alert is muted; 0 ends that."""

    seconds = fields.Number(required=True, spec=_bounds((0, LONGEST_MUTE)))
    reason = fields.Text(allow_none=True, spec={"minLength": 1, "maxLength": LONGEST_REASON})


class StandingResponse(Response):
    """A thing that an alert has told of and that goes on."""

    kind = fields.Text(spec=_KIND)
    thing = fields.Text()
    message = fields.Text()
    since = fields.Moment()
    messages = fields.Whole()
    last_at = fields.Moment()
    path = fields.Text(spec={"description": "of the page about it"})


class AlertResponse(Response):
    """An alert, its secrets masked but for one made just now; one that was spoilt by hand has no definition."""

    sparse = frozenset(
        {"url", "secret", "headers", "timeout", "kinds", "queues", "stuck_seconds", "waiting_seconds"}
        | {"minimum_failures", "remind_seconds", "recovered"}
    )
    name = fields.Text()
    url = fields.Text()
    secret = fields.Text()
    headers = fields.Object(spec={"additionalProperties": {"type": "string"}})
    timeout = fields.Number()
    kinds = fields.Items(fields.Text(spec=_KIND))
    queues = fields.Items(fields.Text(), allow_none=True)
    stuck_seconds = fields.Number()
    waiting_seconds = fields.Number()
    minimum_failures = fields.Whole()
    remind_seconds = fields.Number(allow_none=True)
    recovered = fields.Flag()
    muted_until = fields.Moment(allow_none=True)
    mute_reason = fields.Text(allow_none=True)
    standing = fields.Items(fields.Inner(StandingResponse), spec={"description": "the newest fifty"})
    created_at = fields.Moment()
    changed_at = fields.Moment()


AlertPage: Final = page("AlertPage", AlertResponse)
