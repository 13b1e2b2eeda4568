"""Define alerts, mute them and test them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.preconditions import NONE, Preconditions
from jobqueue.domain.alerts import alert as alerts
from jobqueue.domain.alerts import message
from jobqueue.domain.alerts.alert import ALERT_QUEUE, ALERT_TYPE, MOST_ALERTS, StoredAlert
from jobqueue.domain.alerts.incident import message_id, test_id
from jobqueue.domain.attempts.backoff import ExponentialBackoff
from jobqueue.domain.errors import ChangedMeanwhileError, InvalidInputError, NotFoundError
from jobqueue.domain.insight.audit import AuditNote
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.queues.queues import new_secret, somebody
from jobqueue.store.alerts.alerts import AlertStore
from jobqueue.store.alerts.incidents import IncidentStore
from jobqueue.store.queues.config import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.jobs.producer import Producer
    from jobqueue.services.queues.queues import Queues
    from jobqueue.store.mongo.database import Database
    from jobqueue.store.queues.config import ConfigStore

ATTEMPTS: Final = 40
"""Attempts of a message: with the waits between them, they take more than a day."""
BACKOFF: Final = ExponentialBackoff(base=10, factor=2, max=3600, jitter=0.1)
KEPT_SECONDS: Final = 30 * 86_400
"""Seconds for which sent messages are kept, unless the queue of messages is configured otherwise."""
MOST_SHOWN: Final = 50
"""Things that go on, of one alert, in a reply."""
_TRIES: Final = 20
_MOST_TESTS: Final = 2**31
Change = tuple[StoredAlert | None, str | None]
"""The alert to store, and the secret that was made for it."""


class Alerts:
    """Reads and changes alerts; each change is a compare-and-swap and has an entry in the audit.

    Attributes:
        changed: called after a change by this process.
    """

    def __init__(self, database: Database, producer: Producer, queues: Queues, configs: ConfigStore) -> None:
        self.store, self.incidents = AlertStore(database), IncidentStore(database)
        self._producer = producer
        self._queues, self._configs = queues, configs
        self.changed: Callable[[], None] = lambda: None

    async def get(self, name: str) -> StoredAlert:
        """Return an alert.

        Raises:
            NotFoundError: there is no such alert, or its document was spoilt by another tool.
        """
        stored = await self.store.find(name)
        if stored is None or stored.alert is None:
            raise NotFoundError("alert" if stored is None else "readable alert", name)
        return stored

    async def view(self, stored: StoredAlert, *, urls: bool = False, secret: str | None = None) -> dict[str, Any]:
        """Return an alert as JSON, with the things that go on.

        Args:
            stored: the alert.
            urls: show the whole URL.
            secret: shown in place of its mask, as it was made just now.
        """
        standing = await self.incidents.standing(stored.incarnation, MOST_SHOWN)
        muted = stored.is_muted(await self.store.clock.now())
        definition = {} if stored.alert is None else stored.alert.wire(urls=urls)
        return {
            "name": stored.name,
            **definition,
            **({} if secret is None else {"secret": secret}),
            "mutedUntil": json_form.value(stored.muted_until) if muted else None,
            "muteReason": stored.mute_reason if muted else None,
            "standing": [
                {
                    "kind": incident.kind,
                    "thing": incident.key,
                    "message": incident.message,
                    "since": json_form.date(incident.since),
                    "messages": incident.number,
                    "lastAt": json_form.date(incident.told_at),
                    "path": message.path(incident.kind, incident.key),
                }
                for incident in standing
            ],
            "createdAt": json_form.date(stored.created_at),
            "changedAt": json_form.date(stored.changed_at),
        }

    async def put(
        self, name: str, definition: Mapping[str, Any], *, by: Actor | None = None, only: Preconditions = NONE
    ) -> tuple[StoredAlert, str | None, bool]:
        """Create or replace an alert; the same definition again changes nothing, and a mute goes on.

        Without a secret, or with a mask in its place, the alert keeps its present one; a new alert gets one.

        Returns:
            The alert, the secret that was made for it, and true if the alert is new.

        Raises:
            InvalidInputError: naming each unacceptable field.
            ChangedMeanwhileError: a condition does not hold.
        """

        async def want(before: StoredAlert | None, now: datetime) -> Change:
            alert = alerts.read(name, definition, before.alert if before else None)
            made = None
            if alert.webhook.secret is None:
                made = new_secret()
                alert = replace(alert, webhook=replace(alert.webhook, secret=made))
            if before is None:
                if len(await self.store.all(limit=MOST_ALERTS)) == MOST_ALERTS:
                    raise InvalidInputError({"alert": [f"there are {MOST_ALERTS} alerts already: delete one first"]})
                return _new(name, now, alert), made
            if alert == before.alert:
                return before, None
            return replace(before, alert=alert, revision=before.revision + 1, changed_at=now), made

        before, after, made = await self._change(name, "put", want, by, only)
        await self._keep_queue_small(by)
        if after is None:
            raise ChangedMeanwhileError("alert", name)
        return after, made, before is None

    async def delete(self, name: str, *, by: Actor | None = None, only: Preconditions = NONE) -> None:
        """Delete an alert; its messages that were not sent yet are given up.

        Raises:
            NotFoundError: there is no such alert.
            ChangedMeanwhileError: a condition does not hold.
        """

        async def want(before: StoredAlert | None, _: datetime) -> Change:
            if before is None:
                raise NotFoundError("alert", name)
            return None, None

        before, _, _ = await self._change(name, "delete", want, by, only)
        if before is not None:
            await self.incidents.forget(before.incarnation)

    async def mute(
        self,
        name: str,
        seconds: float,
        *,
        reason: str | None = None,
        by: Actor | None = None,
        only: Preconditions = NONE,
    ) -> StoredAlert:
        """Mute an alert for some seconds from now on; 0 ends that. Things that go on afterwards are told of then.

        Raises:
            InvalidInputError: the time or the reason is not acceptable.
            NotFoundError: there is no such alert.
            ChangedMeanwhileError: a condition does not hold.
        """
        alerts.check_mute(seconds, reason)

        async def want(before: StoredAlert | None, now: datetime) -> Change:
            if before is None or before.alert is None:
                raise NotFoundError("alert", name)
            until = now + timedelta(seconds=seconds) if seconds else None
            muted = replace(before, muted_until=until, mute_reason=reason if seconds else None)
            return replace(muted, revision=before.revision + 1), None

        _, after, _ = await self._change(name, "mute" if seconds else "unmute", want, by, only)
        if after is None:
            raise NotFoundError("alert", name)
        return after

    async def test(self, name: str) -> Job:
        """Send a test message, also while the alert is muted; return its job.

        Raises:
            NotFoundError: there is no such alert.
        """
        stored, now = await self.get(name), await self.store.clock.now()
        number = secrets.randbelow(_MOST_TESTS)
        body = message.test_body(name, now) | {"number": number}
        return await self.send(body, message_id(test_id(stored), 0, number, now))

    async def send(self, body: Mapping[str, Any], job_id: str | None = None) -> Job:
        """Return the job of a message; a certain id makes one job of it, however often it is sent."""
        job = NewJob(
            type=ALERT_TYPE,
            queue=ALERT_QUEUE,
            data=body,
            meta={"alert": body["alert"]},
            attempts=ATTEMPTS,
            backoff=BACKOFF,
        )
        return await self._producer.add(job, job_id=job_id)

    async def _keep_queue_small(self, by: Actor | None) -> None:
        """Configure the queue of messages, unless somebody has done so: sent messages are not kept for ever."""
        if await self._configs.stored(ALERT_QUEUE) is NOTHING:
            kept = dict.fromkeys(("success", "failed", "killed"), KEPT_SECONDS)
            await self._queues.put(ALERT_QUEUE, {"retention": kept}, by=by)

    async def _change(
        self, name: str, action: str, want: Callable[..., Any], by: Actor | None, only: Preconditions
    ) -> tuple[StoredAlert | None, StoredAlert | None, str | None]:
        """Change an alert; return the alert before and after, and the secret that was made for it."""
        for _ in range(_TRIES):
            before = await self.store.find(name)
            only.check("alert", name, before.tag if before else "", exists=before is not None)
            after, made = await want(before, await self.store.clock.now())
            if after is not None and after is before:
                return before, before, None
            note = AuditNote(action=action, by=by or somebody(), before=_shown(before), after=_shown(after))
            if await self.store.swap(name, before, after, note):
                self.changed()
                return before, after, made
        raise ChangedMeanwhileError("alert", name)


def _new(name: str, now: datetime, alert: alerts.Alert) -> StoredAlert:
    incarnation = secrets.token_hex(8)
    return StoredAlert(name=name, alert=alert, incarnation=incarnation, revision=1, created_at=now, changed_at=now)


def _shown(stored: StoredAlert | None) -> dict[str, Any] | None:
    """Return an alert without its secrets, for the audit."""
    if stored is None or stored.alert is None:
        return None
    muted = {"mutedUntil": json_form.value(stored.muted_until), "muteReason": stored.mute_reason}
    return stored.alert.wire() | (muted if stored.muted_until is not None else {})
