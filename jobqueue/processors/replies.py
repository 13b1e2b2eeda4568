"""Turn the reply to a webhook into a verdict."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from jobqueue.domain import payload
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.job import JobError
from jobqueue.domain.verdict import Accepted, Again, Death, Failure, Success, Verdict
from jobqueue.processors import decisions
from jobqueue.processors.faults import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BODY: Final = payload.MOST_RESULT
"""Bytes read of the reply to a job that succeeded."""
MOST_ERROR_BODY: Final = 1024 * 1024
"""Bytes read of any other reply."""
EXCERPT: Final = 2 * 1024
"""Bytes kept of a reply that is not JSON."""
LONGEST_WAIT: Final = 3600.0
"""Seconds that a ``Retry-After`` may ask for."""
SHORTEST_WAIT: Final = 1.0
"""Seconds waited at least: these runs are not counted, so ``Retry-After: 0`` would go round and round."""
_ACCEPTED: Final = 202
_GONE: Final = 410
_BUSY: Final = frozenset({429, 503})
_OUTCOMES: Final = frozenset({"fail", "die", "retry"})
"""Outcomes that count whatever the status, and whatever else is wrong with the body."""
_MOST_DIGITS: Final = 9
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_MOST_WHOLE: Final = 30
_UNREAD: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back.

    Attributes:
        headers: by their names in lower case.
        body: as it came, up to `limit` bytes and one more.
        fault: why the body ended early, if it did.
    """

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: Failure | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 200 to 299."""
        return self.status // 100 == 2  # noqa: PLR2004 - the class of statuses

    @property
    def is_redirect(self) -> bool:
        """Whether the status is one of 300 to 399."""
        return self.status // 100 == 3  # noqa: PLR2004 - as above

    @property
    def is_encoded(self) -> bool:
        """Whether the body is compressed, although the request asked for plain bytes."""
        return self.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}

    @property
    def limit(self) -> int:
        """How many bytes of the body are of interest."""
        return MOST_BODY if self.is_success else MOST_ERROR_BODY


def judge(reply: Reply, now: datetime) -> Verdict:
    """Return the verdict of a reply.

    The status decides, unless the body is an object with an ``outcome``; only that of a 2xx may be ``success``.
    A reason that is no text becomes text, and a delay that is no number becomes the shortest: the outcome counts.

    Args:
        reply: what came back, perhaps cut short.
        now: what a date in ``Retry-After`` is compared with, if the reply has no ``Date``.
    """
    value = _json(reply)
    body = decisions.leading(reply.body) if value is _UNREAD and _is_legible(reply) else value
    if isinstance(body, dict) and (decided := _decided(reply, body)) is not None:
        return decided
    if isinstance(value, dict) and value.get("outcome") == "success" and reply.is_success:
        return _success(reply, value.get("result"))
    return _by_status(reply, value, now)


def _by_status(reply: Reply, value: Any, now: datetime) -> Verdict:
    if reply.status == _ACCEPTED:
        return Accepted(code=reply.status)
    if reply.is_success:
        return _succeeded(reply, value)
    error = _http_error(reply)
    if reply.status == _GONE:
        return Death(error=error, code=reply.status)
    delay = retry_after(reply.headers, now) if reply.status in _BUSY else None
    if delay is not None:
        return Again(delay=delay, error=error, code=reply.status)
    return Failure(error=error, code=reply.status)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that ``Retry-After`` (RFC 9110, 10.2.3) asks for, within `SHORTEST_WAIT` and `LONGEST_WAIT`.

    Args:
        headers: of the reply, with names in lower case.
        now: the time, should the reply not tell its own: clocks differ.

    Returns:
        The seconds, or ``None`` if the header is missing or neither a whole number nor a date.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text) if len(text) <= _MOST_DIGITS else LONGEST_WAIT
    else:
        until = _date(text)
        if until is None:
            return None
        seconds = (until - (_date(headers.get("date", "")) or now)).total_seconds()
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


def _json(reply: Reply) -> Any:
    """Return the body's value; `_UNREAD` if it is no JSON, or not whole."""
    if len(reply.body) > reply.limit or not _is_legible(reply):
        return _UNREAD
    text = reply.body.removeprefix(codecs.BOM_UTF8)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _UNREAD
    # orjson makes floats of whole numbers beyond 64 bit, which would be another result than the one that was sent.
    return json.loads(text, parse_int=_whole) if _LONG_NUMBER.search(text) else value


def _is_legible(reply: Reply) -> bool:
    return reply.fault is None and not reply.is_encoded and not reply.is_redirect


def _whole(text: str) -> int:
    """Return a whole number; one that is far beyond 64 bit may become another one that is."""
    return int(text[:_MOST_WHOLE])


def _decided(reply: Reply, body: dict[str, Any]) -> Verdict | None:
    outcome = body.get("outcome")
    if not isinstance(outcome, str) or outcome not in _OUTCOMES:
        return None
    message = decisions.reason(body.get("reason")) or f"the webhook answered with the outcome {outcome}"
    error = JobError(kind=outcome, message=message)
    if outcome != "retry":
        verdict = Failure if outcome == "fail" else Death
        return verdict(error=error, code=reply.status)
    try:
        delay = decisions.delay(body.get("delay"))
    except InvalidInputError as problem:
        error = _error(outcome, f"{message} (the answer has an unusable delay: {problem})", reply)
        delay = None
    return Again(delay=delay, error=error, code=reply.status)


def _succeeded(reply: Reply, value: Any) -> Verdict:
    if reply.fault is not None:
        return reply.fault
    if value is not _UNREAD:
        return _success(reply, value)
    if problem := _unreadable(reply):
        return problem
    return Success(result=_excerpt(reply) or None, code=reply.status)


def _unreadable(reply: Reply) -> Failure | None:
    if len(reply.body) > reply.limit:
        message = f"the webhook answered with more than {reply.limit // 2**20} MiB, the most a result may take"
        return Failure(error=_error("too-large-reply", message, reply), code=reply.status)
    if not reply.body.strip():
        return None
    if reply.is_encoded:
        encoding = shown(reply.headers["content-encoding"])
        return _invalid(reply, f"the webhook answered with the encoding {encoding}; the request asked for identity")
    if _is_declared_json(reply):
        return _invalid(reply, "the webhook answered with a body that is declared as JSON and is not")
    return None


def _success(reply: Reply, result: Any) -> Verdict:
    try:
        payload.check_result(result)
    except (InvalidInputError, TooLargeError) as problem:
        message = f"the webhook answered with a result that cannot be stored: {problem}"
        return Failure(error=_error("invalid-result", message, reply), code=reply.status)
    return Success(result=result, code=reply.status)


def _is_declared_json(reply: Reply) -> bool:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _http_error(reply: Reply) -> JobError:
    message = f"the webhook answered {_status(reply)}"
    if reply.is_redirect and "location" in reply.headers:
        message += f" to {shown(reply.headers['location'])}; redirects are not followed"
    return _error("http", message, reply)


def _invalid(reply: Reply, message: str) -> Failure:
    return Failure(error=_error("invalid-reply", message, reply), code=reply.status)


def _error(kind: str, message: str, reply: Reply) -> JobError:
    return JobError(kind=kind, message=message, trace=f"HTTP {_status(reply)}\n\n{_excerpt(reply)}".rstrip())


def _status(reply: Reply) -> str:
    return f"{reply.status} {shown(reply.reason)}".rstrip()


def _excerpt(reply: Reply) -> str:
    if reply.is_encoded and reply.body.strip():
        return f"({shown(reply.headers['content-encoding'])}, not decoded)"
    text = reply.body[:EXCERPT].decode("utf-8", "replace").strip()
    return text + " …" if len(reply.body) > EXCERPT else text


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
