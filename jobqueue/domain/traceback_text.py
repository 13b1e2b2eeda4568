"""Origins of errors: the place in a user's own code that the text of a Python traceback names.

A trace may come from any program; text of another form has no such place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FRAME: Final = re.compile(r' *File "([^"]+)", line \d+, in (\S.*)')
_HEADER: Final = re.compile(r"Traceback \(most recent call last\):")
_GROUP: Final = re.compile(r" +\+ Exception Group Traceback \(most recent call last\):")
_GROUP_LINE: Final = re.compile(r" *(?:\+ |\| ?)")
_MEMBER: Final = re.compile(r" *\+-(?:\+-+ 1 -+|-+(?: (?:\d+|\.\.\.) -+)?)")
_FIRST_MEMBER: Final = re.compile(r" *\+-\+-")
_ERROR: Final = re.compile(r"([A-Za-z_][\w.<>]*)(?:: ?(.*))?")
_CAUSE: Final = "The above exception was the direct cause of the following exception:"
_CONTEXT: Final = "During handling of the above exception, another exception occurred:"
_FOREIGN_CODE: Final = re.compile(
    r"""
    ^<
  | (?:^|/)(?:site-packages|dist-packages|__pypackages__)/
  | (?:^|/)lib(?:32|64)?/(?:python|pypy)\d[^/]*/
  | ^[A-Za-z]:/(?:.*/)?(?:[Pp]ython[\d.]*|\w*conda\d*)/(?:envs/[^/]+/)?Lib/
  | (?:^|/)python\d+\.zip/
  | \.(?:egg|whl)/
  | (?:^|/)jobqueue/(?:api|cli|client|dashboard|domain|processors|services|settings|store|testing)/
  | (?:^|/)jobqueue/(?:__init__|__main__|blocking|journal|loop_errors|loop_thread|lru_cache|tracing)\.py$
  | (?:^|/)jobqueue/tasks/(?:__init__|blocking_batch|cron|decorator|ref|registry|started|task)\.py$
  | \.(?:pyx|pxd|pxi|c|cc|cpp|rs)$
    """,
    re.VERBOSE,
)
"""Paths of the standard library, of installed packages, of compiled modules and of this package."""
_INLINED: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>"})
"""Newer versions of Python run these in the frame of the function around them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The place where the error of a traceback was raised, and its exception.

    Attributes:
        raised: the class of the error itself, without its module; ``""`` if the text does not name it.
        error: the class of the exception at that place: the error itself, its cause, or a member of a group.
        message: the first line of the message of that exception.
        file: the name of the file without its directories, but for the package of an ``__init__.py``.
        function: as the traceback names it.
    """

    raised: str
    error: str
    message: str
    file: str
    function: str


@dataclass(frozen=True, slots=True)
class _Part:
    """The traceback of one exception of a chain."""

    lines: Sequence[str]
    is_cause: bool = False


def origin(trace: str, kind: str) -> Origin | None:
    """Return the place where the error of a trace was raised, or ``None`` if no frame is of the user's own code.

    The place is the innermost own frame. The cause decides for an exception that was raised ``from`` a cause, the first
    member for a group. ``kind`` is the kind of the error with this trace.
    """
    parts = _parts(trace.splitlines())
    if not _belongs(trace, kind, parts[-1]):
        return None
    place = _deepest(parts, _place)
    return None if place is None else replace(place, raised=_error(parts[-1].lines)[0])


def is_own(path: str, function: str) -> bool:
    """Tell whether a frame is of the user's own code, by the path of its file and the name of its function."""
    return function not in _INLINED and not _FOREIGN_CODE.search(path.replace("\\", "/"))


def _deepest(parts: Sequence[_Part], look: Callable[[Sequence[str]], Origin | None]) -> Origin | None:
    """Return the first place among the causes of the last part, deepest first, and the last part itself."""
    first = len(parts) - 1
    while first and parts[first - 1].is_cause:
        first -= 1
    return next((place for part in parts[first:] if (place := look(part.lines)) is not None), None)


def _parts(lines: Sequence[str]) -> list[_Part]:
    """Return the parts of a chain of exceptions, the last of which is the error itself."""
    parts, begin = [], 0
    for index, line in enumerate(lines):
        if line in {_CAUSE, _CONTEXT}:
            parts.append(_Part(lines[begin:index], line == _CAUSE))
            begin = index + 1
    return [*parts, _Part(lines[begin:])]


def _belongs(trace: str, kind: str, last: _Part) -> bool:
    """Tell whether a trace belongs to its error; an output may also show the trace of a harmless error."""
    text = trace.lstrip()
    if text.startswith(("Traceback (", "+ Exception Group", 'File "')):
        return True
    error, _, rest = _error(last.lines)
    is_at_end = not any(line.strip() and not _GROUP_LINE.match(line) and not _MEMBER.match(line) for line in rest)
    return bool(error) and (is_at_end or error.lower() == kind.rpartition(".")[2].lower())


def _place(lines: Sequence[str]) -> Origin | None:
    """Return the place of one exception of a chain; for a group, the place of its first member if there is any."""
    if not any(_GROUP.fullmatch(line) for line in lines):
        return _own(lines)
    above, member = _group(lines)
    return _deepest(_parts(member), _own) or _own(above)


def _own(lines: Sequence[str]) -> Origin | None:
    error, message, _ = _error(lines)
    frames = [match for line in _last_traceback(lines) if (match := _FRAME.fullmatch(line))]
    for frame in reversed(frames):
        path, function = frame[1].replace("\\", "/"), frame[2].strip()
        if is_own(path, function):
            return Origin(raised="", error=error, message=message, file=_file(path), function=function)
    return None


def _last_traceback(lines: Sequence[str]) -> Sequence[str]:
    begin = max((index for index, line in enumerate(lines) if _HEADER.fullmatch(line.strip())), default=0)
    return lines[begin:]


def _error(lines: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    """Return the class and the message that follow the last frame, and the lines after them."""
    last = max((index for index, line in enumerate(lines) if _FRAME.fullmatch(line)), default=-1)
    for index in range(last + 1, len(lines)):
        line = lines[index]
        if line[:1].strip() and not _HEADER.fullmatch(line):
            match = _ERROR.fullmatch(line)
            return (match[1].rpartition(".")[2], match[2] or "", lines[index + 1 :]) if match else ("", "", ())
    return "", "", ()


def _without_margin(line: str) -> str:
    # Only at the beginning: a search would try every place in a long run of spaces.
    margin = _GROUP_LINE.match(line)
    return line[margin.end() :] if margin else line


def _group(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the tracebacks of a group and of its first exception that is no group, without their margins."""
    above: list[str] = []
    member: list[str] | None = None
    for line in lines:
        if not _MEMBER.fullmatch(line):
            (above if member is None else member).append(_without_margin(line))
        elif _FIRST_MEMBER.match(line):
            member = []
        elif member is not None:
            break
    return above, member or []


def _file(path: str) -> str:
    """Return the part of a path that is the same in every deployment."""
    *directories, name = path.split("/")
    return f"{directories[-1]}/{name}" if name == "__init__.py" and directories and directories[-1] else name
