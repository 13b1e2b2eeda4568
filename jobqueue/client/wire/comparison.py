"""The reply about traits that failed jobs have in common, as typed values."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations

import msgspec


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class LookedView(_View, frozen=True):
    """A sample.

    Attributes:
        how: its choice in words.
        first_at: the creation of its oldest job.
        last_at: the creation of its newest job.
    """

    count: int
    how: str
    first_at: datetime | None = None
    last_at: datetime | None = None


class LikenessView(_View, frozen=True):
    """A test of one field that jobs pass; ``text`` has it in words."""

    field: str
    test: str
    text: str
    value: str | int | float | bool | None = None


class TraitView(LikenessView, frozen=True, kw_only=True):
    """A trait by which failed jobs differ from those that succeeded, with the numbers of jobs that have it.

    Attributes:
        failed_of: failed jobs whose value is known.
        alike: traits of other fields that the same jobs have.
    """

    failed: int
    failed_of: int
    succeeded: int
    succeeded_of: int
    alike: list[LikenessView]


class TallyView(_View, frozen=True):
    """The number of failed jobs with a value."""

    value: str | int
    count: int


class BeginningView(_View, frozen=True):
    """The end of the oldest failed job, ``seconds`` after its version was first seen."""

    at: datetime
    version: str
    seen_at: datetime
    before_at: datetime
    seconds: float


class FailureComparisonView(_View, frozen=True):
    """The comparison of the failed jobs of a group with jobs of the same type that succeeded.

    Attributes:
        verdict: ``found``, ``nothing`` or ``tooFew``; ``message`` says it in words.
        traits: the greatest difference first.
        steps: the steps in which jobs failed.
        false_alarm: the probability of any trait where there is no cause, at most.
        unread: jobs whose ``data`` or ``meta`` is too large to be looked at.
        is_complete: false if reading took too long, so that the samples are smaller.
    """

    fingerprint: str
    type: str
    verdict: str
    message: str
    failed: LookedView
    succeeded: LookedView
    traits: list[TraitView]
    steps: list[TallyView]
    attempts_made: list[TallyView]
    fields: int
    comparisons: int
    false_alarm: float
    unread: int
    is_complete: bool
    queue: str | None = None
    began: BeginningView | None = None
