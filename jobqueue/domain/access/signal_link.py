"""Signed links by which a person without a token answers one question of one job."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.durations import LONGEST, is_number
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.steps.step import check_name
from jobqueue.domain.values.checks import is_id
from jobqueue.domain.values.payload import check

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_LINK: Final = 4_000
"""Characters of the signed part of a link."""
MOST_CHOICES: Final = 10
LONGEST_LABEL: Final = 60
LONGEST_TEXT: Final = 500
DEFAULT_SECONDS: Final = 7 * 86_400
DEFAULT_CHOICES: Final[Mapping[str, Any]] = {"Approve": True, "Reject": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalLink:
    """A question of a job to a person.

    Attributes:
        job_id: of the job.
        question: the name of the step that waits for the answer.
        signal: the name of the signal that the answer is.
        until: seconds since 1970, after which the link answers nothing.
        choices: the possible answers: label and value each.
        title: the text of the question.
        by: the person to whom the link goes.
    """

    job_id: str
    question: str
    signal: str
    until: int
    choices: tuple[tuple[str, Any], ...]
    title: str = ""
    by: str = ""

    @property
    def answer_id(self) -> str:
        """The id of the signal: all links to one question have the same, so the question has one answer."""
        return "link:" + hashlib.sha256(self.question.encode()).hexdigest()[:32]


def check_choices(choices: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    """Return the answers that a link offers.

    Raises:
        InvalidInputError: there are none or too many, or one cannot be used.
    """
    pairs: tuple[tuple[Any, Any], ...] = tuple((DEFAULT_CHOICES if choices is None else choices).items())
    if not 1 <= len(pairs) <= MOST_CHOICES:
        raise InvalidInputError({"choices": [f"must be 1 to {MOST_CHOICES} answers"]})
    for label, value in pairs:
        if not isinstance(label, str) or not 1 <= len(label) <= LONGEST_LABEL or not label.isprintable():
            raise InvalidInputError({"choices": [f"the label of an answer has 1 to {LONGEST_LABEL} characters"]})
        check(value, f"choices.{label}")
    return pairs


def check_text(value: object, path: str) -> str:
    """Return a text of a link of at most 500 printable characters.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise InvalidInputError({path: [f"must be at most {LONGEST_TEXT} printable characters"]})
    return value


def check_seconds(value: object) -> float:
    """Return the seconds for which a link holds.

    Raises:
        InvalidInputError: it is no such number.
    """
    if not is_number(value) or not 0 < value <= LONGEST:
        raise InvalidInputError({"timeout": [f"must be a number of seconds up to {LONGEST:.15g}"]})
    return value


def sign(link: SignalLink, secret: bytes) -> str:
    """Return the text of a link.

    Raises:
        InvalidInputError: the link would be too long.
    """
    parts = [link.job_id, link.question, link.signal, link.until, [list(pair) for pair in link.choices]]
    try:
        body = _encoded(json.dumps([*parts, link.title, link.by], separators=(",", ":")).encode())
    except (TypeError, ValueError):
        raise InvalidInputError({"choices": ["must be JSON"]}) from None
    text = f"{body}.{_encoded(_mac(body, secret))}"
    if len(text) > LONGEST_LINK:
        raise InvalidInputError({"choices": [f"make the link longer than {LONGEST_LINK:,} characters"]})
    return text


def read(text: str, secret: bytes) -> SignalLink | None:
    """Return the question of a link; ``None`` if the link is not signed by this deployment."""
    body, _, mac = text.partition(".")
    if len(text) > LONGEST_LINK or not text.isascii():
        return None
    if not hmac.compare_digest(mac.encode(), _encoded(_mac(body, secret)).encode()):
        return None
    job_id, question, signal, until, choices, title, by = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert is_id(job_id)  # noqa: S101 - it was signed
    check_name(question)
    pairs = tuple((label, value) for label, value in choices)
    return SignalLink(job_id=job_id, question=question, signal=signal, until=until, choices=pairs, title=title, by=by)


def _mac(body: str, secret: bytes) -> bytes:
    return hmac.new(secret, b"signal-link." + body.encode(), hashlib.sha256).digest()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
