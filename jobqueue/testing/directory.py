"""A directory for the data of a mongod of tests: in memory where there is room, so that no write waits for a disk."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - `tempfile` makes the directories in it
ROOM: Final = 6 * 2**30
"""Bytes that have to be free in memory: a mongod takes 0.4 to 1.3 GB, and several workers have one each."""
PREFIX: Final = "jobqueue-test-"
YOUNG_SECONDS: Final = 60.0
"""The owner of a younger directory may be about to lock it."""


@contextmanager
def data_directory(memory: Path = MEMORY) -> Iterator[Path]:
    """Yield a new directory, which is removed in the end.

    Args:
        memory: a file system in memory; without one, or with little room, the directory is among other temporary ones.
    """
    if not _has_room(memory):
        with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as directory:
            yield Path(directory)
        return
    import fcntl  # noqa: PLC0415 - such file systems are those of Unix

    _remove_abandoned(memory)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=memory, ignore_cleanup_errors=True) as directory:
        held = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(directory)
        finally:
            os.close(held)


def _has_room(memory: Path) -> bool:
    try:
        return os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= ROOM
    except OSError:
        return False


def _remove_abandoned(memory: Path) -> None:
    """Remove the directories of runs that were killed: nobody holds the lock of such a one."""
    import fcntl  # noqa: PLC0415 - as above

    for directory in memory.glob(f"{PREFIX}*"):
        try:
            if time.time() - directory.stat().st_mtime < YOUNG_SECONDS:
                continue
            held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(held)
