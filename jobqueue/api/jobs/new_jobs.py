"""Jobs to be added, read from JSON with all their mistakes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.schemas.fields import sift
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError
from jobqueue.domain.jobs.job import DEEPEST_CHILD, MOST_CHILDREN, NewJob

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_JOBS: Final = 10_000
"""Jobs in one request, children included."""
_NEW_JOB: Final = NewJobSchema()
_CHILDREN: Final = {"on_complete": "onComplete", "on_success": "onSuccess", "on_failure": "onFailure"}
_SOME_TYPE: Final = "unknown"


class JobReader:
    """Reads the jobs of one request, at most so many with their children, and gathers what is wrong with them."""

    def __init__(self, most: int = MOST_JOBS) -> None:
        self._most = most
        self.problems: Problems = {}
        self._too_large: TooLargeError | None = None
        self._count = 0

    def read(self, given: Any, path: str = "", level: int = 0) -> NewJob | None:
        """Return a job, or ``None`` if it is not acceptable.

        Args:
            given: JSON.
            path: of the job within the request; empty for the request itself.
            level: of which generation it is.
        """
        self._count += 1
        if self._count > self._most:
            raise InvalidInputError({path or "body": [f"takes at most {self._most:,} jobs, children included"]})
        if not isinstance(given, dict):
            self._wrong(path, "must be a job")
            return None
        if level > DEEPEST_CHILD:
            self._wrong(path, f"is nested deeper than {DEEPEST_CHILD} generations")
            return None
        values, problems = sift(_NEW_JOB, given)
        for name, field in _CHILDREN.items():
            if values.get(name) is not None:
                values[name] = self._children(values[name], _join(path, field), level + 1)
        made: NewJob | None = None
        try:
            made = NewJob(**{"type": _SOME_TYPE, **values})
        except InvalidInputError as error:
            problems = {**error.problems, **problems}
        except TooLargeError as error:
            self._too_large = self._too_large or error
        for field, messages in problems.items():
            self.problems.setdefault(_join(path, field), []).extend(messages)
        return made

    def group(self, given: Any, path: str) -> Any:
        """Return one job or several, as they were given."""
        return self._children(given, path, 1)

    def check(self, more: Problems | None = None) -> None:
        """Refuse the request if anything was wrong, there or, in ``more``, elsewhere in it.

        Raises:
            InvalidInputError: with all problems.
            TooLargeError: only that was wrong.
        """
        if self.problems or more:
            raise InvalidInputError({**(more or {}), **self.problems})
        if self._too_large is not None:
            raise self._too_large

    def _children(self, given: Any, path: str, level: int) -> Any:
        if isinstance(given, dict):
            return self.read(given, path, level)
        if len(given) > MOST_CHILDREN:
            self._wrong(path, f"takes at most {MOST_CHILDREN} jobs")
            return None
        read = [self.read(one, f"{path}.{index}", level) for index, one in enumerate(given)]
        return tuple(one for one in read if one is not None) or None

    def _wrong(self, path: str, message: str) -> None:
        self.problems.setdefault(path or "body", []).append(message)


def new_job(given: Mapping[str, Any]) -> NewJob:
    """Return the job of a request.

    Raises:
        InvalidInputError: naming each unacceptable field.
        TooLargeError: data and meta are over their limit.
    """
    reader = JobReader()
    made = reader.read(given)
    reader.check()
    if made is None:
        raise InvalidInputError({"body": ["must be a job"]})
    return made


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
