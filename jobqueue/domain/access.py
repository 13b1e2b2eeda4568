"""Who may do what: roles, and the part of all jobs that a caller can see at all."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from jobqueue.domain import attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.job import Job

Role = Literal["read", "enqueue", "work", "admin"]
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


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: of the token, ``admin`` for the one of the settings, ``nobody`` where none is needed.
        roles: what it may do; ``admin`` stands for all of them.
        scope: the jobs it may do it to.
    """

    name: str
    roles: frozenset[Role]
    scope: Scope = EVERYTHING

    def may(self, role: Role) -> bool:
        """Tell whether it has a role."""
        return role in self.roles or "admin" in self.roles
