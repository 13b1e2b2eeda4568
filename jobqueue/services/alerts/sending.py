"""Send the messages of alerts: the jobs of one queue, each a signed webhook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.alerts import message
from jobqueue.domain.alerts.alert import ALERT_QUEUE, ALERT_TYPE
from jobqueue.domain.alerts.incident import incident_id, message_id, test_id
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.values.iso8601 import moment
from jobqueue.domain.work.verdict import Death, RunAgain
from jobqueue.services.work.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.alerts.alert import StoredAlert
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Reporter, Verdict
    from jobqueue.processors.webhooks.webhook import WebhookClient
    from jobqueue.services.alerts.detector import AlertDetector
    from jobqueue.store.alerts.alerts import AlertStore

_LONGEST_SECONDS: Final = 3600.0
"""Seconds after which a message that waits for the end of a mute looks again: somebody may end the mute early."""
_AT_ONCE: Final = 5
"""Messages at a time in one process: they must not take the places of jobs."""


class AlertLanes:
    """The lanes of a process, and one for messages while there are alerts.

    Args:
        lanes: of everything else.
        webhooks: sends the messages.
        detector: tells whether there are alerts.
        public_url: of a server, for links.
    """

    def __init__(
        self,
        lanes: Callable[[], Sequence[Lane]],
        webhooks: WebhookClient,
        detector: AlertDetector,
        public_url: str | None,
    ) -> None:
        self._lanes = lanes
        self._detector = detector
        self._known: Sequence[Lane] = ()
        self._all: Sequence[Lane] = ()
        sender = AlertSender(webhooks, detector.alerts.store, public_url)
        self._lane = Lane(
            queue=ALERT_QUEUE,
            types=(ALERT_TYPE,),
            processor=lambda _: sender,
            limit=_AT_ONCE,
            stop_seconds=webhooks.stop_seconds,
        )

    def __call__(self) -> Sequence[Lane]:
        """Return the lanes."""
        known = self._lanes()
        if not self._detector.has_any:
            return known
        if known is not self._known or not self._all:
            self._known, self._all = known, (*known, self._lane)
        return self._all


class AlertSender:
    """Sends one message by the definition of its alert at the time of the attempt."""

    def __init__(self, webhooks: WebhookClient, store: AlertStore, public_url: str | None) -> None:
        self._webhooks = webhooks
        self._store = store
        self._public_url = public_url
        self.stop_seconds = webhooks.stop_seconds

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        """Send a message, unless its alert is gone or nobody has decided on it; wait while the alert is muted."""
        made = dict(job.data)
        name = str(made.get("alert"))
        stored = await self._store.find(name)
        if stored is None or stored.alert is None:
            return _refused("no-alert", f"there is no alert {name} any more")
        now = await self._store.clock.now()
        is_test = made.get("event") == "test"
        if not is_own(job.id, made | {"incident": test_id(stored), "episode": 0} if is_test else made):
            return _refused("no-message", "this job was made by somebody else, so it is not sent")
        told = incident_id(stored.incarnation, str(made.get("kind")), str(made.get("thing")))
        if not is_test and made.get("incident") != told:
            return _refused("no-alert", f"the alert {name} of this message is gone: another one has its name now")
        if is_test:
            made = message.test_body(name, now)
        elif (left := _muted_for(stored, now)) is not None:
            return RunAgain(delay=left, error=JobError(kind="muted", message=f"the alert {name} is muted"))
        body = message.sent(made, self._public_url)
        return await self._webhooks.message(stored.alert.webhook, body).run(job, reporter)


def is_own(job_id: str, made: Mapping[str, Any]) -> bool:
    """Tell whether the id of a job is that of its message: nobody else can choose it."""
    incident, episode, number, at = (made.get(name) for name in ("incident", "episode", "number", "at"))
    if not isinstance(incident, str) or type(episode) is not int or type(number) is not int:
        return False
    try:
        return message_id(incident, episode, number, moment(at)) == job_id
    except (InvalidInputError, ValueError, TypeError):
        return False


def _muted_for(stored: StoredAlert, now: datetime) -> float | None:
    """Return the seconds for which an alert is still muted, if it is."""
    if stored.muted_until is None or not stored.is_muted(now):
        return None
    return min((stored.muted_until.astimezone(UTC) - now).total_seconds() + 1, _LONGEST_SECONDS)


def _refused(kind: str, text: str) -> Death:
    return Death(error=JobError(kind=kind, message=text))
