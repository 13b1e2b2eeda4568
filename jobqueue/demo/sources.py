"""Finding the Python sources below a directory."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOST: Final = 9
_SKIPPED: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What was found.

    Attributes:
        files: relative paths with slashes, in order.
        problems: a line for each directory that could not be read and each name that is not Unicode text.
    """

    files: tuple[str, ...]
    problems: tuple[str, ...]

    def by_directory(self) -> list[tuple[str, int]]:
        """Return the first directories and how many files each has, most first; files beside them count as ``.``."""
        return Counter(file.split("/")[0] if "/" in file else "." for file in self.files).most_common()


def find(root: Path) -> Sources:
    """Return all ``.py`` files below a directory, without installed packages, caches and hidden directories.

    Raises:
        OSError: the directory itself cannot be read.
    """
    files: list[str] = []
    problems: list[str] = []
    os.scandir(root).close()
    for directory, inner, names in os.walk(root, onerror=lambda error: problems.append(f"cannot be read: {error}")):
        inner[:] = sorted(name for name in inner if name not in _SKIPPED and not name.startswith("."))
        for name in names:
            path = Path(directory, name)
            if not name.endswith(".py") or _is_special(path):
                continue
            file = path.relative_to(root).as_posix()
            try:
                file.encode()
            except UnicodeEncodeError:
                problems.append(f"left out, its name is not Unicode text: {file!a}")
            else:
                files.append(file)
    return Sources(files=tuple(sorted(files)), problems=tuple(problems))


def spread(files: Sequence[str], limit: int | None) -> Sequence[str]:
    """Return at most ``limit`` of the files, evenly spread over them."""
    if limit is None or limit >= len(files):
        return files
    return [files[index * len(files) // limit] for index in range(limit)]


def sound(files: Sequence[str]) -> list[str]:
    """Return the files that are not part of tests: those of Python's own tests are in part broken on purpose."""
    return [file for file in files if not any("test" in part for part in file.split("/"))]


def but_some(files: Sequence[str]) -> list[str]:
    """Return all but every tenth file, as a copy may leave them that broke off."""
    return [file for place, file in enumerate(files) if place % 10 != _LOST]


def copy(root: Path, target: Path, files: Sequence[str]) -> int:
    """Copy files below one directory to another; return how many.

    Raises:
        OSError: one cannot be read or written.
    """
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, target / file)
    return len(files)


def _is_special(path: Path) -> bool:
    """Tell whether this is a pipe or a directory; what cannot be looked at is left to fail when it is read."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
