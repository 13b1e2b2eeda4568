"""A run of a job is linked to where the job was added."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

if TYPE_CHECKING:
    from jobqueue import JobQueue


async def test_the_span_of_a_run_links_to_the_span_of_the_add(queue: JobQueue) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    ran = asyncio.Event()

    @queue.handler("traced")
    async def traced(_job: Any) -> None:
        ran.set()

    async with queue.working():
        with trace.get_tracer("test").start_as_current_span("request") as request:
            await queue.add("traced")
        async with asyncio.timeout(10):
            await ran.wait()
    (run,) = [span for span in exporter.get_finished_spans() if span.name == "process traced"]
    assert [link.context.span_id for link in run.links] == [request.get_span_context().span_id]
    assert run.attributes is not None
    assert run.attributes["messaging.destination.name"] == "default"
