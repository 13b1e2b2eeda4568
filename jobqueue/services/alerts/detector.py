"""Find what alerts have to tell of, in one process at a time, and make jobs of the messages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.alerts import message
from jobqueue.domain.alerts.alert import ALERT_QUEUE, KINDS
from jobqueue.domain.alerts.incident import Incident, Message, Thing, due, incident_id, message_id
from jobqueue.domain.errors import DatabaseError
from jobqueue.journal import get_logger
from jobqueue.services.work.loops import Loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.alerts.alert import Alert, StoredAlert
    from jobqueue.domain.alerts.incident import Event
    from jobqueue.services.alerts.alerts import Alerts
    from jobqueue.services.concerns import Concern, Concerns
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.mongo.turns import Turn

log = get_logger(__name__)
LOOK_SECONDS: Final = 15.0
"""Seconds between two looks, if there are few queues."""
SENDING_SECONDS: Final = 30.0
"""Seconds between two looks for alerts, while only messages of deleted ones are left."""
REST_SECONDS: Final = 600.0
"""Seconds between two looks for alerts, if there is nothing: the pulse tells of new ones within `LOOK_SECONDS`."""
TURN_SECONDS: Final = 60.0
"""Seconds after which another process takes over from one that is silent."""
MOST: Final = 200
"""Things of each kind that a look finds."""
_QUEUES_A_SECOND: Final = 1.0
"""A look at a queue takes two commands or three: so many queues a second leave a process below its bound."""


class AlertDetector:
    """Compares what needs somebody with what the alerts have told of.

    Args:
        alerts: the alerts.
        concerns: finds what needs somebody.
        configs: tell which queues are paused.
        turn: of the process that looks. It only saves work: two processes decide once for each thing, too.

    Attributes:
        alerts: as above.
        has_any: there were alerts at the last look, or messages to send; before the first look there may be.
    """

    def __init__(self, alerts: Alerts, concerns: Concerns, configs: QueueConfigs, turn: Turn) -> None:
        self.alerts = alerts
        self._concerns = concerns
        self._configs = configs
        self._turn = turn
        self._loop: Loop | None = None
        self._goes_on = False
        self.has_any = True

    def loop(self) -> Loop:
        """Return the loop that looks; a change of an alert by this process begins the next turn."""
        self._loop = Loop("alerts", self.run_once, every=REST_SECONDS)
        self.alerts.changed = self._begin
        return self._loop

    def found(self) -> None:
        """Begin to look, as there are alerts; a process whose last look has succeeded goes on at its pace."""
        if not self._goes_on:
            self._begin()

    def _begin(self) -> None:
        self.has_any = True
        if self._loop is not None:
            self._loop.wake()

    async def run_once(self) -> float | None:
        """Look once, if no other process does; return the seconds until the next look."""
        self._goes_on = False
        stored = await self.alerts.store.all()
        # Without alerts, messages of deleted ones may be left; no further ones come.
        self.has_any = bool(stored) or (self.has_any and await self.alerts.store.has_messages())
        if not stored:
            return SENDING_SECONDS if self.has_any else None
        mark = await self._turn.take(TURN_SECONDS)
        if mark is None:
            self._goes_on = True
            return LOOK_SECONDS
        pause = LOOK_SECONDS
        try:
            pause = await self.look(stored)
        finally:
            # Half a second less: this process is the next to look, unless it is gone.
            await self._turn.end(mark, pause - 0.5)
        self._goes_on = True
        return pause

    async def look(self, stored: Sequence[StoredAlert]) -> float:
        """Decide about all things for some alerts; return the seconds until the next look."""
        look = await self._concerns.look(most=MOST)
        things = [thing for concern in look.concerns if (thing := self._thing(concern)) is not None]
        for each in stored:
            now = await self.alerts.store.clock.now()
            if each.alert is None or each.is_muted(now):
                continue
            try:
                await self._tell(each, each.alert, things, look.incomplete, now)
            except DatabaseError:
                raise
            except Exception:
                # One alert that fails holds up no other one.
                log.exception("alert failed", alert=each.name)
        return max(LOOK_SECONDS, look.queues / _QUEUES_A_SECOND)

    async def _tell(
        self, stored: StoredAlert, alert: Alert, things: Sequence[Thing], incomplete: frozenset[str], now: datetime
    ) -> None:
        wanted = {
            incident_id(stored.incarnation, thing.kind, thing.key): thing
            for thing in things
            if thing.concerns(alert, now)
        }
        known = await self.alerts.incidents.known(stored.incarnation, list(wanted))
        failed: Exception | None = None
        for name in dict.fromkeys([*wanted, *known]):
            thing, before = wanted.get(name), known.get(name)
            if thing is None and before is not None and before.waiting is None and before.kind in incomplete:
                continue
            try:
                if before is not None and before.waiting is not None:
                    # Another process was killed, or is at it: the job has the same id.
                    await self._send(before, before.waiting)
                elif event := due(alert, before, stands=thing is not None, now=now):
                    await self._decide(stored, name, before, thing, event, now)
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001 - one thing that fails holds up no other one
                failed = error
        if failed is not None:
            raise failed

    async def _decide(
        self,
        stored: StoredAlert,
        name: str,
        before: Incident | None,
        thing: Thing | None,
        event: Event,
        now: datetime,
    ) -> None:
        after = _following(stored.name, name, before, thing, event, now)
        if event == "over" and (stored.alert is None or not stored.alert.recovered or not self._is_news(after)):
            await self.alerts.incidents.decide(stored.incarnation, before, replace(after, standing=False))
            return
        made = Message(number=after.number, at=now, body=message.body(_told(after, event, now), event, thing, now))
        after = replace(after, waiting=made)
        if await self.alerts.incidents.decide(stored.incarnation, before, after):
            await self._send(after, made)

    def _is_news(self, incident: Incident) -> bool:
        """Tell whether the end of an incident is worth a message: a queue that was paused has not recovered."""
        return incident.kind not in {"queue", "breaker"} or not self._configs.of(incident.key.partition("/")[0]).paused

    async def _send(self, incident: Incident, waiting: Message) -> None:
        job_id = message_id(incident.id, incident.episode, waiting.number, waiting.at)
        job = await self.alerts.send(waiting.body, job_id)
        event = waiting.body.get("event")
        await self.alerts.incidents.told(incident, stands=event != "over")
        log.info("alert raised", alert=incident.alert, job_id=job.id, told=event, kind=incident.kind)

    def _thing(self, concern: Concern) -> Thing | None:
        """Return what alerts see of a concern; nothing of one that is muted for everybody."""
        if concern.kind not in KINDS:
            return None
        details = concern.details
        queues = tuple(details.get("queues") or filter(None, [details.get("queue")]))
        if ALERT_QUEUE in queues and set(queues) == {ALERT_QUEUE}:
            # A receiver that is down would be told of itself for ever.
            return None
        if concern.kind in {"queue", "breaker"} and self._configs.of(queues[0]).paused:
            # A person has paused the queue, and knows that nothing starts.
            return None
        return Thing(
            kind=concern.kind,
            key=_key(concern.kind, details),
            queues=queues,
            message=message.plain(concern.message),
            command=concern.command,
            details=details,
        )


def _key(kind: str, details: Mapping[str, Any]) -> str:
    match kind:
        case "failures":
            return str(details.get("fingerprint", "many"))
        case "queue":
            return str(details["queue"])
        case "breaker":
            return f"{details['queue']}/{details['type']}" if details["type"] else str(details["queue"])
        case "schedule":
            return str(details["schedule"])
        case "doubt":
            return f"{details['job']}/{details['step']}"
        case _:
            return f"{details['job']}/{details['since']}"


def _following(
    alert: str, name: str, before: Incident | None, thing: Thing | None, event: Event, now: datetime
) -> Incident:
    """Return an incident as it is after its next message, which is still to be written."""
    if before is None or event in {"new", "again"}:
        if thing is None:
            raise TypeError("only a thing begins an incident")
        return Incident(
            id=name,
            alert=alert,
            kind=thing.kind,
            key=thing.key,
            episode=1 if before is None else before.episode + 1,
            number=1,
            since=now,
            told_at=now,
            standing=True,
            message=thing.message,
        )
    words = before.message if thing is None else thing.message
    return replace(before, number=before.number + 1, told_at=now, message=words)


def _told(incident: Incident, event: Event, now: datetime) -> Incident:
    """Return an incident with the sentence of its message."""
    return replace(incident, message=message.over(incident, now)) if event == "over" else incident
