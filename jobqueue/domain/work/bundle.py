"""Bundles of jobs: read from a file that anybody may have written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from jobqueue.domain.durations import is_number
from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.steps.call import ChildFailure
from jobqueue.domain.text import cut, told, type_name
from jobqueue.domain.values.checks import is_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.jobs.job import Job

FORMAT: Final = 1
"""The version of the form of bundles."""
MOST_BYTES: Final = 128 * 1024 * 1024
_LISTS: Final = ("logs", "doubts", "children", "redacted", "cut")
_OBJECTS: Final = ("job", "results", "childFailures", "queue")
_LONGEST_REASON: Final = 200


class BadBundleError(JobQueueError):
    """Report that a file is no bundle that this version reads; the message is one line."""

    slug = "bad-bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A job as it was, and what its handler has to know of the system that it comes from.

    Attributes:
        fingerprint: of the error of the job; ``None`` without an error.
        results: of finished steps, by name.
        doubts: steps that must not run twice, of which nobody knows whether they have happened.
        child_failures: failed children by the name of the step that awaits them.
        parent: of the job, if it has one that is known.
        children: of the job.
        queue: the configuration of its queue, with masks.
        redacted: the places at which something was left out on purpose.
        cut: sentences about what was left out for its size.
    """

    job: Job
    made_at: str = ""
    version: str = ""
    fingerprint: str | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    child_failures: Mapping[str, ChildFailure] = field(default_factory=dict)
    parent: Job | None = None
    children: tuple[Job, ...] = ()
    queue: Mapping[str, Any] = field(default_factory=dict)
    redacted: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()

    @classmethod
    def read(cls, content: bytes) -> Bundle:
        """Return the bundle that a file has.

        Raises:
            BadBundleError: the content is none; the message says why.
        """
        if len(content) > MOST_BYTES:
            raise BadBundleError(f"it has {len(content):,} bytes, and a bundle has {MOST_BYTES:,} at most")
        try:
            form = orjson.loads(content)
        except ValueError as error:
            raise BadBundleError(f"it is not JSON: {_short(error)}") from None
        return cls.of(form)

    @classmethod
    def of(cls, form: Any) -> Bundle:
        """Return the bundle of a JSON value; raises as `read`."""
        if not isinstance(form, dict) or "bundle" not in form:
            raise BadBundleError("it is JSON, but no bundle: jobqueue bundle ID writes one")
        if type(form["bundle"]) is not int or form["bundle"] != FORMAT:
            raise BadBundleError(f"it has the format {_short(form['bundle'])}, and this version reads {FORMAT}")
        for name in _OBJECTS:
            if not isinstance(form.get(name), dict):
                raise BadBundleError(f"{name} is no object")
        for name in _LISTS:
            if not isinstance(form.get(name), list):
                raise BadBundleError(f"{name} is no list")
        return cls(
            job=_job(form["job"], "job"),
            made_at=_text(form.get("madeAt")),
            version=_text(form.get("version")),
            fingerprint=form["fingerprint"] if isinstance(form.get("fingerprint"), str) else None,
            results=form["results"],
            doubts=_texts(form["doubts"]),
            child_failures=_failures(form["childFailures"]),
            parent=None if form.get("parent") is None else _job(form["parent"], "parent"),
            children=tuple(_job(child, f"children.{place}") for place, child in enumerate(form["children"])),
            queue=form["queue"],
            redacted=_texts([each.get("path") for each in form["redacted"] if isinstance(each, dict)]),
            cut=_texts(form["cut"]),
        )

    def processor(self) -> Mapping[str, Any] | None:
        """Return the webhook or the command that the queue runs for the job; ``None`` for a handler in Python."""
        processors = self.queue.get("processors")
        if not isinstance(processors, dict):
            return None
        found = processors.get(self.job.type, processors.get("*"))
        return found if isinstance(found, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    """Return the texts of a list; the text of another value can be of any depth and length."""
    return tuple(value for value in values if isinstance(value, str))


def _job(form: Any, path: str) -> Job:
    """Return a job of a bundle.

    Raises:
        BadBundleError: it is none, or its parts are not of their types.
    """
    if not isinstance(form, dict):
        raise BadBundleError(f"{path} is no job")
    try:
        job = json_reading.job({"data": {}, "logs": [], "history": [], **form})
    except Exception as error:  # noqa: BLE001 - a stranger may have put anything at any place
        raise BadBundleError(f"{path} is no job: {_short(error, with_kind=True)}") from None
    if not _is_sound(job):
        raise BadBundleError(f"{path} is no job: a field has a value of another type")
    return job


def _is_sound(job: Any) -> bool:
    """Tell whether the parts of a job that a replay uses are of their types."""
    texts = (job.queue, job.type)
    numbers = (job.attempts, job.attempts_made)
    steps = job.steps or ()
    return (
        isinstance(job.id, str)
        and is_id(job.id)
        and all(isinstance(text, str) for text in texts)
        and all(type(number) is int and 0 <= number < 2**31 for number in numbers)
        and isinstance(job.data, dict)
        and isinstance(job.meta, dict)
        and all(isinstance(step.name, str) and type(step.attempt) is int and type(step.tries) is int for step in steps)
        and all(isinstance(parent, dict) for parent in job.parents or ())
        and (job.timeout is None or (is_number(job.timeout) and job.timeout > 0))
    )


def _failures(forms: Mapping[str, Any]) -> dict[str, ChildFailure]:
    failures = {name: ChildFailure.read(form) for name, form in forms.items()}
    return {name: failure for name, failure in failures.items() if failure is not None}


def _short(value: Any, *, with_kind: bool = False) -> str:
    text = " ".join(told(value).split()) or type_name(value)
    kind = f"{type_name(value)}: " if with_kind else ""
    return cut(f"{kind}{text}", _LONGEST_REASON)
