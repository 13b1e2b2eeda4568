"""Read many jobs at once in little memory: large jobs come in part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.jobs.late import LEFT_OUT, PartialJob
from jobqueue.store.documents import documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.jobs.job import Job

MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes for the results, logs and histories of all jobs of one read."""
_MARK: Final = "isPartial"


def pipeline(job_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the aggregation of jobs by their ids; each job has an equal share of `MOST_BYTES`."""
    share = MOST_BYTES // max(1, len(job_ids))
    size = {"$bsonSize": {name: f"${name}" for name in LEFT_OUT}}
    return [
        {"$match": {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}, "state": {"$exists": True}}},
        {"$set": {_MARK: {"$gt": [size, share]}}},
        {"$set": {name: {"$cond": [f"${_MARK}", "$$REMOVE", f"${name}"]} for name in LEFT_OUT}},
    ]


def job(document: dict[str, Any]) -> Job:
    """Return the job of a document of this aggregation."""
    read = documents.job(document)
    return PartialJob.of(read) if document[_MARK] else read
