"""The error of a job: the user's own frames first, and the words that differ from the error of the attempt before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.traceback_text import is_own

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.jobs.detail.room import Room
    from jobqueue.dashboard.jobs.detail.starts import Start

_FRAME: Final = re.compile(r' *File "([^"]+)", line (\d+), in (\S.*)')
_WORD: Final = re.compile(r"\w+|\s+|[^\w\s]")
_MOST_FRAMES: Final = 12
_MOST_WORDS: Final = 300
_LONGEST_PATH: Final = 60
_MESSAGE: Final = 1500
_EXCERPT: Final = 1500
_TRACE: Final = 5000

Words = list[tuple[str, bool]]
"""Parts of a text; true for those that differ."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a traceback."""

    path: str
    line: str
    function: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The error of a job.

    Attributes:
        frames: of the user's own code, the innermost first.
        foreign: the number of other frames.
        last: the last line of the trace, which names the exception.
        trace: the whole text.
        before: the name of the start with the error before; empty if there is none.
        removed: words of the error before.
        added: words of this error.
        code: HTTP status or exit code.
        is_cut: True if the message goes on.
        is_trace_cut: True if the trace goes on.
    """

    kind: str
    message: str
    step: str
    frames: Sequence[Frame]
    foreign: int
    last: str
    trace: str
    is_cut: bool
    is_trace_cut: bool
    code: int | None
    before: str
    is_same: bool
    removed: Words
    added: Words


def trouble(job: Mapping[str, Any], found: Sequence[Start], runs: int, room: Room) -> Trouble | None:
    """Return the error of a job, or ``None`` for a job without one."""
    error = job.get("error")
    if not error:
        return None
    started = [start for start in found if start.number and start.error]
    failed = started[-1] if started else None
    before = started[-2] if len(started) > 1 else None
    own, foreign = _frames(str(error.get("trace") or ""))
    lines = [line for line in str(error.get("trace") or "").splitlines() if line.strip()]
    removed, added = _difference(_sentence(before.error), _sentence(error)) if before else ([], [])
    message = room.text(str(error.get("message")), _MESSAGE)
    trace = room.text(str(error.get("trace") or ""), _TRACE if own else _EXCERPT)
    return Trouble(
        kind=room.text(str(error.get("kind")), 300),
        message=message,
        is_cut=message != str(error.get("message")),
        step=room.text(str(error.get("step") or ""), 300),
        frames=[
            Frame(*(room.text(part, 300) for part in (frame.path, frame.line, frame.function, frame.source)))
            for frame in own[:_MOST_FRAMES]
        ],
        foreign=foreign + max(0, len(own) - _MOST_FRAMES),
        last=room.text(lines[-1], 300) if lines and own else "",
        trace=trace,
        is_trace_cut=trace != str(error.get("trace") or ""),
        code=failed.code if failed else None,
        before=before.name(runs) if before else "",
        is_same=bool(before) and not any(differs for _, differs in [*removed, *added]),
        removed=[(room.text(text, 800), differs) for text, differs in removed],
        added=[(room.text(text, 800), differs) for text, differs in added],
    )


def group_of(job: Mapping[str, Any]) -> str | None:
    """Return the fingerprint of a job that has failed or was killed; ``None`` for others."""
    error = job.get("error")
    if job.get("state") not in {"failed", "killed"} or not error:
        return None
    texts = {name: error.get(name) for name in ("trace", "step")}
    return fingerprint(str(job["type"]), JobError(kind=error["kind"], message=error["message"], **texts))


def _sentence(error: Mapping[str, Any]) -> str:
    return f"{error.get('kind')}: {error.get('message')}"


def _frames(trace: str) -> tuple[list[Frame], int]:
    """Return the user's own frames, innermost first, and the number of others."""
    lines = trace.splitlines()
    own, foreign = [], 0
    for index, line in enumerate(lines):
        match = _FRAME.fullmatch(line)
        if match is None:
            continue
        path, number, function = match.groups()
        following = lines[index + 1] if index + 1 < len(lines) else ""
        source = following.strip() if following.startswith("    ") and not _FRAME.fullmatch(following) else ""
        if is_own(path, function):
            short = path if len(path) <= _LONGEST_PATH else f"…{path[-_LONGEST_PATH:]}"
            own.append(Frame(short, number, function, source))
        else:
            foreign += 1
    return own[::-1], foreign


def _difference(before: str, after: str) -> tuple[Words, Words]:
    old, new = (_WORD.findall(text[:4000])[:_MOST_WORDS] for text in (before, after))
    removed: Words = []
    added: Words = []
    for kind, begin, end, new_begin, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for words, part in ((removed, old[begin:end]), (added, new[new_begin:new_end])):
            if part:
                words.append(("".join(part), kind != "equal"))
    return removed, added
