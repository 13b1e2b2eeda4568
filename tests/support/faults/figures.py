"""Figures of all fault tests of a run, for a report."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any


class Figures:
    """The figures of one test; written as a line of the file in ``FAULTS_FIGURES``, if that is set."""

    def __init__(self, test: str) -> None:
        self._test = test
        self._counts: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._most: dict[str, float] = {}
        self._recoveries: list[float] = []

    def count(self, what: str, number: int = 1) -> None:
        """Add to a sum."""
        self._counts[what] += number

    def fault(self, kind: str, number: int = 1) -> None:
        """Note faults that were injected."""
        self._faults[kind] += number

    def most(self, what: str, number: float) -> None:
        """Note a value; the largest one counts."""
        self._most[what] = max(number, self._most.get(what, number))

    def recovered(self, seconds: float) -> None:
        """Note the seconds from a new primary to the first done job."""
        self._recoveries.append(seconds)

    def save(self) -> None:
        """Write the figures to the file."""
        path = os.environ.get("FAULTS_FIGURES")
        if path:
            with Path(path).open("a") as file:
                file.write(json.dumps(vars(self)) + "\n")


def total(path: Path) -> dict[str, Any]:
    """Return the figures of all tests together: ``counts``, ``faults``, ``most`` and sorted ``recoveries``."""
    counts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    most: dict[str, float] = {}
    recoveries: list[float] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        figures = json.loads(line)
        counts.update(figures["_counts"])
        faults.update(figures["_faults"])
        recoveries += figures["_recoveries"]
        for what, number in figures["_most"].items():
            most[what] = max(number, most.get(what, number))
    return {"counts": counts, "faults": faults, "most": most, "recoveries": sorted(recoveries)}
