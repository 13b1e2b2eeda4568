"""Roles, and scopes: the part of all jobs that a caller can see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from jobqueue.domain.errors import ForbiddenError
from jobqueue.domain.jobs import attributes
from jobqueue.domain.jobs.job import NewJob, as_tuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.job import Children, Job

Role = Literal["read", "enqueue", "decide", "work", "admin"]
CHILD_FIELDS: Final = ("on_complete", "on_success", "on_failure")
NOBODY: Final = "nobody"
"""The name of a caller where no token is needed."""
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The part of all jobs that a caller can see; to the caller, no other job exists.

    Attributes:
        queues: names of queues with ``*`` and ``?`` as in file names; none stand for all queues.
        meta: dotted paths below ``meta``, each with the scalar that a job must have there.
    """

    queues: tuple[str, ...] = ()
    meta: tuple[tuple[str, Any], ...] = ()

    @property
    def is_everything(self) -> bool:
        """True if the scope holds all jobs."""
        return not self.queues and not self.meta

    def has_queue(self, name: str) -> bool:
        """Tell whether jobs of a queue can be in the scope."""
        return not self.queues or any(fnmatchcase(name, glob) for glob in self.queues)

    def has_meta(self, meta: Mapping[str, Any]) -> bool:
        """Tell whether a job with this ``meta`` can be in the scope."""
        if not self.meta:
            return True
        encoded = {attributes.encode(path, value) for path, value in attributes.scalars(meta)}
        return all(attributes.encode(path, value) in encoded for path, value in self.meta)

    def has(self, job: Job) -> bool:
        """Tell whether a job is in the scope."""
        return self.has_queue(job.queue) and self.has_meta(job.meta)

    def holds(self, group: Children) -> bool:
        """Tell whether new jobs and their children can be in the scope."""
        return all(
            self.has_queue(job.queue)
            and self.has_meta(job.meta)
            and all(self.holds(getattr(job, name)) for name in CHILD_FIELDS)
            for job in as_tuple(group)
        )

    def admit(self, new: NewJob) -> NewJob:
        """Return a new job and its children with the ``meta`` of the scope filled in.

        Raises:
            ForbiddenError: the queue or the ``meta`` of a job lies outside of the scope.
        """
        if self.is_everything:
            return new
        if not self.has_queue(new.queue):
            raise ForbiddenError(f"this token is not for the queue {new.queue}")
        inner: dict[str, Any] = {name: self.admit_group(getattr(new, name)) for name in CHILD_FIELDS}
        return replace(new, meta=self.fill(new.meta), **inner)

    def admit_group(self, group: Children) -> Children:
        """Return one or several new jobs as `admit` does."""
        if isinstance(group, NewJob):
            return self.admit(group)
        return None if group is None else tuple(map(self.admit, group))

    def fill(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return a ``meta`` with the values of the scope filled in.

        Raises:
            ForbiddenError: the ``meta`` has another value at a path of the scope.
        """
        if not self.meta:
            return dict(meta)
        filled = dict(meta)
        for path, value in self.meta:
            *above, last = path.split(".")
            place = filled
            for step in above:
                # A copy all the way down: the argument is not changed.
                place[step] = dict(place[step]) if isinstance(place.get(step), dict) else place.get(step, {})
                place = place[step]
                if not isinstance(place, dict):
                    raise ForbiddenError(f"this token is only for jobs whose meta.{path} is {value!r}")
            place.setdefault(last, value)
        if not self._is_all(filled):
            required = ", ".join(f"meta.{path} is {value!r}" for path, value in self.meta)
            raise ForbiddenError(f"this token is only for jobs whose {required}")
        return filled

    def _is_all(self, meta: Mapping[str, Any]) -> bool:
        """Tell whether a ``meta`` has the values of the scope and no other values at their paths, as in a list."""
        encoded: dict[str, set[str | None]] = {}
        for path, value in attributes.scalars(meta):
            encoded.setdefault(path, set()).add(attributes.encode(path, value))
        return all(encoded.get(path) == {attributes.encode(path, value)} for path, value in self.meta)


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The author of a request.

    Attributes:
        name: the name of the token, ``admin`` for the token of the settings, ``nobody`` where no token is needed.
        roles: ``admin`` stands for all roles.
        scope: the jobs that the caller can see.
        token_id: the id of a stored token.
    """

    name: str
    roles: frozenset[Role]
    scope: Scope = EVERYTHING
    token_id: str | None = None

    def may(self, role: Role) -> bool:
        """Tell whether the caller has a role."""
        return role in self.roles or "admin" in self.roles
