"""The states of a job, the legal changes of state, and the outcomes of attempts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class State(StrEnum):
    """The six states of a job."""

    PENDING = "pending"
    PROCESSING = "processing"
    DELAYED = "delayed"
    SUCCESS = "success"
    FAILED = "failed"
    KILLED = "killed"


FINAL: Final = frozenset({State.SUCCESS, State.FAILED, State.KILLED})
"""States of ended jobs, which only a requeue by a person changes."""
WAITING: Final = frozenset({State.PENDING, State.DELAYED})
UNFINISHED: Final = WAITING | {State.PROCESSING}
LEGAL: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.PENDING: frozenset({State.PROCESSING, State.DELAYED, State.KILLED}),
        State.DELAYED: frozenset({State.PENDING, State.KILLED}),
        State.PROCESSING: frozenset({State.PENDING, State.DELAYED, State.SUCCESS, State.FAILED, State.KILLED}),
        State.SUCCESS: frozenset({State.PENDING}),
        State.FAILED: frozenset({State.PENDING, State.DELAYED}),
        State.KILLED: frozenset({State.PENDING, State.DELAYED}),
    }
)
"""The states that each state may become; every other change is a mistake."""
FAILURES: Final = (State.FAILED, State.KILLED)
"""The states of failures."""


class Outcome(StrEnum):
    """The end of an attempt, as the history keeps it."""

    SUCCESS = "success"
    FAIL = "fail"
    DIE = "die"
    RETRY = "retry"
    SUSPEND = "suspend"
    HANGING = "hanging"
    TIMEOUT = "timeout"
    CRASH = "crash"
    KILL = "kill"
    RELEASE = "release"
    REQUEUE = "requeue"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStanding:
    """The state of a job right after a change; ``delay_til`` is the due date of a delayed job, if it has one."""

    state: State
    delay_til: datetime | None = None
