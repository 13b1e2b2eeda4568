"""Turn the reply to a webhook into a verdict."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.masking import masked_url
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.text import cut
from jobqueue.domain.values import payload
from jobqueue.domain.work.verdict import (
    INVALID_RESULT,
    Accepted,
    Death,
    Failure,
    RunAgain,
    Success,
    Suspension,
    Verdict,
)
from jobqueue.processors.webhooks import decisions, reply_steps
from jobqueue.processors.webhooks.webhook_errors import shown
from jobqueue.processors.written import ParsedJson, as_text, read, storable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.work.calls import NewCall

MOST_BODY: Final = payload.MOST_RESULT
"""Bytes read of the reply to a job that succeeded."""
MOST_ERROR_BODY: Final = 1024 * 1024
"""Bytes read of any other reply."""
EXCERPT: Final = 2 * 1024
"""Bytes kept of a reply to a job that did not succeed."""
LONGEST_WAIT: Final = 3600.0
"""Seconds that a ``Retry-After`` may ask for."""
SHORTEST_WAIT: Final = 1.0
"""Least seconds of a wait: these runs are not counted, so ``Retry-After: 0`` would loop without end."""
_ACCEPTED: Final = 202
_GONE: Final = 410
_BUSY: Final = frozenset({429, 503})
_SUSPEND: Final = "suspend"
_OUTCOMES: Final = frozenset({"fail", "die", "retry", _SUSPEND})
"""Outcomes that count with any status, and with any other mistake in the body."""
_MOST_DIGITS: Final = 9
_LONGEST_WARNING: Final = 2000
_NOT_JSON: Final = "it is meant as JSON and is not"
_ZIPPED: Final = (zlib.MAX_WBITS | 32,)
_DEFLATED: Final = (zlib.MAX_WBITS, -zlib.MAX_WBITS)
_FORMATS: Final = {"gzip": _ZIPPED, "x-gzip": _ZIPPED, "deflate": _DEFLATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The reply to a webhook.

    Attributes:
        headers: by their names in lower case.
        body: as received, up to `limit` bytes and one more.
        fault: the reason if the body ended early.
    """

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    fault: Failure | None = None

    @property
    def is_success(self) -> bool:
        """True for a status from 200 to 299."""
        return self.status // 100 == 2  # noqa: PLR2004 - the class of statuses

    @property
    def is_redirect(self) -> bool:
        """True for a status from 300 to 399."""
        return self.status // 100 == 3  # noqa: PLR2004 - as above

    @property
    def is_encoded(self) -> bool:
        """True if the body is compressed, although the request asked for plain bytes."""
        return self.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}

    @property
    def limit(self) -> int:
        """The number of bytes that are read of the body."""
        return MOST_BODY if self.is_success else MOST_ERROR_BODY


def judge(reply: Reply, now: datetime) -> Verdict:
    """Return the verdict of a reply.

    The status decides, unless the body is an object with an ``outcome``; only a reply with a 2xx status may have the
    outcome ``success``. A reason that is no text becomes text, and a delay that is no number becomes the shortest: the
    outcome counts. A whole 2xx reply is a success: a body that cannot be stored becomes text. A result over its limit
    fails the attempt, because a part of a result is useless.

    Args:
        reply: perhaps cut short.
        now: for a date in ``Retry-After``, if the reply has no ``Date``.
    """
    reply = _unpacked(reply)
    written = _json(reply)
    value = None if written is None else written.value
    body = decisions.leading(reply.body) if written is None and _is_legible(reply) else value
    if isinstance(body, dict) and (decided := _decided(reply, body, is_whole=written is not None)) is not None:
        return decided
    if isinstance(body, dict) and body.get("outcome") == "success" and reply.is_success:
        return _with_result(reply, body, written)
    return _by_status(reply, written, now)


def by_status(reply: Reply, now: datetime) -> Verdict:
    """Return the verdict of a reply whose body decides nothing; ``now`` as for `judge`."""
    return _by_status(_unpacked(reply), None, now)


def excerpt(reply: Reply) -> str:
    """Return the beginning of the body, as the errors of jobs have it."""
    return _excerpt(_unpacked(reply))


def steps(reply: Reply) -> Mapping[str, Any]:
    """Return the results of steps in a reply, by name and in their order; the body of a plain 2xx has none.

    Raises:
        StepError: the reply decides about the job, and its steps are no object of results.
    """
    reply = _unpacked(reply)
    if b'"steps"' not in reply.body or not _is_legible(reply):
        return {}
    outcome = decisions.leading(reply.body).get("outcome")
    is_decision = isinstance(outcome, str) and (outcome in _OUTCOMES or (outcome == "success" and reply.is_success))
    if reply.is_success and not is_decision and reply.status != _ACCEPTED:
        return {}
    return reply_steps.reported(reply.body, strict=is_decision)


def calls(reply: Reply) -> Mapping[str, NewCall]:
    """Return the children that a reply with the outcome ``suspend`` asks for, by the name of their step.

    Raises:
        StepError: they cannot be read.
    """
    reply = _unpacked(reply)
    if b'"calls"' not in reply.body or not _is_legible(reply):
        return {}
    if decisions.leading(reply.body).get("outcome") != _SUSPEND:
        return {}
    return reply_steps.called(reply.body)


def _by_status(reply: Reply, written: ParsedJson | None, now: datetime) -> Verdict:
    if reply.status == _ACCEPTED:
        return Accepted(code=reply.status)
    if reply.is_success:
        return _succeeded(reply, written)
    error = _http_error(reply)
    if reply.status == _GONE:
        return Death(error=error, code=reply.status)
    delay = retry_after(reply.headers, now) if reply.status in _BUSY else None
    if delay is not None:
        return RunAgain(delay=delay, error=error, code=reply.status)
    return Failure(error=error, code=reply.status)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that ``Retry-After`` (RFC 9110, 10.2.3) asks for, within `SHORTEST_WAIT` and `LONGEST_WAIT`.

    Args:
        headers: of the reply, with names in lower case.
        now: the time, for a reply without a ``Date``; clocks differ.

    Returns:
        The seconds, or ``None`` if the header is missing, or is neither a whole number nor a date.
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


def _unpacked(reply: Reply) -> Reply:
    """Return the reply with a plain body, where its encoding can be undone."""
    if not reply.is_encoded or reply.fault is not None:
        return reply
    body = _unpack(reply.body, reply.headers["content-encoding"].strip().lower(), reply.limit)
    if body is None:
        return reply
    plain = {name: value for name, value in reply.headers.items() if name != "content-encoding"}
    return replace(reply, body=body, headers=plain)


def _unpack(body: bytes, encoding: str, most: int) -> bytes | None:
    """Return the plain bytes of a body, at most one more than ``most``; ``None`` if the encoding cannot be undone.

    A body that is UTF-8 text is plain, whatever its header says.

    Args:
        body: as received, perhaps cut short after ``most`` bytes.
        encoding: the ``Content-Encoding``, in lower case.
        most: bytes of interest.
    """
    for bits in _FORMATS.get(encoding, ()):
        unpacked = _inflate(body, bits, most + 1)
        if unpacked is not None:
            return unpacked
    try:
        body.decode()
    except UnicodeDecodeError:
        return None
    return body


def _inflate(body: bytes, bits: int, most: int) -> bytes | None:
    machine = zlib.decompressobj(bits)
    try:
        unpacked = machine.decompress(body, most)
    except zlib.error:
        return None
    is_whole = machine.eof and not machine.unused_data
    return unpacked if is_whole or len(unpacked) >= most else None


def _json(reply: Reply) -> ParsedJson | None:
    """Return the value of the body; ``None`` if the body is not JSON, or not whole."""
    if len(reply.body) > reply.limit or not _is_legible(reply):
        return None
    return read(reply.body)


def _is_legible(reply: Reply) -> bool:
    return reply.fault is None and not reply.is_encoded and not reply.is_redirect


def _decided(reply: Reply, body: dict[str, Any], *, is_whole: bool) -> Verdict | None:
    outcome = body.get("outcome")
    if not isinstance(outcome, str) or outcome not in _OUTCOMES:
        return None
    if outcome == _SUSPEND:
        return _suspended(reply, body) if is_whole else _unreadable(reply, "its body is no whole JSON")
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
    return RunAgain(delay=delay, error=error, code=reply.status)


def _suspended(reply: Reply, body: dict[str, Any]) -> Suspension | Failure:
    """Return a suspension; a failure if its wait cannot be told."""
    name, signal = body.get("name"), body.get("signal")
    for field_name, value in (("name", name), ("signal", signal)):
        if value is not None and not isinstance(value, str):
            return _unreadable(reply, f"its {field_name} must be text")
    try:
        delay = decisions.delay(body.get("delay"))
        seconds = decisions.delay(body.get("timeout"))
    except InvalidInputError as problem:
        return _unreadable(reply, str(problem))
    if signal is not None:
        if delay is not None:
            return _unreadable(reply, "it has a delay and a signal: the wait for a signal ends by its timeout")
        return Suspension(delay=seconds, wait=Wait(names=(name or signal,), signals=(signal,)), code=reply.status)
    if delay is None and (name is not None or not body.get("calls")):
        return _unreadable(reply, "it has neither a delay nor a signal")
    return Suspension(delay=delay, wait=Wait() if name is None else Wait(names=(name,)), code=reply.status)


def _unreadable(reply: Reply, problem: str) -> Failure:
    if len(reply.body) > reply.limit:
        return _too_large(reply)
    message = f"the webhook answered with the outcome {_SUSPEND}, which cannot be used: {problem}"
    return Failure(error=_error("invalid-reply", message, reply), code=reply.status)


def _succeeded(reply: Reply, written: ParsedJson | None) -> Verdict:
    if reply.fault is not None:
        return reply.fault
    if written is not None:
        return _success(reply, written, reply.body)
    if len(reply.body) > reply.limit:
        return _too_large(reply)
    if not reply.body.strip():
        return Success(code=reply.status)
    if reply.is_encoded:
        encoding = shown(reply.headers["content-encoding"])
        problem = f"its encoding, {encoding}, cannot be undone, and the request asked for none; the text is its base64"
        return _as_text(reply, base64.b64encode(reply.body), problem)
    return _as_text(reply, reply.body, _objection(reply))


def _with_result(reply: Reply, body: dict[str, Any], written: ParsedJson | None) -> Verdict:
    """Return a success with the member ``result`` of a body, which need not be whole JSON."""
    text = decisions.member(reply.body, "result")
    own = None if text is None else read(text)
    if own is not None and text is not None:
        return _success(reply, own, text.encode())
    if written is not None:
        return _success(reply, ParsedJson(value=body.get("result")), reply.body)
    if len(reply.body) > reply.limit:
        return _too_large(reply)
    return _as_text(reply, reply.body if text is None else text.encode(), _objection(reply) or _NOT_JSON)


def _success(reply: Reply, written: ParsedJson, text: bytes) -> Verdict:
    """Return a success with a result, or with its text if the result cannot be stored; a failure if it is too large."""
    try:
        return Success(result=storable(written), code=reply.status)
    except TooLargeError as problem:
        return _invalid(reply, str(problem))
    except InvalidInputError as problem:
        return _as_text(reply, text, str(problem))


def _as_text(reply: Reply, text: bytes, problem: str | None) -> Verdict:
    """Return a success with a text, and a warning if there is a problem; a failure if the text is too large."""
    kept = "the reply cannot be stored as it is, so the result is its text: "
    warning = None if problem is None else cut(kept + problem, _LONGEST_WARNING)
    try:
        return Success(result=as_text(text, problem), code=reply.status, warning=warning)
    except TooLargeError as error:
        return _invalid(reply, str(error))


def _too_large(reply: Reply) -> Failure:
    message = f"the webhook answered with more than {reply.limit // 2**20} MiB, the most a result may take"
    return Failure(error=_error("too-large-reply", message, reply), code=reply.status)


def _invalid(reply: Reply, problem: str) -> Failure:
    message = f"the webhook answered with a result that cannot be stored: {problem}"
    return Failure(error=_error(INVALID_RESULT, message, reply), code=reply.status)


def _objection(reply: Reply) -> str | None:
    """Return the objection to a body that is not JSON; ``None`` for plain text."""
    if _is_declared_json(reply):
        return _NOT_JSON
    try:
        reply.body.decode()
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None


def _is_declared_json(reply: Reply) -> bool:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _http_error(reply: Reply) -> JobError:
    message = f"the webhook answered {_status(reply)}"
    if reply.is_redirect and "location" in reply.headers:
        message += f" to {shown(masked_url(reply.headers['location']))}; redirects are not followed"
    return _error("http", message, reply)


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
