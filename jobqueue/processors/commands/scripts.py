"""Faults in the first line of a script, for which the error of the operating system misleads."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MARK: Final = b"#!"
_BYTE_ORDER: Final = b"\xef\xbb\xbf"
_LONGEST: Final = 4096


def fault(program: Path) -> str | None:
    """Return the fault in the first line of a script, or ``None``, also for a program that is no script.

    The system says "No such file" of a script whose interpreter is named with a carriage return or does not exist.
    """
    try:
        with program.open("rb") as file:
            line = file.readline(_LONGEST)
    except OSError:
        return None
    if line.startswith(_BYTE_ORDER + _MARK):
        return "begins with a byte order mark in front of #!: save it as UTF-8 without one"
    if not line.startswith(_MARK):
        return None
    if b"\r" in line:
        return (
            "has a carriage return (\\r) in its first line, as editors on Windows write: "
            "convert its line endings, such as by sed -i 's/\\r$//'"
        )
    words = line[len(_MARK) :].split()
    interpreter = Path(words[0].decode(errors="surrogateescape")) if words else None
    if interpreter is None or not interpreter.is_absolute() or interpreter.exists():
        return None
    return f"names an interpreter in its first line that does not exist: {interpreter}"
