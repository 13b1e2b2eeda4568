"""The words of messages, and the decision which one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobqueue.domain.alerts import message
from jobqueue.domain.alerts.alert import ALERT_QUEUE, Alert, masked_address
from jobqueue.domain.alerts.incident import Incident, Thing, due, incident_id, message_id
from jobqueue.domain.work.processing import WebhookConfig
from jobqueue.services.alerts.sending import is_own

NOW = datetime(2030, 11, 30, 12, tzinfo=UTC)
OPS = Alert(name="ops", webhook=WebhookConfig(url="https://hooks.example.com/"))


def incident(**fields: Any) -> Incident:
    given: dict[str, Any] = {"id": "i", "alert": "ops", "kind": "queue", "key": "media", "episode": 1, "number": 1}
    given |= {"since": NOW, "told_at": NOW, "standing": True, "message": "queue media is stuck"}
    return Incident(**given | fields)


@pytest.mark.parametrize(
    ("before", "stands", "remind", "event"),
    [
        (None, True, 300, "new"),
        (None, False, 300, None),
        (incident(standing=False), True, 300, "again"),
        (incident(standing=False), False, 300, None),
        (incident(), False, 300, "over"),
        (incident(told_at=NOW - timedelta(seconds=299)), True, 300, None),
        (incident(told_at=NOW - timedelta(seconds=300)), True, 300, "reminder"),
        (incident(told_at=NOW - timedelta(days=300)), True, None, None),
    ],
)
def test_a_message_is_due_once_then_after_each_span_and_at_the_end(
    before: Incident | None, *, stands: bool, remind: float | None, event: str | None
) -> None:
    alert = Alert(name="ops", webhook=OPS.webhook, remind_seconds=remind)
    assert due(alert, before, stands=stands, now=NOW) == event


def test_a_name_can_do_no_more_in_a_message_than_be_read() -> None:
    hostile = "<!channel> <https://evil|ok> @here\u202e\u2066\x00\n*b* & \ud800 end"
    assert message.plain(hostile) == "<!channel> <https://evil|ok> @here *b* & end"
    made = message.body(incident(message=message.plain(hostile)), "reminder", None, NOW)
    body = message.sent(made, "https://jobs.example.com/")
    assert body["text"] == (
        "[ops] still: &lt;!channel&gt; &lt;https://evil|ok&gt; @\u200bhere *b* &amp; end\n"
        "https://jobs.example.com/queues/media"
    )
    assert body["url"] == "https://jobs.example.com/queues/media"
    assert "path" not in body
    assert message.sent(made, None)["url"] is None
    assert "\n" not in message.sent(made, None)["text"]


def test_messages_are_bounded() -> None:
    assert len(message.plain("é" * 10**6).encode()) <= message.LONGEST
    details: Any = {"long": "x" * 10**6, "many": list(range(10**4)), "deep": {"a": {"b": {"c": {"d": {"e": 1}}}}}}
    bounded = message.bounded(details)
    assert len(bounded["long"].encode()) <= message.LONGEST
    assert len(bounded["many"]) == 20
    assert bounded["deep"] == {"a": {"b": {"c": "…"}}}


@pytest.mark.parametrize(
    ("kind", "key", "path"),
    [
        ("failures", "0123456789abcdef", "/failures/0123456789abcdef"),
        ("failures", "many", "/failures"),
        ("breaker", "media/render?x", "/queues/media"),
        ("schedule", "a:b", "/schedules?name=a%3Ab"),
        ("question", "6b06105097b133d05ea55fc5/2030", "/jobs/6b06105097b133d05ea55fc5"),
        ("javascript:", "//evil.example", "/jobs/"),
    ],
)
def test_links_lead_to_pages_of_this_server(kind: str, key: str, path: str) -> None:
    assert message.path(kind, key) == path


def test_an_alert_takes_its_own_things_and_nothing_about_messages() -> None:
    def taken(alert: Alert, **fields: Any) -> bool:
        given = {"kind": "failures", "key": "f", "queues": ("media",), "message": "m", "details": {"count": 2}}
        return Thing(**given | fields).concerns(alert, NOW)

    def alert(**fields: Any) -> Alert:
        return Alert(name="ops", webhook=OPS.webhook, **fields)

    assert taken(OPS)
    assert not taken(OPS, queues=(ALERT_QUEUE,))
    assert taken(OPS, queues=(ALERT_QUEUE, "media"))
    assert not taken(alert(kinds=("queue",)))
    assert not taken(alert(queues=("mail",)))
    assert not taken(alert(minimum_failures=3))
    stuck = {"kind": "queue", "details": {"oldestPendingAge": 299}}
    assert not taken(OPS, **stuck)
    assert taken(alert(stuck_seconds=60), **stuck)
    asked = {"kind": "question", "details": {"since": "2030-11-30T11:00:01.000Z"}}
    assert not taken(OPS, **asked)
    assert taken(alert(waiting_seconds=3599), **asked)


def test_the_id_of_a_message_follows_from_its_thing_and_number() -> None:
    name = incident_id("inc", "queue", "media")
    assert name != incident_id("other", "queue", "media")
    made = {"incident": name, "episode": 1, "number": 2, "at": "2030-11-30T12:00:00.000Z"}
    job_id = message_id(name, 1, 2, NOW)
    assert is_own(job_id, made)
    for other in ({"number": 3}, {"episode": 2}, {"incident": "x"}, {"at": "soon"}, {"number": True}, {"at": None}):
        assert not is_own(job_id, made | other)


def test_the_host_of_a_masked_address_stays() -> None:
    assert masked_address("https://hooks.example.com/T0/B0/hush") == "https://hooks.example.com/********"
    assert masked_address("https://hooks.example.com:444/?token=hush") == "https://hooks.example.com:444/********"
    assert masked_address("https://hooks.example.com/") == "https://hooks.example.com/"
