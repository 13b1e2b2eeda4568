"""Check changes of the fields of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.attributes import attributes
from jobqueue.domain.jobs.job import check_content
from jobqueue.domain.values.checks import check_number
from jobqueue.domain.values.iso8601 import aware

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.job import Job

PATCHABLE: Final = frozenset(
    {"data", "meta", "priority", "delay_til", "start_before", "attempts", "backoff", "lease", "timeout"}
)
REQUEUE_CHANGES: Final = frozenset({"data", "attempts", "backoff", "priority"})


def requeue_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of a requeue as document fields.

    Raises:
        InvalidInputError: naming each unacceptable field.
        TooLargeError: the data is over its limit.
    """
    return checked(changes, REQUEUE_CHANGES)


def checked(changes: Mapping[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    """Return changes as document fields.

    Raises:
        InvalidInputError: naming each field.
        TooLargeError: data or meta are over their limit.
    """
    problems: Problems = {json_form.camel(name): ["cannot be changed"] for name in changes if name not in allowed}
    fields: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in allowed:
            continue
        try:
            fields[json_form.camel(name)] = _value(name, value)
        except InvalidInputError as error:
            problems.update(error.problems)
    if problems:
        raise InvalidInputError(problems)
    if "meta" in fields:
        fields["attrs"] = attributes(fields["meta"])
    return fields


def check_limit_after(job: Job, fields: Mapping[str, Any]) -> None:
    """Make sure that a changed job can start before its limit.

    Raises:
        InvalidInputError: the job would be due after its limit.
    """
    due, limit = fields.get("delayTil", job.delay_til), fields.get("startBefore", job.start_before)
    if {"delayTil", "startBefore"} & fields.keys() and due is not None and limit is not None and limit < due:
        raise InvalidInputError({"startBefore": ["is before delayTil: the job could never start"]})


def _value(name: str, value: Any) -> Any:
    if name in {"data", "meta"}:
        return check_content(value, name)
    if name == "backoff":
        return backoffs.parse(value).wire()
    if name in {"delay_til", "start_before"}:
        return None if value is None else aware(value, json_form.camel(name))
    if value is not None or name != "timeout":
        check_number(name, value)
    return value
