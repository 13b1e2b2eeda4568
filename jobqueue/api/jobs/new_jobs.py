"""New jobs read from JSON, with all their mistakes at once."""

from __future__ import annotations

from typing import Any, Final

from jobqueue.api.schemas.fields import sift
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError
from jobqueue.domain.jobs.job import DEEPEST_CHILD, MOST_CHILDREN, NewJob

MOST_JOBS: Final = 10_000
"""Jobs in one request, children included."""
_CHILDREN: Final = {"on_complete": "onComplete", "on_success": "onSuccess", "on_failure": "onFailure"}
_SOME_TYPE: Final = "unknown"


class JobReader:
    """Reads the jobs of a request, at most ``most`` with their children, and gathers their problems."""

    def __init__(self, most: int = MOST_JOBS) -> None:
        self._most = most
        self.problems: Problems = {}
        self._too_large: TooLargeError | None = None
        self._count = 0

    def read(self, value: Any, path: str = "", level: int = 0) -> NewJob | None:
        """Return a job, or ``None`` if it is not acceptable.

        Args:
            value: the JSON of the job.
            path: of the job within the request; empty for the request itself.
            level: the generation, 0 for the job of the request.
        """
        self._count += 1
        if self._count > self._most:
            raise InvalidInputError({path or "body": [f"takes at most {self._most:,} jobs, children included"]})
        if not isinstance(value, dict):
            self._wrong(path, "must be a job")
            return None
        if level > DEEPEST_CHILD:
            self._wrong(path, f"is nested deeper than {DEEPEST_CHILD} generations")
            return None
        values, problems = sift(NewJobSchema, value)
        for name, field in _CHILDREN.items():
            if values.get(name) is not None:
                values[name] = self._children(values[name], _join(path, field), level + 1)
        job: NewJob | None = None
        try:
            job = NewJob(**{"type": _SOME_TYPE, **values})
        except InvalidInputError as error:
            problems = {**error.problems, **problems}
        except TooLargeError as error:
            self._too_large = self._too_large or error
        for field, messages in problems.items():
            self.problems.setdefault(_join(path, field), []).extend(messages)
        return job

    def group(self, value: Any, path: str) -> Any:
        """Return a job or several jobs, in the shape of the JSON."""
        return self._children(value, path, 1)

    def check(self, more: Problems | None = None) -> None:
        """Refuse the request if its jobs or ``more``, the rest of it, have problems.

        Raises:
            InvalidInputError: with all problems.
            TooLargeError: a job is too large, and nothing else is wrong.
        """
        if self.problems or more:
            raise InvalidInputError({**(more or {}), **self.problems})
        if self._too_large is not None:
            raise self._too_large

    def _children(self, value: Any, path: str, level: int) -> Any:
        if isinstance(value, dict):
            return self.read(value, path, level)
        if len(value) > MOST_CHILDREN:
            self._wrong(path, f"takes at most {MOST_CHILDREN} jobs")
            return None
        jobs = [self.read(child, f"{path}.{index}", level) for index, child in enumerate(value)]
        return tuple(job for job in jobs if job is not None) or None

    def _wrong(self, path: str, message: str) -> None:
        self.problems.setdefault(path or "body", []).append(message)


def new_job(value: Any, path: str = "") -> NewJob:
    """Return the only job of a request.

    Args:
        value: the JSON of the job.
        path: of the job within the request.

    Raises:
        InvalidInputError: naming each unacceptable field.
        TooLargeError: data and meta are over their limit.
    """
    reader = JobReader()
    job = reader.read(value, path)
    reader.check()
    if job is None:
        raise InvalidInputError({path or "body": ["must be a job"]})
    return job


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
