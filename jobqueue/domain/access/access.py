"""Who may do what: roles, and the part of all jobs that a caller can see at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from jobqueue.domain.errors import ForbiddenError
from jobqueue.domain.jobs import attributes
from jobqueue.domain.jobs.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.job import Children, Job

Role = Literal["read", "enqueue", "work", "admin"]
CHILD_FIELDS: Final = ("on_complete", "on_success", "on_failure")
NOBODY: Final = "nobody"
"""The name of a caller where no token is needed."""
ROLES: Final[tuple[Role, ...]] = get_args(Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The part of all jobs that a caller can see; for what lies outside, it is as if it did not exist.

    Attributes:
        queues: names of queues with ``*`` and ``?`` as in file names; none stand for all queues.
        meta: dotted paths below ``meta`` with the scalars that a job must have there, all of them.
    """

    queues: tuple[str, ...] = ()
    meta: tuple[tuple[str, Any], ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether it holds all jobs."""
        return not self.queues and not self.meta

    def has_queue(self, name: str) -> bool:
        """Tell whether jobs of a queue can be in it."""
        return not self.queues or any(fnmatchcase(name, glob) for glob in self.queues)

    def has_meta(self, meta: Mapping[str, Any]) -> bool:
        """Tell whether a job with such a ``meta`` can be in it."""
        if not self.meta:
            return True
        found = {attributes.encode(path, value) for path, value in attributes.scalars(meta)}
        return all(attributes.encode(path, value) in found for path, value in self.meta)

    def has(self, job: Job) -> bool:
        """Tell whether a job is in it."""
        return self.has_queue(job.queue) and self.has_meta(job.meta)

    def holds(self, group: Children) -> bool:
        """Tell whether jobs that are still to be made can be in it, with their children."""
        if group is None:
            return True
        ones = (group,) if isinstance(group, NewJob) else group
        return all(
            self.has_queue(one.queue)
            and self.has_meta(one.meta)
            and all(self.holds(getattr(one, name)) for name in CHILD_FIELDS)
            for one in ones
        )

    def admit(self, new: NewJob) -> NewJob:
        """Return a new job that is in it, its children too: values of ``meta`` that it asks for are filled in.

        Raises:
            ForbiddenError: the job is for another queue, or says something else in ``meta``.
        """
        if self.is_everything:
            return new
        if not self.has_queue(new.queue):
            raise ForbiddenError(f"this token is not for the queue {new.queue}")
        inner: dict[str, Any] = {name: self.admit_group(getattr(new, name)) for name in CHILD_FIELDS}
        return replace(new, meta=self.fill(new.meta), **inner)

    def admit_group(self, group: Children) -> Children:
        """Return one or several new jobs as `admit` does."""
        if group is None or isinstance(group, NewJob):
            return None if group is None else self.admit(group)
        return tuple(self.admit(one) for one in group)

    def fill(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        """Return a ``meta`` with the values that it asks for.

        Raises:
            ForbiddenError: it says something else.
        """
        if not self.meta:
            return dict(meta)
        filled = dict(meta)
        for path, value in self.meta:
            *above, last = path.split(".")
            place = filled
            for step in above:
                # A copy all the way down: what was given is not changed.
                place[step] = dict(place[step]) if isinstance(place.get(step), dict) else place.get(step, {})
                place = place[step]
                if not isinstance(place, dict):
                    raise ForbiddenError(f"this token is only for jobs whose meta.{path} is {value!r}")
            place.setdefault(last, value)
        if not self._is_all(filled):
            wanted = ", ".join(f"meta.{path} is {value!r}" for path, value in self.meta)
            raise ForbiddenError(f"this token is only for jobs whose {wanted}")
        return filled

    def _is_all(self, meta: Mapping[str, Any]) -> bool:
        """Tell whether a ``meta`` has these values and, at their paths, no others: no list that others find too."""
        found: dict[str, set[str | None]] = {}
        for path, value in attributes.scalars(meta):
            found.setdefault(path, set()).add(attributes.encode(path, value))
        return all(found.get(path) == {attributes.encode(path, value)} for path, value in self.meta)


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: of the token, ``admin`` for the one of the settings, ``nobody`` where none is needed.
        roles: what it may do; ``admin`` stands for all of them.
        scope: the jobs it may do it to.
        token_id: of the stored token, if it is one.
    """

    name: str
    roles: frozenset[Role]
    scope: Scope = EVERYTHING
    token_id: str | None = None

    def may(self, role: Role) -> bool:
        """Tell whether it has a role."""
        return role in self.roles or "admin" in self.roles
