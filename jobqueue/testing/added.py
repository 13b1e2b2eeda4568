"""Find the jobs that a test expects, and say what was added instead."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.processors.callbacks import value_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job

_MOST_SHOWN: Final = 10
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedJob:
    """A job that a test expects.

    Attributes:
        type: of the job.
        data: values that its data has, by name.
        meta: values that its meta has, by name.
        queue: of the job; ``None`` for any.
    """

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    queue: str | None = None

    def __str__(self) -> str:
        parts = [f"data.{name} = {value!r}" for name, value in self.data.items()]
        parts += [f"meta.{name} = {value!r}" for name, value in self.meta.items()]
        of_queue = f" of queue {self.queue!r}" if self.queue is not None else ""
        return f"of type {self.type!r}{of_queue}" + (f" with {', '.join(parts)}" if parts else "")

    def counted(self, found: Sequence[Job]) -> str:
        """Return how many jobs were found, for messages."""
        return f"{len(found) or 'no'} {'jobs' if len(found) > 1 else 'job'} {self}"

    def differences(self, job: Job) -> list[str]:
        """Return the ways in which a job of the type is not as expected."""
        found = []
        if self.queue is not None and job.queue != self.queue:
            found.append(f"queue is {job.queue!r}")
        return [*found, *_different("data", self.data, job.data), *_different("meta", self.meta, job.meta)]

    def among(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs that are as expected."""
        return [job for job in jobs if job.type == self.type and not self.differences(job)]

    def told(self, jobs: Sequence[Job]) -> str:
        """Return the jobs that were added, those of the type with their differences."""
        same = [job for job in jobs if job.type == self.type]
        lines = [f"  {job.id}: {'; '.join(self.differences(job)) or 'as expected'}" for job in same[:_MOST_SHOWN]]
        if len(same) > _MOST_SHOWN:
            lines.append(f"  … and {len(same) - _MOST_SHOWN:,} more")
        lines = [f"added of type {self.type!r}:", *lines] if same else []
        others = Counter(f"{job.type!r} of queue {job.queue!r}" for job in jobs if job.type != self.type)
        if others:
            lines.append(
                "added of other types: " + ", ".join(f"{count} {name}" for name, count in others.most_common())
            )
        return "\n".join(lines) or "no job was added at all"


def expected(kind: Any, data: Mapping[str, Any], meta: Mapping[str, Any] | None, queue: str | None) -> ExpectedJob:
    """Return the job that is expected, from a type or a task."""
    name = kind if isinstance(kind, str) else kind.name
    return ExpectedJob(
        type=name,
        data={key: value_types.to_json(value) for key, value in data.items()},
        meta={key: value_types.to_json(value) for key, value in (meta or {}).items()},
        queue=queue,
    )


def _different(where: str, wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        if name not in there:
            yield f"{where}.{name} is missing"
        elif there[name] != value or isinstance(there[name], bool) != isinstance(value, bool):
            yield f"{where}.{name} is {_short(there[name])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
