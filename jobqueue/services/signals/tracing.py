"""Traces across the queue, if the extra ``otel`` is installed: the span of a run links to the span of the addition."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    AVAILABLE = False
else:
    AVAILABLE = True

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.domain.jobs.job import Job


def traceparent() -> str | None:
    """Return the present span as a ``traceparent`` (W3C Trace Context), or ``None`` outside of spans."""
    if not AVAILABLE:
        return None
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextlib.contextmanager
def run_span(job: Job) -> Iterator[None]:
    """Run the block in a span of its own, linked to the span in which the job was added."""
    if not AVAILABLE:
        yield
        return
    context = TraceContextTextMapPropagator().extract({"traceparent": job.traceparent or ""})
    added_in = trace.get_current_span(context).get_span_context()
    attributes: dict[str, str | int] = {
        "messaging.system": "jobqueue",
        "messaging.operation.type": "process",
        "messaging.destination.name": job.queue,
        "messaging.message.id": job.id,
        "jobqueue.type": job.type,
        "jobqueue.attempt": job.attempts_made,
    }
    with trace.get_tracer("jobqueue").start_as_current_span(
        f"process {job.type}",
        kind=trace.SpanKind.CONSUMER,
        links=[trace.Link(added_in)] if added_in.is_valid else [],
        attributes=attributes,
    ):
        yield
