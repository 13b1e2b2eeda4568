"""Journals in which worker processes note the jobs they ran, each in a file of its own, and their evaluation.

A line is what happened, a job's id, the token of the claim (``-`` if there is none) and nanoseconds of the steady clock
that all processes of this machine share: ``start``, ``end``, ``ack`` when a success was acknowledged to a worker that
polls, ``added`` when a new job was acknowledged to whoever added it, ``ready`` when a process takes jobs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


class Journal:
    """The file of this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, job_id: str = "-", token: str = "-") -> None:  # noqa: S107 - no password
        """Write a line, in one piece."""
        os.write(self._file, f"{what} {job_id} {token} {time.monotonic_ns()}\n".encode())

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    what: str
    job_id: str
    token: str
    at: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, from ``began`` to ``ended``."""

    job_id: str
    token: str
    began: int
    ended: int


def entries(path: Path) -> list[Entry]:
    """Return the entries of a process so far."""
    if not path.exists():
        return []
    # A process that is killed while it writes leaves half a line.
    lines = [line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [Entry(what, job_id, token, int(at)) for what, job_id, token, at in lines]


def runs(died: Mapping[Path, int | None]) -> list[Run]:
    """Return all runs that are in some journals.

    One that did not end before its process was killed ended then; one that goes on ends now.

    Args:
        died: the journals, and when their processes were killed.
    """
    runs: list[Run] = []
    for path, at_death in died.items():
        begun: dict[tuple[str, str], int] = {}
        for entry in entries(path):
            key = entry.job_id, entry.token
            if entry.what == "start":
                begun[key] = entry.at
            elif entry.what == "end" and key in begun:
                runs.append(Run(*key, begun.pop(key), entry.at))
        end = time.monotonic_ns() if at_death is None else at_death
        runs += [Run(*key, began, end) for key, began in begun.items()]
    return runs


def most_at_a_time(runs: Iterable[Run], *, since: int = 0) -> int:
    """Return how many runs overlapped at most, from a moment on."""
    kept = list(runs)
    # An end and a beginning at the same nanosecond do not overlap.
    edges = sorted([(run.ended, -1) for run in kept] + [(run.began, 1) for run in kept])
    now = most = 0
    for at, change in edges:
        now += change
        if at >= since:
            most = max(most, now)
    return most


def overlaps(runs: Iterable[Run]) -> int:
    """Return the number of jobs that two workers ran at the same time."""
    by_job: dict[str, list[Run]] = {}
    for run in runs:
        by_job.setdefault(run.job_id, []).append(run)
    return sum(most_at_a_time(each) > 1 for each in by_job.values())
