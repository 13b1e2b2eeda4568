"""Operations: changes of many jobs that go on after their request, and their progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.attempts.states import FAILURES, FINAL, UNFINISHED, WAITING, State
from jobqueue.domain.bulk.erasure import without_values
from jobqueue.domain.bulk.rules import NO_RESULTS, NO_RULES, Results, Rules, Stopped, Watched
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.job import check_content
from jobqueue.domain.search.filters import compile_filter
from jobqueue.domain.steps.step import UNFORGOTTEN, FromStep, as_json, check_name
from jobqueue.domain.values.checks import gather

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job

MOST_FAILURES: Final = 100
"""Failed jobs that an operation names with a reason."""
LONGEST_REASON: Final = 1000


class Action(StrEnum):
    """The change that an operation makes to each job."""

    REQUEUE = "requeue"
    KILL = "kill"
    DELETE = "delete"
    ERASE = "erase"
    UNKNOWN = "unknown"
    """None, since another tool has spoilt the operation, or a newer version has made it."""

    @classmethod
    def of(cls, word: object) -> Action:
        """Return the action of a word, for jobs that any filter may choose.

        Raises:
            InvalidInputError: there is no such action.
        """
        words = [action.value for action in cls if action not in {cls.ERASE, cls.UNKNOWN}]
        if isinstance(word, str) and word in words:
            return cls(word)
        raise InvalidInputError({"action": [f"must be one of {', '.join(words)}"]})


class Stage(StrEnum):
    """The stage of an operation."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


_TAKES: Final[Mapping[Action, frozenset[State]]] = MappingProxyType(
    {
        Action.REQUEUE: FINAL | {State.DELAYED},
        Action.KILL: UNFINISHED,
        Action.DELETE: FINAL | WAITING,
        Action.ERASE: FINAL,
        Action.UNKNOWN: frozenset(),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperation:
    """An operation to be started: an action, the jobs it is for, and its author.

    Attributes:
        filter: a MongoDB filter as JSON.
        fingerprint: only failures of this group.
        all: an empty filter is meant.
        changes: fields of the job that a requeue replaces, as in its document.
        reason: the reason of a kill.
        scope: the jobs that the author can see.
        from_step: the first step that runs again after a requeue, as in `step.to_forget`.
        data_patch: a JSON merge patch of the data of each job that is requeued.
        rules: a trial, a pace, and an end after failures.
    """

    action: Action
    by: Actor
    filter: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    all: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    scope: Scope = EVERYTHING
    from_step: FromStep = UNFORGOTTEN
    data_patch: Mapping[str, Any] | None = None
    rules: Rules = NO_RULES

    def check(self) -> None:
        """Check a new operation; a stored operation is not checked again.

        Raises:
            InvalidInputError: the filter is not acceptable, or empty without ``all``; or a field does not go with the
                action.
        """
        problems: Problems = {}
        gather(problems, compile_filter, dict(self.filter))
        if not self.filter and self.fingerprint is None and not self.all:
            problems["filter"] = ['is empty, which is all jobs: say "all": true if that is meant']
        if self.action is Action.ERASE and not self.filter:
            problems["meta"] = ["is empty: nobody erases all jobs"]
        if self.filter and self.all:
            problems["all"] = ["is said together with a filter: leave one of them out"]
        if self.action is not Action.REQUEUE:
            patch = () if self.data_patch is None else ("dataPatch",)
            given = (*self.changes, *as_json(self.from_step), *self.rules.given, *patch)
            problems |= {name: [f"cannot be given to {self.action}"] for name in given}
        else:
            self._check_requeue(problems)
        reason: Any = self.reason
        if reason is not None and self.action is not Action.KILL:
            problems["reason"] = [f"cannot be given to {self.action}"]
        elif reason is not None and not isinstance(reason, str):
            problems["reason"] = ["must be text"]
        elif reason is not None and not 1 <= len(reason) <= LONGEST_REASON:
            problems["reason"] = [f"must be 1 to {LONGEST_REASON} characters"]
        if problems:
            raise InvalidInputError(problems)

    def _check_requeue(self, problems: Problems) -> None:
        gather(problems, self.rules.check)
        if self.from_step is not None and self.from_step is not UNFORGOTTEN:
            gather(problems, check_name, self.from_step, "fromStep")
        if self.data_patch is not None:
            gather(problems, check_content, self.data_patch, "dataPatch")
            if "data" in self.changes:
                problems.setdefault("dataPatch", []).append("is said together with data: leave one of them out")

    @property
    def states(self) -> frozenset[State]:
        """States of the jobs to change. A requeue takes jobs that succeeded or wait only if the filter names states."""
        if self.action is Action.REQUEUE and not _names(self.filter, "state"):
            return frozenset(FAILURES)
        return _TAKES[self.action]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A stored operation.

    Attributes:
        by: the author.
        matched: jobs that matched at the beginning, as far as they were counted; ``None`` if the count took too long.
        is_exact: ``matched`` is the whole number.
        done: jobs that were changed.
        skipped: jobs that did not match any more when their turn came.
        failed: jobs that could not be changed; ``failures`` has the reasons of the first `MOST_FAILURES`.
        error: the reason why the whole operation failed.
        position: the date and the id of the last job that was chosen.
        chosen: jobs whose turn it is; they are still to be counted, also when the operation was stopped meanwhile.
        left: jobs that had been chosen at a stop, and were left alone.
        ahead: jobs dated ahead of the present have their turn; jobs of the past follow.
        soon: the end of the present at which the jobs were chosen; ``None`` before, and in an older version.
        receipt: the numbers of what an erasure has erased, and the names of what it has left; ``None`` before its end.
        is_trial: only jobs of the trial were changed so far.
        watched: requeued jobs that have not ended yet as far as is known; only with rules.
        counts: the results of the other requeued jobs.
        failed_again: the first jobs that failed again, with their errors.
        forgiven: jobs that had failed again before the operation was resumed.
        exhausted: no more jobs come; some have not ended yet.
        turn_at: the time of the next job, at so many a minute.
        news_at: the time of the last change.
        held_at: the time at which its holder has taken it, or has changed it last.
    """

    id: str
    new: NewOperation
    by: Mapping[str, Any]
    insert_at: datetime
    end_at: datetime | None
    stage: Stage
    matched: int | None
    is_exact: bool
    done: int = 0
    skipped: int = 0
    failed: int = 0
    failures: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    position: tuple[datetime, str] | None = None
    chosen: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    ahead: bool = False
    soon: datetime | None = None
    receipt: Mapping[str, Any] | None = None

    @property
    def shown_filter(self) -> Any:
        """The filter as people may see it: an erasure names no value that it erases."""
        return without_values(self.new.filter) if self.new.action is Action.ERASE else self.new.filter

    is_trial: bool = False
    watched: tuple[Watched, ...] = ()
    counts: Results = NO_RESULTS
    failed_again: tuple[Mapping[str, Any], ...] = ()
    forgiven: int = 0
    exhausted: bool = False
    turn_at: datetime | None = None
    news_at: datetime | None = None
    held_at: datetime | None = None
    stopped: Stopped | None = None

    @property
    def results(self) -> Results | None:
        """The results of its jobs; ``None`` unless it watches them."""
        return replace(self.counts, unfinished=len(self.watched)) if self.new.rules.watches else None

    @property
    def is_counting(self) -> bool:
        """True while changed jobs are still to be counted."""
        return bool(self.chosen)

    @property
    def reason(self) -> str:
        """The message in the error of a killed job."""
        return self.new.reason or "killed by a person"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasurePreview:
    """The jobs that an erasure would erase.

    Attributes:
        matched: their number as `Operation` has it, with ``is_exact``.
        samples: a few of them.
        left: the names of what the erasure leaves: unfinished jobs, open batches, schedules and tokens.
        action: ``erase``.
    """

    matched: int | None
    is_exact: bool
    samples: tuple[Job, ...]
    left: Mapping[str, Any]
    action: Action = Action.ERASE


@dataclass(slots=True, kw_only=True)
class Tally:
    """The results of some jobs of an operation.

    Attributes:
        left: jobs whose turn had come, and that were left alone because of a stop.
        watched: changed jobs of an operation that watches them.
    """

    done: int = 0
    skipped: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)


def _names(value: Any, name: str) -> bool:
    """Tell whether a filter names a field anywhere."""
    if isinstance(value, Mapping):
        return name in value or any(_names(inner, name) for inner in value.values())
    return isinstance(value, list | tuple) and any(_names(inner, name) for inner in value)
