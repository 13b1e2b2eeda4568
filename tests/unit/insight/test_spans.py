"""Spans of steps that programs report, of runs that are stopped, and none where nobody records them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobqueue import tracing
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.work.verdict import Failure
from jobqueue.processors.reported_steps import keep
from tests.support.memory_steps import MemorySteps
from tests.unit.jobs.domain_strategies import make_job

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


async def test_a_step_that_a_program_reports_has_lasted_as_long_as_it_says(exporter: InMemorySpanExporter) -> None:
    with tracing.running(make_job()) as run:
        for seconds in (2.5, -1, float("nan"), 1e300):
            await keep(MemorySteps(), "fetch", 1, seconds=seconds)
        run.ended(Failure(error=JobError(kind="exit", message="a secret")))
    *steps, ended = exporter.get_finished_spans()
    lasted = [((step.end_time or 0) - (step.start_time or 0)) / 1e9 for step in steps]
    assert lasted == [2.5, 0, 0, pytest.approx(1e9)]
    assert {step.parent and step.parent.span_id for step in steps} == {ended.context.span_id}
    assert (ended.attributes or {})["error.type"] == "exit"
    assert ended.parent is None
    assert not ended.links


async def test_a_run_that_is_stopped_is_no_error(exporter: InMemorySpanExporter) -> None:
    async def stopped() -> None:
        with tracing.running(make_job()) as run:
            run.ended(None)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await stopped()
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["jobqueue.outcome"] == "stopped"
    assert span.status.status_code is trace.StatusCode.UNSET


def test_nothing_is_made_where_nobody_records() -> None:
    with (
        tracing.adding("work", "q") as added,
        tracing.running(make_job()) as run,
        tracing.request("POST", "a", 1) as sent,
    ):
        assert added is run is sent
        assert tracing.headers() == {}
