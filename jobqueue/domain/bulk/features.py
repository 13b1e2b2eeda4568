"""The values of a job that are compared with those of other jobs: short scalars by path, their kinds and lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobqueue.domain.attempts.states import State

MOST_PATHS: Final = 100
"""Values in the ``data`` or ``meta`` of a job; one with more is not looked at."""
LONGEST_TEXT: Final = 200
"""Characters of a text that is compared; of a longer text only the length is."""
ROOTS: Final = ("data", "meta")
_DEEPEST: Final = 6
_MOST_ENTRIES: Final = 20
_LONGEST_PATH: Final = 200
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The last run of a job."""

    start_at: datetime | None = None
    worker: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedJob:
    """A job of a sample.

    Attributes:
        fields: scalars by the names of fields.
        data: the input; ``None`` if it is too large to be looked at.
        meta: as ``data``.
        sizes: bytes of ``data`` and ``meta``.
        waited: seconds from the creation to the first run.
        step: the name of the step that failed.
    """

    id: str
    state: State
    insert_at: datetime
    end_at: datetime | None = None
    fields: Mapping[str, Scalar]
    data: Mapping[str, Any] | None
    meta: Mapping[str, Any] | None
    sizes: Mapping[str, int]
    run: Run = Run()
    waited: float | None = None
    attempts_made: int = 0
    step: str | None = None


class Feature(NamedTuple):
    """A value at a path.

    Attributes:
        kind: ``text``, ``number``, ``flag``, ``null``, ``list``, ``object`` or ``other``.
        value: a scalar that can equal another one; ``None`` of other kinds.
        length: characters or entries.
    """

    path: str
    kind: str
    value: Scalar = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """The features of a job, and the roots that were not looked at."""

    features: tuple[Feature, ...]
    unread: frozenset[str]


def profile(job: ComparedJob) -> Profile:
    """Return the features of a job."""
    run = job.run
    told: dict[str, Scalar] = {"worker": run.worker, "host": host(run.worker), "version": run.version}
    told["waited"] = job.waited
    features = [_scalar(name, value) for name, value in {**job.fields, **told}.items() if value is not None]
    unread = set()
    for root in ROOTS:
        features.append(Feature(root, "object", length=job.sizes.get(root, 0)))
        content = getattr(job, root)
        inner = [] if content is None else _some(_walked(content, root, _DEEPEST), MOST_PATHS + 1)
        if content is None or len(inner) > MOST_PATHS:
            unread.add(root)
        else:
            features += inner
    return Profile(tuple(features), frozenset(unread))


def host(worker: str | None) -> str | None:
    """Return the host of a worker that is named by host, process and a random part."""
    if worker is None:
        return None
    name, *rest = worker.rsplit(":", 2)
    return name if len(rest) == 2 and rest[0].isdecimal() else None  # noqa: PLR2004 - process and random part


def hour(job: ComparedJob) -> tuple[int, datetime] | None:
    """Return the hour of the day in UTC at which the last run of a job began, and that hour itself."""
    began = job.run.start_at
    if began is None:
        return None
    start = began - timedelta(minutes=began.minute, seconds=began.second, microseconds=began.microsecond)
    return start.hour, start


def _some(found: Iterator[Feature], most: int) -> list[Feature]:
    return [feature for feature, _ in zip(found, range(most), strict=False)]


def _walked(value: Any, path: str, depth: int) -> Iterator[Feature]:
    if len(path) > _LONGEST_PATH:
        return
    if isinstance(value, dict):
        if depth and (value or path in ROOTS):
            for name, inner in value.items():
                yield from _walked(inner, f"{path}.{name}", depth - 1)
        else:
            yield Feature(path, "object", length=len(value))
    elif isinstance(value, list):
        yield Feature(path, "list", length=len(value))
        for inner in value[:_MOST_ENTRIES] if depth else ():
            if not isinstance(inner, list):
                yield from _walked(inner, f"{path}[]", depth - 1)
    else:
        yield _scalar(path, value)


def _scalar(path: str, value: Any) -> Feature:
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str):
        return Feature(path, "text", value if len(value) <= LONGEST_TEXT else None, len(value))
    if isinstance(value, bool):
        return Feature(path, "flag", value)
    if value is None:
        return Feature(path, "null")
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return Feature(path, "number", value)
    return Feature(path, "other")
