"""Traces across the queue: a job carries the trace of its caller (W3C Trace Context) to its runs and its children.

Spans are made only where the extra ``otel`` is installed and the program has set up a provider of OpenTelemetry.
Without these a trace is still passed on, as it came. Names follow OpenTelemetry's conventions for messaging; no span
has data, `meta`, a result or the message of an error.
"""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.insight.trace_context import PARENT, STATE, TraceContext
from jobqueue.domain.text import type_name
from jobqueue.domain.work.verdict import Accepted, Death, Failure, RunAgain, Success, Suspension
from jobqueue.journal import get_logger

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _AVAILABLE = False
else:
    _AVAILABLE = True

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Verdict

log = get_logger(__name__)
_SYSTEM: Final = "jobqueue"
_FIRST_ERROR: Final = 400
_LONGEST_SECONDS: Final = 1e9
_OUTCOMES: Final = {
    Success: "success",
    Failure: "fail",
    Death: "die",
    RunAgain: "retry",
    Suspension: "suspend",
    Accepted: "accepted",
}
_carried: ContextVar[TraceContext | None] = ContextVar("jobqueue_trace", default=None)
"""The trace that came with a request or a job, where no span of OpenTelemetry is present."""


class Span:
    """A span, or none: then nothing is recorded."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        if self._span is not None:
            with _tolerated():
                self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        """Mark the span as failed by an error of a kind."""
        if self._span is not None:
            with _tolerated():
                self._span.set_attribute("error.type", kind)
                self._span.set_status(trace.Status(trace.StatusCode.ERROR))

    def answered(self, status: int) -> None:
        """Set the status of an HTTP reply."""
        self.set("http.response.status_code", status)
        if status >= _FIRST_ERROR:
            self.fail(str(status))

    def ended(self, verdict: Verdict | None) -> None:
        """Set the outcome of a run; ``None`` for a run that was stopped."""
        self.set("jobqueue.outcome", "stopped" if verdict is None else _OUTCOMES[type(verdict)])
        if isinstance(verdict, Failure | Death):
            self.fail(verdict.error.kind)


_NONE: Final = Span()


def present() -> TraceContext | None:
    """Return the present span, or the trace that came with the present request or job, or ``None``."""
    if _AVAILABLE and trace.get_current_span().get_span_context().is_valid:
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return TraceContext.read(carrier.get(PARENT), carrier.get(STATE))
    return _carried.get()


def headers() -> dict[str, str]:
    """Return the headers that pass the present trace on: none outside of traces."""
    now = present()
    return {} if now is None else now.fields()


def environment() -> dict[str, str]:
    """Return the variables that pass the present trace on to a program."""
    return {name.upper(): value for name, value in headers().items()}


def of_environment(variables: Mapping[str, str]) -> None:
    """Go on with the trace that the environment of this program names, if it names one."""
    context = TraceContext.read(variables.get(PARENT.upper()), variables.get(STATE.upper()))
    if context is not None:
        _carried.set(context)
        if _AVAILABLE:
            otel_context.attach(_remote(context))


@contextlib.contextmanager
def carried(context: TraceContext | None) -> Iterator[None]:
    """Run the block in a trace; in none, whatever the present one is, if ``context`` is ``None``."""
    before = _carried.set(context)
    token = otel_context.attach(_remote(context)) if _AVAILABLE else None
    try:
        yield
    finally:
        if token is not None:
            otel_context.detach(token)
        _carried.reset(before)


@contextlib.contextmanager
def joined(context: TraceContext) -> Iterator[None]:
    """Run the block in the trace of a request, unless an instrumentation of the server has made a span for it."""
    if _AVAILABLE and trace.get_current_span().get_span_context().is_valid:
        yield
    else:
        with carried(context):
            yield


@contextlib.contextmanager
def adding(kind: str | None, queue: str | None, count: int | None = None) -> Iterator[Span]:
    """Run the block that adds jobs in a span; what it adds is in the trace of that span.

    Args:
        kind: the type of the job; ``None`` for several.
        queue: of the job; ``None`` for several.
        count: of the jobs, if they may be several.
    """
    if not _is_on():
        yield _NONE
        return
    attributes = _attributes("add", "send", queue)
    attributes |= {} if count is None else {"messaging.batch.message_count": count}
    attributes |= {} if kind is None else {"jobqueue.type": kind}
    with _span("add" if kind is None else f"add {kind}", trace.SpanKind.PRODUCER, attributes) as span:
        yield span


@contextlib.contextmanager
def running(job: Job) -> Iterator[Span]:
    """Run the block, one attempt of a job, in the trace in which the job was added.

    The span of the run is a child of the span of the addition, and has a link to it as the conventions ask for.
    """
    added = context_of(job)
    if not _is_on():
        if added is None and _carried.get() is None:
            yield _NONE
            return
        with carried(added):
            yield _NONE
        return
    attributes = _attributes("process", "process", job.queue)
    attributes |= {"messaging.message.id": job.id, "jobqueue.type": job.type, "jobqueue.attempt": job.attempts_made}
    attributes |= {} if job.claim is None else {"messaging.client.id": job.claim.worker}
    attributes |= {} if job.batch_id is None else {"messaging.message.conversation_id": job.batch_id}
    with (
        carried(added),
        _span(f"process {job.type}", trace.SpanKind.CONSUMER, attributes, links=_links(added)) as span,
    ):
        yield span


@contextlib.contextmanager
def step(name: str, tries: int) -> Iterator[None]:
    """Run one try of a step in a span of its own."""
    if not _is_on():
        yield
        return
    attributes: dict[str, str | int] = {"jobqueue.step": name, "jobqueue.step.try": tries}
    with _span(f"step {name}", trace.SpanKind.INTERNAL, attributes):
        yield


def stepped(name: str, seconds: float) -> None:
    """Record the span of a step that a program reports, as one that has just ended after so many seconds."""
    if _is_on():
        end = time.time_ns()
        start = max(0, end - int(min(seconds, _LONGEST_SECONDS) * 1e9)) if seconds > 0 else end
        with _tolerated():
            trace.get_tracer(_SYSTEM).start_span(
                f"step {name}", attributes={"jobqueue.step": name}, start_time=start
            ).end(end)


@contextlib.contextmanager
def request(method: str, host: str, port: int | None) -> Iterator[Span]:
    """Run the block in the span of an HTTP request; its URL may be a secret, and is left out."""
    if not _is_on():
        yield _NONE
        return
    attributes: dict[str, str | int] = {"http.request.method": method, "server.address": host}
    attributes |= {} if port is None else {"server.port": port}
    with _span(method, trace.SpanKind.CLIENT, attributes) as span:
        yield span


def context_of(job: Job) -> TraceContext | None:
    """Return the span in which a job was added."""
    return TraceContext.read(job.traceparent, job.tracestate)


def _is_on() -> bool:
    """Return True if somebody records spans."""
    try:
        return _AVAILABLE and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    except Exception as error:  # noqa: BLE001 - a variable of OpenTelemetry may name a provider that is not there
        _tell(type_name(error))
        return False


@contextlib.contextmanager
def _span(
    name: str, kind: trace.SpanKind, attributes: Mapping[str, str | int], links: list[trace.Link] | None = None
) -> Iterator[Span]:
    made: Any = None
    with _tolerated():
        made = trace.get_tracer(_SYSTEM).start_span(name, kind=kind, attributes=attributes, links=links)
    if made is None:
        yield _NONE
        return
    span, token = Span(made), otel_context.attach(trace.set_span_in_context(made))
    try:
        yield span
    except Exception as error:
        span.fail(type_name(error))
        raise
    finally:
        otel_context.detach(token)
        with _tolerated():
            made.end()


@contextlib.contextmanager
def _tolerated() -> Iterator[None]:
    """Run a block of OpenTelemetry, whose errors are no errors of the job."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - programs bring their own providers and processors of spans
        _tell(type_name(error))


@cache
def _tell(kind: str) -> None:
    """Report a kind of error once: each job may meet it."""
    log.warning("span not recorded", error=kind)


def _attributes(name: str, kind: str, queue: str | None) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }
    return attributes if queue is None else attributes | {"messaging.destination.name": queue}


def _links(added: TraceContext | None) -> list[trace.Link]:
    return [] if added is None else [trace.Link(trace.get_current_span(_remote(added)).get_span_context())]


def _remote(context: TraceContext | None) -> Context:
    """Return a context of OpenTelemetry with nothing in it but a span of another process."""
    carrier = {} if context is None else context.fields()
    return TraceContextTextMapPropagator().extract(carrier, Context())
