"""Trace contexts are read as the standard of the W3C has it, and kept in bounds."""

from __future__ import annotations

import contextvars
import runpy
import sys
from typing import Any

import pytest

from jobqueue import tracing
from jobqueue.cli.main import main
from jobqueue.domain.insight.trace_context import LONGEST_STATE, TraceContext, received

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def state_of(text: Any) -> str | None:
    context = TraceContext.read(PARENT, text)
    assert context is not None
    return context.tracestate


@pytest.mark.parametrize(
    "text",
    [
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01-{'a' * 300}",
        f"00-{TRACE}-{SPAN}-1",
        f"{PARENT}\n",
        "",
        None,
        17,
        [PARENT],
        PARENT.encode(),
    ],
)
def test_another_value_is_no_span(text: Any) -> None:
    assert TraceContext.read(text, "a=1") is None


def test_a_later_version_is_read_as_far_as_this_one_goes() -> None:
    context = TraceContext.read(f"cc-{TRACE}-{SPAN}-03-what.comes")
    assert context == TraceContext(traceparent=f"00-{TRACE}-{SPAN}-03")


def test_a_request_names_one_span_and_perhaps_its_state_in_parts() -> None:
    context = received([f" {PARENT}\t"], ["vendor=1,, fw529a3039@dt=FfAAAQ ", "\t3x=a b"])
    assert context is not None
    assert context.fields() == {"traceparent": PARENT, "tracestate": "vendor=1,fw529a3039@dt=FfAAAQ,3x=a b"}
    assert received([], ["a=1"]) is None
    assert received([PARENT, PARENT], []) is None
    bare = received([PARENT], [])
    assert bare is not None
    assert bare.fields() == {"traceparent": PARENT}


@pytest.mark.parametrize(
    "text", ["A=1", "a", "a=", "a=1,a=2", "a=1=2", "=1", "a=\u00e4", "a=1\r\nX: y", 17, "", ",", "a@b@c=1", "a=1 x\x7f"]
)
def test_a_state_with_a_wrong_member_is_left_out(text: Any) -> None:
    assert state_of(text) is None


def test_a_state_is_cut_to_whole_members_the_large_and_the_oldest_first() -> None:
    assert state_of(",".join(f"k{place}=1" for place in range(33))) is None
    large = f"big={'x' * 200}"
    assert state_of(f"a=1,{large}") == f"a=1,{large}"
    small = [f"k{place:02}={'x' * 60}" for place in range(9)]
    assert state_of(",".join([small[0], large, *small[1:]])) == ",".join(small[:7])
    assert len(",".join(small[:7])) <= LONGEST_STATE < len(",".join(small[:8]))


def test_without_opentelemetry_a_trace_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    alone = runpy.run_path(tracing.__file__)
    context = TraceContext(traceparent=PARENT, tracestate="a=1")
    with alone["joined"](context), alone["adding"]("work", "q") as span, alone["step"]("fetch", 1):
        span.set("messaging.message.id", "1")
        span.fail("OSError")
        assert alone["headers"]() == {"traceparent": PARENT, "tracestate": "a=1"}
        assert alone["environment"]() == {"TRACEPARENT": PARENT, "TRACESTATE": "a=1"}
        with alone["carried"](None):
            assert alone["headers"]() == {}
    assert alone["present"]() is None


def test_the_command_line_goes_on_with_the_trace_of_the_command_that_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def after(*args: str) -> TraceContext | None:
        assert main(args) == 0
        return tracing.present()

    monkeypatch.setenv("TRACEPARENT", PARENT)
    assert contextvars.copy_context().run(after, "--version") == TraceContext(traceparent=PARENT)
    assert contextvars.copy_context().run(after, "worker", "--help") is None
    monkeypatch.setenv("TRACEPARENT", "nonsense")
    assert contextvars.copy_context().run(after, "--version") is None
