"""Reasons why a job waits, in words, each with what mends it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MOST_JOBS: Final = 5
_TIMES: Final = ("at", "until", "nextStartAt")
_CONSEQUENCES: Final = {"concurrency": ", and this one waits for a slot"}
_OPEN: Final = frozenset({"signal", "doubt", "children", "dependency"})
_BAD: Final = frozenset({"paused", "no-worker", "breaker", "doubt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason, and what mends it.

    Attributes:
        before: the sentence up to a time.
        time: in the sentence; empty for none.
        after: the rest of the sentence.
        command: that mends it.
        jobs: others that it is about.
        more: the number of further ones.
        href: of the page where it is mended.
        label: of this link.
    """

    kind: str
    before: str
    time: str = ""
    after: str = ""
    command: str = ""
    jobs: Sequence[Mapping[str, Any]] = ()
    more: int = 0
    href: str = ""
    label: str = ""


@dataclass(slots=True, kw_only=True)
class Waiting:
    """The reasons why a job waits."""

    reasons: list[Reason] = field(default_factory=list)
    next_start_at: str | None = None

    @property
    def look(self) -> str:
        """The state class of the first reason: somebody has to do something, or the job goes on by itself."""
        return "failed" if self.reasons and self.reasons[0].kind in _BAD else "delayed"

    @property
    def is_held(self) -> bool:
        """True if somebody has to do something, too."""
        return any(reason.kind in _BAD and not reason.time for reason in self.reasons)

    @property
    def is_open(self) -> bool:
        """True if something from outside ends the wait before its time."""
        return any(reason.kind in _OPEN for reason in self.reasons)


def waiting(job: Mapping[str, Any], why: Mapping[str, Any]) -> Waiting:
    """Return the reasons of a job that waits."""
    return Waiting(reasons=[_reason(job, reason) for reason in why["reasons"]], next_start_at=why.get("nextStartAt"))


def _reason(job: Mapping[str, Any], reason: Mapping[str, Any]) -> Reason:
    message = str(reason["message"])
    time = next((str(reason[name]) for name in _TIMES if reason.get(name) and str(reason[name]) in message), "")
    before, _, after = message.partition(time) if time else (message, "", "")
    jobs = [*reason.get("jobs", ()), *reason.get("holders", ())]
    command, href, label = _mend(job, reason)
    return Reason(
        kind=str(reason["kind"]),
        before=before[:1].upper() + before[1:],
        time=time,
        after=after + _CONSEQUENCES.get(str(reason["kind"]), ""),
        command=command,
        jobs=jobs[:_MOST_JOBS],
        more=max(0, len(jobs) - _MOST_JOBS),
        href=href,
        label=label,
    )


def _mend(job: Mapping[str, Any], reason: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a command that mends a reason, and the address and the name of a page for it."""
    queue, job_id, kind = str(job["queue"]), str(job["id"]), str(reason["kind"])
    signal = shlex.quote(str(next(iter(reason.get("signals") or ()), "")))
    commands = {
        "paused": f"jobqueue queue resume {queue}",
        "no-worker": "jobqueue worker app:queue",
        "signal": f"jobqueue signal {job_id} {signal} true",
        "doubt": f"jobqueue decide {job_id} {shlex.quote(str(reason.get('step', '')))} --happened",
    }
    pages = {
        "signal": (f"/jobs/{quoted(job_id)}/answer", "Answer it"),
        "doubt": (f"/jobs/{quoted(job_id)}/answer", "Say whether it happened"),
        "children": (link("/jobs", q=f"parentId={job_id}"), "Its children"),
        **dict.fromkeys(("no-worker", "alone"), ("/workers", "Workers")),
        **dict.fromkeys(("paused", "concurrency", "rate", "turn", "breaker"), (f"/queues/{quoted(queue)}", "Queue")),
    }
    return commands.get(kind, ""), *pages.get(kind, ("", ""))
