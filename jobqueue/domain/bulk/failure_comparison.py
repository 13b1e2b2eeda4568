"""The comparison of the failed jobs of a group with others, with the samples, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from jobqueue.domain.bulk.comparison import LEAST_JOBS, Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.domain.bulk.features import ComparedJob

_SOON: Final = timedelta(hours=12)
_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


class Verdict(StrEnum):
    """The outcome of a comparison."""

    FOUND = "found"
    NOTHING = "nothing"
    TOO_FEW = "tooFew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A sample.

    Attributes:
        how: its choice in words.
        first_at: the creation of its oldest job.
        last_at: the creation of its newest job.
    """

    count: int
    how: str
    first_at: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """The end of the oldest job of a group, soon after the first run of the version that it ran in.

    Attributes:
        at: the end of the job.
        version: of its program.
        seen_at: the first run of this version among the jobs that were looked at.
        before_at: the last run of another version before that.
    """

    at: datetime
    version: str
    seen_at: datetime
    before_at: datetime

    @property
    def seconds(self) -> float:
        """The time between the two."""
        return (self.at - self.seen_at).total_seconds()

    @property
    def sentence(self) -> str:
        """The beginning in words."""
        return f"the oldest one failed {duration(self.seconds)} after version {self.version} was first seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureComparison:
    """The comparison of the failed jobs of a group with jobs of the same type that succeeded.

    Attributes:
        queue: of all jobs, if it was asked for.
        is_complete: False if reading took too long, so that the samples are smaller.
    """

    fingerprint: str
    type: str
    queue: str | None
    failed: Looked
    succeeded: Looked
    began: Beginning | None
    found: Comparison
    is_complete: bool

    @property
    def verdict(self) -> Verdict:
        """The outcome."""
        if self.found.traits:
            return Verdict.FOUND
        return Verdict.NOTHING if self.found.is_enough else Verdict.TOO_FEW

    @property
    def message(self) -> str:
        """The outcome in words."""
        told = [_sentence(self.found.traits[0].sentence if self.found.traits else self._nothing)]
        if self.began is not None:
            told.append(_sentence(self.began.sentence))
        return " ".join(told)

    @property
    def _nothing(self) -> str:
        failed, succeeded = self.failed.count, self.succeeded.count
        if self.found.is_enough:
            return "nothing stands out"
        if not self.is_complete:
            return "there was no time to read enough jobs to compare"
        if not failed:
            return "no failed job of the group is among the jobs that were looked at"
        if not succeeded:
            return (
                f"no job of the type {self.type} that succeeded was found{self._here}: there is nothing to compare with"
            )
        numbers = f"{_jobs(failed)} failed and {succeeded:,} that succeeded"
        if min(failed, succeeded) < LEAST_JOBS:
            return f"too few jobs to compare: {numbers}; {LEAST_JOBS} of each are needed"
        return f"too few jobs to tell a cause from chance: {numbers}, and {self.found.comparisons:,} comparisons"

    @property
    def _here(self) -> str:
        return "" if self.queue is None else f" in the queue {self.queue}"


def beginning(first: Sequence[ComparedJob], others: Sequence[ComparedJob]) -> Beginning | None:
    """Return the beginning of a group if its version was new then: shortly before, runs had another one.

    Args:
        first: the oldest job of the group, and others that were added just before it.
        others: further jobs.
    """
    oldest = first[0] if first else None
    if oldest is None or oldest.end_at is None or oldest.run.version is None:
        return None
    version = oldest.run.version
    runs = sorted(
        (job.run.start_at, job.run.version)
        for job in (*first, *others)
        if job.run.start_at is not None and job.run.version is not None
    )
    seen_at = next((start for start, of in runs if of == version), None)
    before = [start for start, of in runs if of != version and seen_at is not None and start < seen_at]
    if seen_at is None or not before or not timedelta(0) <= oldest.end_at - seen_at <= _SOON:
        return None
    # A version that may be much older than the first run that was looked at was not new.
    if seen_at - before[-1] > max(oldest.end_at - seen_at, _SOON / 12):
        return None
    return Beginning(at=oldest.end_at, version=version, seen_at=seen_at, before_at=before[-1])


def duration(seconds: float) -> str:
    """Return a time as a number of its largest unit."""
    for name, length in _UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a second"


def _jobs(count: int) -> str:
    return f"{count:,} job that" if count == 1 else f"{count:,} jobs that"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
