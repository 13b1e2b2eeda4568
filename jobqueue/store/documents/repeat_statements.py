"""Filters and updates for requests of workers that are repeated because their reply was lost.

The claim of a running job has in ``key`` what identifies the request, and in ``repeats`` how often that came again. Its
``reports`` are the last ones with log lines: their ids, and the number of lines of the job after each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.jobs.job import INLINE_LOGS
from jobqueue.store.mongo.tolerant import array, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.mongo.clock import Now

Document = dict[str, Any]
INDEX: Final = "claimKey"
FIELD: Final = "claim.key"
KEYED: Final[Document] = {FIELD: {"$gt": ""}}
"""Match claims with a key, in the words of the partial index."""
MOST_REPORTS: Final = 20
_REPORTS: Final = array("$claim.reports")


def handed_out(queue: str, key: str) -> Document:
    """Match the running job that a request of a worker has claimed."""
    return {"queue": queue, FIELD: key, "state": "processing"}


def counted() -> Document:
    """Return the stage that counts one more repetition of a request."""
    return {"$set": {"claim.repeats": {"$add": [number("$claim.repeats", 0), 1]}}}


def appended(now: Now, lines: Sequence[Document], report: str | None = None) -> Document:
    """Return the fields that change with new log lines; only lines with room in the document are stored here.

    Args:
        now: the present.
        lines: the lines.
        report: the id of the report that has them; a report that the claim has had already changes nothing.
    """
    room = {"$max": [0, {"$subtract": [INLINE_LOGS, {"$size": array("$logs")}]}]}
    stamped = [
        {"t": now, "attempt": "$attemptsMade", **{name: {"$literal": inner} for name, inner in line.items()}}
        for line in lines
    ]
    joined = {"$concatArrays": [array("$logs"), {"$slice": [stamped, {"$max": [1, room]}]}]}
    count = {"$add": [number("$logCount", 0), len(lines)]}
    changed: Document = {"logs": {"$cond": [{"$gt": [room, 0]}, joined, "$logs"]}, "logCount": count, "logAt": now}
    if report is None:
        return changed
    entry = [{"id": {"$literal": report}, "count": count}]
    changed["claim.reports"] = {"$slice": [{"$concatArrays": [_REPORTS, entry]}, -MOST_REPORTS]}
    ids: Any = {"$map": {"input": _REPORTS, "in": "$$this.id"}}
    is_known = {"$in": [{"$literal": report}, ids]}
    return {field: {"$cond": [is_known, f"${field}", value]} for field, value in changed.items()}


def count_after(document: Mapping[str, Any], report: str | None) -> int:
    """Return the number of lines of a job after a report that was written just now or before."""
    claim = document.get("claim")
    reports = claim.get("reports") if report is not None and isinstance(claim, dict) else None
    for entry in reversed(reports or ()):
        if entry.get("id") == report:
            return int(entry["count"])
    return int(document.get("logCount") or 0)
