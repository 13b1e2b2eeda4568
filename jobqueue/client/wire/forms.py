"""The JSON of requests: new jobs, members of batches, changes, and filters of listings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.json_form import camel, children, date
from jobqueue.domain.jobs.json_form import new_job as new_form
from jobqueue.domain.jobs.json_form import value as json_value
from jobqueue.domain.search.filter_values import filter_json
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.domain.steps.step import FromStep, as_json
from jobqueue.domain.values.iso8601 import aware

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.domain.search.query import JobQuery
    from jobqueue.domain.workflow.batch import Member, NewBatch
    from jobqueue.domain.workflow.batch_query import BatchQuery

_AT_ONCE: Final = 100


async def new_job_forms(jobs: Sequence[NewJob]) -> list[dict[str, Any]]:
    """Return new jobs as JSON; other calls have their turn meanwhile."""
    forms = []
    for place, job in enumerate(jobs):
        forms.append(new_form(job))
        if place % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return forms


async def batch_form(batch: NewBatch) -> dict[str, Any]:
    """Return a new batch as JSON.

    Raises:
        InvalidInputError: it has ``queues``, which follow from the token of the caller.
    """
    if batch.queues:
        raise InvalidInputError({"queues": ["follow from the token: leave them out"]})
    events = {name: children(getattr(batch, name)) for name in ("on_complete", "on_success", "on_failure")}
    return {
        "jobs": await member_forms(batch.members),
        "meta": json_value(dict(batch.meta)),
        "sealed": batch.sealed,
        **{camel(name): jobs for name, jobs in events.items() if jobs is not None},
    }


async def member_forms(members: Sequence[Member]) -> list[dict[str, Any]]:
    """Return jobs of a batch as JSON."""
    forms = await new_job_forms([member.job for member in members])
    return [_member(form, member) for form, member in zip(forms, members, strict=True)]


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields of a body that are not ``None``."""
    return {name: value for name, value in fields.items() if value is not None}


def job_form(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of a job as JSON; their names are those of Python.

    Raises:
        InvalidInputError: a date has no time zone, or a backoff cannot be read.
    """
    return {camel(name): _changed(name, value) for name, value in changes.items()}


def requeue_form(from_step: FromStep, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a requeue."""
    return {**job_form(changes), **as_json(from_step)}


def query_form(query: JobQuery) -> dict[str, Any]:
    """Return a query as parameters of a listing."""
    meta = {f"meta.{path}": text for path, text in query.meta}
    return {
        "queue": query.queue,
        "type": query.type,
        "state": query.states,
        "batchId": query.batch_id,
        "parentId": query.parent_id,
        "schedule": query.schedule,
        "fingerprint": query.fingerprint,
        **meta,
        "insertedAfter": query.inserted_after,
        "insertedBefore": query.inserted_before,
        "q": query.text,
        "waiting": query.waiting,
        "sort": "insertAt" if query.oldest_first else None,
        "slow": query.slow,
        "limit": query.limit,
    }


def batch_query_form(query: BatchQuery) -> dict[str, Any]:
    """Return a query as parameters of a listing of batches."""
    meta = {f"meta.{path}": text for path, text in query.meta}
    return {"state": query.state, "type": query.type, "failed": query.failed, **meta, "limit": MOST_LISTED}


def _member(form: dict[str, Any], member: Member) -> dict[str, Any]:
    after = [*member.after, *form.pop("dependsOn", ())]
    more = {"ref": member.ref, "dependsOn": after, "blocks": list(member.blocks)}
    return form | {name: value for name, value in more.items() if value}


def _changed(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "backoff":
        return backoffs.parse(value).wire()
    return date(aware(value, camel(name))) if name in {"delay_til", "start_before"} else json_value(value)


def search_form(
    query: Mapping[str, Any] | None, sort: Mapping[str, int] | None, limit: int, *, slow: bool
) -> dict[str, Any]:
    """Return the body of a search."""
    form = given(filter=filter_json(query or {}, "filter") or None, sort=sort and dict(sort))
    return {**form, "limit": limit, **({"slow": True} if slow else {})}
