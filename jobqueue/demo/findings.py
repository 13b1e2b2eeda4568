"""Adding up the results of all analyses."""

from __future__ import annotations

import heapq
import platform
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.jobs.states import State

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job

_LISTED: Final = 10
_SAMPLES: Final = 3


class Findings:
    """Takes the ended analyses of a run, one by one, and makes the report of them.

    Args:
        run: the run's id.
        root: the directory that was analysed.
        started_at: when the run began.
    """

    def __init__(self, run: str, root: str, started_at: datetime) -> None:
        self._run = run
        self._root = root
        self._started_at = started_at
        self._ended_at = started_at
        self._sums: Counter[str] = Counter()
        self._imports: Counter[str] = Counter()
        self._largest: list[tuple[int, str]] = []
        self._best: dict[str, tuple[int, dict[str, Any]]] = {}
        self._failures: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, job: Job) -> None:
        """Take one analysis that has ended."""
        file = str(job.data.get("file", "?"))
        self._sums["files"] += 1
        self._sums["attempts"] += sum(1 for one in job.history if one.start_at is not None)
        self._sums["retried"] += job.attempts_made > 1
        if job.end_at is not None:
            self._ended_at = max(self._ended_at, job.end_at)
        if job.state is State.SUCCESS:
            self._success(file, job.result)
        else:
            self._failure(file, job)

    def report(self) -> dict[str, Any]:
        """Return everything, as JSON."""
        sums = self._sums
        seconds = max((self._ended_at - self._started_at).total_seconds(), 0.001)
        return {
            "run": self._run,
            "root": self._root,
            "python": platform.python_version(),
            "seconds": round(seconds, 3),
            "filesPerSecond": round(sums["files"] / seconds, 1),
            "totals": {
                name: sums[name]
                for name in ("files", "analysed", "failed", "attempts", "retried", "bytes", "lines", "functions")
            }
            | {"classes": sums["classes"], "modules": len(self._imports)},
            "largest": [{"file": file, "lines": -lines} for lines, file in heapq.nsmallest(_LISTED, self._largest)],
            "mostImported": [
                {"module": name, "files": count}
                for name, count in heapq.nsmallest(_LISTED, self._imports.items(), key=lambda one: (-one[1], one[0]))
            ],
            "mostComplex": self._winner("mostComplex"),
            "longest": self._winner("longest"),
            "deepest": self._winner("depth"),
            "failures": sorted(self._failures.values(), key=lambda one: (-one["count"], one["kind"])),
        }

    def _success(self, file: str, result: dict[str, Any]) -> None:
        self._sums["analysed"] += 1
        for name in ("bytes", "lines", "functions", "classes"):
            self._sums[name] += result[name]
        self._imports.update(result["imports"])
        self._largest.append((-result["lines"], file))
        self._compare("depth", result["depth"], {"file": file, "depth": result["depth"]})
        for name, measure in (("mostComplex", "complexity"), ("longest", "lines")):
            function = result[name]
            if function is not None:
                self._compare(name, function[measure], {"file": file, **function})

    def _failure(self, file: str, job: Job) -> None:
        self._sums["failed"] += 1
        kind, message = (job.error.kind, job.error.message) if job.error else ("unknown", "")
        group = self._failures.setdefault(
            (job.state, kind), {"kind": kind, "state": job.state.value, "count": 0, "samples": []}
        )
        group["count"] += 1
        if len(group["samples"]) < _SAMPLES:
            sample = {"id": job.id, "file": file, "attempts": job.attempts_made, "message": message}
            group["samples"].append(sample)

    def _compare(self, name: str, value: int, found: dict[str, Any]) -> None:
        if name not in self._best or value > self._best[name][0]:
            self._best[name] = (value, found)

    def _winner(self, name: str) -> dict[str, Any] | None:
        return self._best[name][1] if name in self._best else None
