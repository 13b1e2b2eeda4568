"""Entity tags of jobs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import orjson

from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job

_LENGTH: Final = 20
_BETWEEN: Final = "-"


def tag(job: Job) -> str:
    """Return the strong tag of a job, which changes with any field of the job's JSON form."""
    # An id by another tool may be a number beyond 64 bit, which becomes text here.
    whole = orjson.dumps(json_form.job(job), default=str)
    return _BETWEEN.join((phase(job), hashlib.sha256(whole).hexdigest()[:_LENGTH]))


def phase(job: Job) -> str:
    """Return the part of the tag that changes with the state, the attempt or the progress of the job."""
    parts = (job.id, job.run, job.state.value, job.attempts_made, len(job.history), job.progress)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:_LENGTH]


def phase_of(tag_: str) -> str:
    """Return the `phase` part of a tag."""
    return tag_.partition(_BETWEEN)[0]
