"""Lost and doubled jobs and exceeded limits, by the journals of the workers and the database alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.faults import journals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from pymongo.collection import Collection

    from tests.support.faults.figures import Figures


@dataclass(slots=True)
class Findings:
    """Ids of jobs that break a promise, and figures."""

    lost: set[str] = field(default_factory=set)
    unconfirmed: set[str] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)
    children_missing: set[str] = field(default_factory=set)
    children_doubled: set[str] = field(default_factory=set)
    slots_left: int = 0
    jobs: int = 0
    runs: int = 0
    run_again: int = 0
    orphans: int = 0
    late: int = 0

    def violations(self) -> dict[str, Any]:
        """Return the broken promises with their numbers."""
        wrong = {
            "lost": self.lost,
            "acknowledged completions lost": self.unconfirmed,
            "doubled completions": self.doubled,
            "children missing": self.children_missing,
            "children doubled": self.children_doubled,
            "slots left": self.slots_left,
        }
        return {what: count for what, count in wrong.items() if count}

    def report(self, figures: Figures) -> None:
        """Pass the figures on."""
        sums = {
            "jobs": self.jobs,
            "runs": self.runs,
            "jobs run again": self.run_again,
            "orphan claims recovered": self.orphans,
            "zombie writes refused": self.late,
            "lost": len(self.lost) + len(self.unconfirmed),
            "doubled completions": len(self.doubled),
            "children missing or doubled": len(self.children_missing) + len(self.children_doubled),
            "slots left": self.slots_left,
        }
        for what, number in sums.items():
            figures.count(what, number)


def examine(jobs: Collection[dict[str, Any]], died: Mapping[Path, int | None]) -> Findings:
    """Compare the journals with the database when all jobs are done.

    Args:
        jobs: the collection.
        died: the journals, and when their processes were killed.
    """
    entries = [entry for path in died for entry in journals.entries(path)]
    documents = {str(document["_id"]): document for document in jobs.find({}, {"logs": 0, "data": 0})}
    started = {entry.token for entry in entries if entry.what == "start"}
    findings = Findings(jobs=len(documents), runs=len(journals.runs(died)))
    findings.lost = {entry.job_id for entry in entries if entry.what == "added"} - documents.keys()
    born = Counter(str(document["parentId"]) for document in documents.values() if document.get("parentId"))
    for job_id, document in documents.items():
        outcomes = [attempt["outcome"] for attempt in document["history"]]
        if document["state"] != "success":
            findings.lost.add(job_id)
        if outcomes.count("success") > 1:
            findings.doubled.add(job_id)
        if document.get("onComplete") and born[job_id] == 0:
            findings.children_missing.add(job_id)
        if born[job_id] > 1:
            findings.children_doubled.add(job_id)
        findings.run_again += len(outcomes) > 1
        findings.late += sum("late" in attempt for attempt in document["history"])
        findings.orphans += sum(
            attempt["outcome"] in {"hanging", "crash"} and attempt["token"] not in started
            for attempt in document["history"]
        )
        findings.slots_left += "slots" in document
    good = {
        attempt["token"]
        for document in documents.values()
        for attempt in document["history"]
        if attempt["outcome"] == "success"
    }
    findings.unconfirmed = {entry.job_id for entry in entries if entry.what == "ack" and entry.token not in good}
    return findings


def worst_window(moments: Iterable[datetime], seconds: float) -> int:
    """Return the most starts in any window of so many seconds, its end excluded."""
    kept = sorted(moments)
    worst = first = 0
    for last, moment in enumerate(kept):
        while (moment - kept[first]).total_seconds() >= seconds:
            first += 1
        worst = max(worst, last - first + 1)
    return worst
