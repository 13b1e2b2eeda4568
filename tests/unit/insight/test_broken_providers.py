"""A provider of OpenTelemetry that raises is no reason for a job to fail."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from jobqueue import tracing


class Broken(SpanProcessor):
    def __init__(self, *, starts: bool) -> None:
        self.starts = starts

    def on_start(self, *_: Any, **__: Any) -> None:
        if not self.starts:
            raise RuntimeError("on_start")

    def on_end(self, *_: Any) -> None:
        raise RuntimeError("on_end")


@pytest.mark.parametrize("starts", [True, False])
def test_blocks_run_without_their_spans(monkeypatch: pytest.MonkeyPatch, *, starts: bool) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Broken(starts=starts))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    ran: list[object] = []
    with tracing.adding("order", "shop") as span:
        span.set("a", 1)
        ran.append("adding")
    with pytest.raises(ZeroDivisionError), tracing.step("pay", 1):
        ran.append(1 / 0)
    tracing.stepped("pay", 1)
    assert ran == ["adding"]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_provider_that_cannot_be_loaded_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise RuntimeError("no such provider")

    monkeypatch.setattr(trace, "get_tracer_provider", load)
    with tracing.request("GET", "localhost", 80) as span:
        span.answered(500)
