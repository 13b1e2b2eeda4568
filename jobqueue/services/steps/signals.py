"""Signals from people and other programs to jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import ConflictError, WrongStateError
from jobqueue.domain.steps import signal as signals
from jobqueue.domain.steps.signal import MOST_WAITING
from jobqueue.domain.text import cut
from jobqueue.journal import get_logger
from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.insight.audit import Audit
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.steps.signals import Arrival

log = get_logger(__name__)
_LONGEST_BY: Final = 200
_PYTHON: Final = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSignal:
    """A signal that a job has.

    Attributes:
        existed: the job had it before.
    """

    job_id: str
    id: str
    name: str
    existed: bool


class Signals:
    """Sends signals to jobs; a job keeps them until one of its steps takes them."""

    def __init__(self, jobs: JobStore, notifier: Notifier, audit: Audit) -> None:
        self._jobs = jobs
        self._store = jobs.signals
        self._notifier = notifier
        self._audit = audit

    async def send(
        self,
        job_id: str,
        name: str,
        value: Any = None,
        *,
        signal_id: str | None = None,
        by: Actor | None = None,
        question: str | None = None,
    ) -> SentSignal:
        """Send a signal to an unfinished job.

        Args:
            job_id: of the job.
            name: of the signal.
            value: JSON, at most 256 KiB.
            signal_id: of this request; a second request of the same id is the same signal.
            by: for the audit.
            question: the step that the signal answers; ``None`` for whichever asks for the name next.

        Raises:
            NotFoundError: there is no job of this id.
            InvalidInputError: the name, the id or the value cannot be used.
            TooLargeError: the value is over its limit.
            WrongStateError: the job has ended.
            ConflictError: a hundred signals of the job wait already, or the question has an answer.
        """
        signals.check_signal(name, "name")
        if signal_id is not None:
            signals.check_signal_id(signal_id)
        stored, size = signals.check_value(value)
        job = await self._jobs.lean(job_id)
        async with self._audit.noting(("job", job_id), "signal", by) as note:
            sender = cut(by.name, _LONGEST_BY) if by is not None else _PYTHON
            more: dict[str, Any] = {"signal_id": signal_id, "by": sender, "question": question}
            known_id, arrival = await self._store.send(job, name, stored, size=size, **more)
            if not arrival.is_kept and not arrival.is_known:
                raise _refusal(job, arrival)
            note.after = {"signal": name, "id": known_id, "value": stored}
            note.discarded = arrival.is_known
        if arrival.is_kept:
            log.info("signal kept", job_id=job_id, signal=name, by=sender)
            # Perhaps it has woken the job.
            self._notifier.tell(Wakeup(kind="ready", queue=job.queue, job_id=job_id))
        return SentSignal(job_id=job_id, id=known_id, name=name, existed=arrival.is_known)

    async def holder(self, queue: str, key: str) -> str:
        """Return the id of the unfinished job of a queue that has a key.

        Raises:
            NotFoundError: there is none.
        """
        return await self._store.holder(queue, key)

    async def is_open(self, job_id: str, question: str, signal: str, signal_id: str) -> bool:
        """Return True if a question of a job has no answer yet, and the job has not ended.

        Args:
            job_id: of the job.
            question: the step that waits for the answer.
            signal: its name.
            signal_id: of the answer.

        Raises:
            NotFoundError: there is no such job.
        """
        return await self._store.is_open(job_id, question, signal, signal_id)


def _refusal(job: Job, arrival: Arrival) -> ConflictError:
    if arrival.state in FINAL:
        return WrongStateError(job.id, arrival.state, "signalled")
    if arrival.is_answered:
        return ConflictError("the question has an answer, or its time is over")
    return ConflictError(f"job {job.id} has {MOST_WAITING} signals that no step has taken: send no more for now")
