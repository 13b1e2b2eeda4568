"""Steps of a job, as the HTTP API returns them, as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.cli.render.moments import span

if TYPE_CHECKING:
    from collections.abc import Mapping

    Document = Mapping[str, Any]

_UNIT: Final = 1024


def state(step: Document) -> str:
    """Return the state of a step: ``finished``, ``failed``, or ``waits``."""
    if step["endAt"] is not None:
        return "finished"
    return "waits" if step.get("error") is None else "failed"


def duration(step: Document) -> str:
    """Return for how long a finished step ran."""
    return f"{span(step['startAt'], step['endAt']):.3f} s" if step["startAt"] and step["endAt"] else ""


def size(step: Document) -> str:
    """Return the size of the result of a step, where it is known."""
    return _bytes(step["size"]) if step.get("size") else ""


def line(step: Document) -> str:
    """Return a step on one line."""
    parts = [step["name"], *([step["kind"]] if step["kind"] != "step" else []), state(step), duration(step), size(step)]
    if step.get("error") is not None:
        parts.append(f"{step['error']['kind']}: {step['error']['message']}")
    if step["endAt"] is None and step.get("until") is not None:
        parts.append(f"until {step['until']}")
    return "  ".join(part for part in parts if part)


def wait(waiting: Document | None) -> str:
    """Return the reason why a suspended job waits."""
    if waiting is None:
        return ""
    until = f"until {waiting['until']}" if waiting.get("until") else "for now"
    names = ", ".join(waiting["names"])
    return f"suspended {until}{', by ' if names else ''}{names}"


def _bytes(count: int) -> str:
    """Return a number of bytes."""
    if count < _UNIT:
        return f"{count} B"
    return f"{count / _UNIT:.1f} KiB" if count < _UNIT * _UNIT else f"{count / _UNIT / _UNIT:.1f} MiB"
