"""Alerts: where messages go, and what they are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict
from urllib.parse import urlsplit

from jobqueue.domain.access.masking import MASK
from jobqueue.domain.durations import is_number, is_whole
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values.checks import check_flag, check_queue, gather
from jobqueue.domain.work.processing import WebhookConfig, processor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

ALERT_QUEUE: Final = "jobqueue:alerts"
"""The queue whose jobs are the messages."""
ALERT_TYPE: Final = "alert"
KINDS: Final = ("failures", "queue", "breaker", "schedule", "doubt", "question")
"""The kinds of things that alerts are about."""
MOST_ALERTS: Final = 20
MOST_QUEUES: Final = 100
MOST_FAILURES: Final = 1_000_000_000
LONGEST_REASON: Final = 200
LONGEST_MUTE: Final = 30 * 86_400
"""Seconds for which an alert may be muted: a mute that nobody ends must not last for ever."""
STUCK: Final = (60, 30 * 86_400)
WAITING: Final = (0, 365 * 86_400)
REMIND: Final = (300, 30 * 86_400)
_WEBHOOK: Final = ("url", "secret", "headers", "timeout")
_REST: Final = ("kinds", "queues", "stuckSeconds", "waitingSeconds", "minimumFailures", "remindSeconds", "recovered")
FIELDS: Final = frozenset({*_WEBHOOK, *_REST})


class AlertOptions(TypedDict, total=False):
    """The fields of an alert besides its URL, by their names in Python; as `Alert` and its `WebhookConfig`."""

    secret: str
    headers: Mapping[str, str]
    timeout: float
    kinds: Sequence[str]
    queues: Sequence[str] | None
    stuck_seconds: float
    waiting_seconds: float
    minimum_failures: int
    remind_seconds: float | None
    recovered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """The definition of an alert.

    Attributes:
        webhook: gets the messages.
        kinds: some of `KINDS`.
        queues: only things of these queues; ``None`` for all.
        stuck_seconds: a queue is stuck when a job has waited so long.
        waiting_seconds: a question waits too long after so many seconds.
        minimum_failures: of a group within an hour.
        remind_seconds: between two messages about a thing that goes on; ``None`` for one message only.
        recovered: send a message also when the thing is over.
    """

    name: str
    webhook: WebhookConfig
    kinds: tuple[str, ...] = KINDS
    queues: tuple[str, ...] | None = None
    stuck_seconds: float = 300
    waiting_seconds: float = 3600
    minimum_failures: int = 1
    remind_seconds: float | None = 4 * 3600
    recovered: bool = True

    def wire(self, *, secrets: bool = False, urls: bool = False) -> dict[str, Any]:
        """Return the definition as JSON, without its name.

        Args:
            secrets: mask nothing.
            urls: show the whole URL, as to an administrator; others see its host, as the rest often is a secret.
        """
        webhook = self.webhook
        return {
            "url": webhook.url if secrets or urls else masked_address(webhook.url),
            "secret": webhook.secret if secrets or webhook.secret is None else MASK,
            "headers": {name: value if secrets else MASK for name, value in webhook.headers.items()},
            "timeout": webhook.timeout,
            "kinds": list(self.kinds),
            "queues": None if self.queues is None else list(self.queues),
            "stuckSeconds": self.stuck_seconds,
            "waitingSeconds": self.waiting_seconds,
            "minimumFailures": self.minimum_failures,
            "remindSeconds": self.remind_seconds,
            "recovered": self.recovered,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlert:
    """A stored alert.

    Attributes:
        alert: ``None`` if another tool has spoilt the document.
        incarnation: differs from that of earlier alerts of this name.
        revision: grows with each change.
        muted_until: no messages are made or sent before this date.
        mute_reason: said by the person who muted it.
    """

    name: str
    alert: Alert | None
    incarnation: str
    revision: int
    created_at: datetime
    changed_at: datetime
    muted_until: datetime | None = None
    mute_reason: str | None = None

    @property
    def tag(self) -> str:
        """The entity tag."""
        return f"{self.incarnation}-{self.revision}"

    def is_muted(self, now: datetime) -> bool:
        """Tell whether the alert is muted."""
        return self.muted_until is not None and now < self.muted_until


def masked_address(url: str) -> str:
    """Return the scheme and the host of a URL, with a mask in place of the rest."""
    parts = urlsplit(url)
    rest = parts.path.strip("/") or parts.query or parts.fragment
    return f"{parts.scheme}://{parts.netloc}/{MASK}" if rest else url


def check_name(value: Any, path: str = "alert") -> str:
    """Return the name of an alert, which has the form of a queue's, or raise `InvalidInputError`."""
    return check_queue(value, path)


def read(name: str, definition: Mapping[str, Any], present: Alert | None = None) -> Alert:
    """Read a definition from JSON.

    Args:
        name: the name of the alert.
        definition: JSON; a field that is missing has its default.
        present: the alert whose secrets stand for masks, and for a secret that is left out.

    Raises:
        InvalidInputError: naming each unacceptable or unknown field.
    """
    problems: Problems = unknown_names(definition, FIELDS)
    gather(problems, check_name, name)
    webhook = gather(problems, _webhook, definition, present)
    values: dict[str, Any] = {
        "kinds": gather(problems, _kinds, definition.get("kinds", list(KINDS))),
        "queues": gather(problems, _queues, definition.get("queues")),
        "stuck_seconds": gather(problems, _seconds, "stuckSeconds", definition.get("stuckSeconds", 300), STUCK),
        "waiting_seconds": gather(
            problems, _seconds, "waitingSeconds", definition.get("waitingSeconds", 3600), WAITING
        ),
        "minimum_failures": gather(problems, _failures, definition.get("minimumFailures", 1)),
        "remind_seconds": gather(problems, _reminder, definition.get("remindSeconds", 4 * 3600)),
        "recovered": gather(problems, check_flag, definition.get("recovered", True), "recovered"),
    }
    if problems or webhook is None:
        raise InvalidInputError(problems)
    return Alert(name=name, webhook=webhook, **values)


def check_mute(seconds: Any, reason: Any) -> None:
    """Make sure that an alert can be muted for so many seconds.

    Raises:
        InvalidInputError: naming each unacceptable value.
    """
    problems: Problems = {}
    gather(problems, _seconds, "seconds", seconds, (0, LONGEST_MUTE))
    if reason is not None and not (
        isinstance(reason, str) and reason.isprintable() and 1 <= len(reason) <= LONGEST_REASON
    ):
        problems["reason"] = [f"must be 1 to {LONGEST_REASON} printable characters"]
    if problems:
        raise InvalidInputError(problems)


def _webhook(definition: Mapping[str, Any], present: Alert | None) -> WebhookConfig:
    sent = {name: definition[name] for name in _WEBHOOK if definition.get(name) is not None}
    if "url" not in sent:
        raise InvalidInputError({"url": ["is required"]})
    if sent.get("secret", MASK) == MASK:
        sent.pop("secret", None)
        if present is not None:
            sent["secret"] = present.webhook.secret
    headers = sent.get("headers")
    if isinstance(headers, dict) and present is not None:
        old = present.webhook.headers
        sent["headers"] = {key: old.get(key, value) if value == MASK else value for key, value in headers.items()}
    if present is not None and sent["url"] == masked_address(present.webhook.url):
        sent["url"] = present.webhook.url
    try:
        made = processor({"kind": "webhook", **sent}, "")
    except InvalidInputError as error:
        raise InvalidInputError({path.lstrip("."): told for path, told in error.problems.items()}) from None
    if not isinstance(made, WebhookConfig):
        raise TypeError("a webhook is a WebhookConfig")
    return made


def _kinds(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(kind not in KINDS for kind in value):
        raise InvalidInputError({"kinds": [f"must be a list of some of {', '.join(KINDS)}"]})
    return tuple(kind for kind in KINDS if kind in value)


def _queues(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_QUEUES:
        raise InvalidInputError({"queues": [f"must be a list of 1 to {MOST_QUEUES} names, or null for all"]})
    problems: Problems = {}
    for place, queue in enumerate(value):
        gather(problems, check_queue, queue, f"queues.{place}")
    if problems:
        raise InvalidInputError(problems)
    return tuple(dict.fromkeys(value))


def _seconds(name: str, value: Any, bounds: tuple[float, float]) -> float:
    low, high = bounds
    if not is_number(value) or not low <= value <= high:
        raise InvalidInputError({name: [f"must be from {low:,} to {high:,} seconds"]})
    return value


def _reminder(value: Any) -> float | None:
    return None if value is None else _seconds("remindSeconds", value, REMIND)


def _failures(value: Any) -> int:
    if not is_whole(value) or not 1 <= value <= MOST_FAILURES:
        raise InvalidInputError({"minimumFailures": [f"must be a whole number from 1 to {MOST_FAILURES:,}"]})
    return value
