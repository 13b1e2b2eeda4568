"""Exceptions that end a handler: each becomes a verdict, however odd it is."""

from __future__ import annotations

import asyncio
import sys
import traceback
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from jobqueue import Die, JobCancelledError, Retry
from jobqueue.domain.attempts.attempt import LONGEST_MESSAGE, LONGEST_TRACE, JobError
from jobqueue.domain.work.verdict import Death, Failure, RunAgain
from jobqueue.processors.callbacks.raised import stems_from_a_stop, verdict_on


def caught(error: BaseException) -> BaseException:
    """Return an exception that has been raised."""
    try:
        raise error  # noqa: TRY301 - it gets its traceback here
    except BaseException as raised:  # noqa: BLE001 - any
        return raised


def failure(error: BaseException) -> JobError:
    verdict = verdict_on(caught(error))
    assert isinstance(verdict, Failure)
    return verdict.error


class ApiError(Exception):
    def __init__(self, response: Any = None) -> None:
        self.response = response

    def __str__(self) -> str:
        return f"status {self.response.status}"


class Selfish(Exception):  # noqa: N818 - it raises itself
    def __str__(self) -> str:
        raise Selfish


class Interrupting(Exception):  # noqa: N818 - as above
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Numeric(Exception):  # noqa: N818 - its text is no text
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307 - what is tested


class Tricky(str):
    __slots__ = ()

    def encode(self, *_: Any, **__: Any) -> NoReturn:
        raise ValueError("not this text")


class Panic(BaseException):
    pass


class Hostile(Exception):  # noqa: N818 - nothing of it can be read
    @property
    def __notes__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit(3)

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise KeyboardInterrupt

    @property
    def __traceback__(self) -> NoReturn:  # type: ignore[override]
        raise MemoryError


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            ApiError(),
            "ApiError",
            "ApiError, whose __str__ raised AttributeError: 'NoneType' object has no attribute 'status'",
        ),
        (Selfish(), "Selfish", "Selfish, whose __str__ raised Selfish"),
        (Interrupting(), "Interrupting", "Interrupting, whose __str__ raised KeyboardInterrupt: "),
        (
            Numeric(),
            "Numeric",
            "Numeric, whose __str__ raised TypeError: __str__ returned non-string (type int)",
        ),
        (ValueError(Tricky("odd text")), "ValueError", "odd text"),
        (ValueError("\ud800"), "ValueError", "?"),
        (Panic("unwrap on None"), "Panic", "unwrap on None"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit", "3"),
        (GeneratorExit(), "GeneratorExit", "GeneratorExit"),
        (StopIteration(5), "StopIteration", "5"),
        (BaseExceptionGroup("both", [Panic("a"), ValueError("b")]), "BaseExceptionGroup", "both (2 sub-exceptions)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_exception_keeps_its_kind_and_trace(error: BaseException, kind: str, message: str) -> None:
    told = failure(error)
    assert (told.kind, told.message) == (kind, message)
    assert told.trace is not None
    assert f'File "{__file__}", line ' in told.trace


def test_an_exception_that_nobody_can_read_still_has_its_kind() -> None:
    told = failure(Hostile("text"))
    assert (told.kind, told.message) == ("Hostile", "text")


def test_a_huge_text_is_cut() -> None:
    told = failure(ValueError("é" * 10_000_000))
    assert len(told.message.encode()) <= LONGEST_MESSAGE
    assert told.message.endswith("(cut short)")
    assert told.trace is not None
    assert len(told.trace.encode()) <= LONGEST_TRACE


def test_a_name_with_a_lone_surrogate_can_be_stored() -> None:
    kind = type("Odd", (Exception,), {"__qualname__": "Odd\udcff" + "x" * 10_000})
    told = failure(kind("text"))
    assert told.kind.encode().startswith(b"Odd?xxx")
    assert len(told.kind) <= 200


def test_the_trace_of_a_deep_recursion_keeps_its_first_frames_and_its_end() -> None:
    def ping(n: int) -> NoReturn:
        pong(n + 1)
        raise AssertionError

    def pong(n: int) -> NoReturn:
        ping(n + 1)
        raise AssertionError

    try:
        ping(0)
    except RecursionError as error:
        verdict = verdict_on(error)
    assert isinstance(verdict, Failure)
    trace = verdict.error.trace
    assert trace is not None
    assert trace.startswith("Traceback (most recent call last)")
    assert "test_the_trace_of_a_deep_recursion" in trace
    assert "(cut short)" in trace
    assert "RecursionError: maximum recursion depth exceeded" in trace[-200:]


def test_a_circle_of_causes_and_a_deep_group_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert failure(first).message == "first"
    assert not stems_from_a_stop(first)
    group: Exception = ValueError("inside")
    for _ in range(sys.getrecursionlimit() * 2):
        group = ExceptionGroup("around", [group])
    told = failure(group)
    assert (told.kind, told.message) == ("ExceptionGroup", "around (1 sub-exception)")


def test_a_trace_that_cannot_be_formatted_leaves_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> NoReturn:
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(traceback, "format_exception", broken)
    told = failure(ValueError("text"))
    assert told.trace is not None
    assert f'File "{__file__}", line ' in told.trace


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (asyncio.CancelledError(), "was cancelled, but not by the queue"),
        (JobCancelledError(), "the queue has not cancelled the job"),
        (JobCancelledError("the order was withdrawn"), "the order was withdrawn"),
    ],
)
def test_a_cancellation_that_nobody_asked_for_is_a_failure(error: BaseException, message: str) -> None:
    told = failure(error)
    assert told.kind == type(error).__name__
    assert told.message.endswith(message)
    assert stems_from_a_stop(error)


def clean_up_badly() -> None:
    try:
        raise asyncio.CancelledError  # noqa: TRY301 - as a handler is cancelled
    except asyncio.CancelledError:
        raise ValueError("while cleaning up")  # noqa: B904 - what handlers do


def test_an_error_while_a_run_is_stopped_stems_from_the_stop() -> None:
    with pytest.raises(ValueError, match="cleaning") as broken:
        clean_up_badly()
    assert stems_from_a_stop(broken.value)
    assert stems_from_a_stop(ExceptionGroup("both", [KeyError(), broken.value]))
    assert not stems_from_a_stop(ValueError())
    assert not stems_from_a_stop(caught(Hostile()))


class OutOfStock(Die):
    def __init__(self, sku: str) -> None:
        self.sku = sku


class Busy(Retry):
    def __init__(self, delay: Any) -> None:
        self.delay = delay


def test_die_takes_the_text_of_anything() -> None:
    for error, message in [
        (Die("no source"), "no source"),
        (Die(ValueError("bad account")), "bad account"),
        (Die(ValueError()), "ValueError"),
        (Die(ApiError()), "ApiError, whose __str__ raised AttributeError"),
        (Die({"code": 5}), "{'code': 5}"),
        (Die(None), "Die"),
        (Die(), "Die"),
        (OutOfStock("X1"), "X1"),
    ]:
        verdict = verdict_on(caught(error))
        assert isinstance(verdict, Death)
        assert verdict.error.kind == "die"
        assert verdict.error.message.startswith(message)


def test_a_retry_takes_seconds_or_a_timedelta() -> None:
    for error, delay in [
        (Retry(ValueError("busy"), delay=1), 1),
        (Retry("busy", delay=timedelta(minutes=1)), 60),
        (Retry("busy", delay=timedelta(minutes=-1)), 0),
        (Retry("busy"), None),
        (Busy(5), 5),
        (Busy(timedelta(seconds=2)), 2),
    ]:
        verdict = verdict_on(caught(error))
        assert isinstance(verdict, RunAgain)
        assert verdict.delay == delay
        assert verdict.error is not None
        assert verdict.error.kind == "retry"


@pytest.mark.parametrize(
    ("delay", "kind"),
    [
        ("1", TypeError),
        (True, TypeError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (10**400, ValueError),
    ],
)
def test_a_wrong_delay_is_refused_where_it_is_written(delay: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="delay must be"):
        Retry("busy", delay=delay)
    told = failure(Busy(delay))
    assert (told.kind, told.message[:21]) == (kind.__name__, "Retry: delay must be ")


def test_in_a_group_die_decides_before_retry_and_retry_before_others() -> None:
    retries = ExceptionGroup("inner", [Retry("busy", delay=5), Retry("slow", delay=60), ValueError("other")])
    verdict = verdict_on(caught(ExceptionGroup("outer", [KeyError(), retries])))
    assert isinstance(verdict, RunAgain)
    assert verdict.delay == 60
    assert verdict.error is not None
    assert verdict.error.message == "busy"
    assert verdict.error.trace is not None
    assert "ValueError: other" in verdict.error.trace
    verdict = verdict_on(caught(BaseExceptionGroup("outer", [retries, Panic(), ExceptionGroup("x", [Die("bad")])])))
    assert isinstance(verdict, Death)
    assert verdict.error.message == "bad"
