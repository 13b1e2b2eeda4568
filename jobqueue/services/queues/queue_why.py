"""Explain why nothing starts in a queue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.queues.queue import paused_text
from jobqueue.services.queues.explain import EXPIRY, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.services.queues.explain import Explainer
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.queues.heads import HeadStore

_MOST_TYPES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueWhy:
    """The reasons of the jobs that come first in a queue, one for each type.

    Attributes:
        reasons: each with the ``types`` that it concerns, and the id of a ``job``; none if jobs may start now.
        next_start_at: the earliest time at which a job can start, as far as known.
    """

    queue: str
    reasons: tuple[Reason, ...]
    next_start_at: datetime | None


class QueueExplainer:
    """Finds the reasons for which no job of a queue starts."""

    def __init__(self, explainer: Explainer, heads: HeadStore, configs: QueueConfigs) -> None:
        self._explainer = explainer
        self._heads = heads
        self._configs = configs

    async def why(self, queue: str, scope: Scope = EVERYTHING) -> QueueWhy:
        """Return the reasons, each once.

        Args:
            queue: the name of a queue, configured or not.
            scope: of the caller; as `Explainer.why`.
        """
        heads = await self._heads.of(queue, scope, _MOST_TYPES)
        if not heads:
            return await self._idle(queue, scope)
        known: dict[tuple[str, str], Reason] = {}
        starts: list[datetime | None] = []
        for kind, job_id in heads:
            try:
                why = await self._explainer.why(job_id, scope)
            except NotFoundError:
                continue
            reasons = [reason for reason in why.reasons if reason.kind != EXPIRY]
            if not reasons:
                # A job of this type may be claimed at any moment.
                continue
            starts.append(why.next_start_at)
            for reason in reasons:
                place = reason.kind, reason.message
                first = known.get(place) or replace(reason, details={**reason.details, "types": [], "job": job_id})
                known[place] = replace(first, details={**first.details, "types": [*first.details["types"], kind]})
        dates = [start for start in starts if start is not None]
        earliest = min(dates) if dates and len(dates) == len(starts) else None
        return QueueWhy(queue=queue, reasons=tuple(known.values()), next_start_at=earliest)

    async def _idle(self, queue: str, scope: Scope) -> QueueWhy:
        """Return the reason of a queue without pending jobs."""
        reasons: list[Reason] = []
        config = await self._configs.fresh(queue)
        if config.paused:
            reasons.append(Reason(kind="paused", message=paused_text(queue, config)))
        due = await self._heads.next_due(queue, scope)
        details: dict[str, Any] = {} if due is None else {"at": json_form.date(due)}
        later = "" if due is None else f"; the next delayed one is due at {details['at']}"
        reasons.append(Reason(kind="empty", message=f"no job of the queue is pending{later}", details=details))
        return QueueWhy(queue=queue, reasons=tuple(reasons), next_start_at=due)
