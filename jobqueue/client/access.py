"""Tokens of the API, and workers, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.client.calls import Calls, view
from jobqueue.client.wire import views
from jobqueue.client.wire.forms import given
from jobqueue.domain.errors import InvalidInputError, Problems

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


class AccessCalls(Calls):
    """Calls about tokens and workers."""

    def tokens(self) -> AsyncIterator[views.TokenView]:
        """Yield all tokens of the API, without their texts."""
        return self._pages(view(views.TokenView), "tokens", query={"limit": 200})

    async def create_token(
        self,
        roles: Sequence[str],
        *,
        queues: Sequence[str] = (),
        meta: Mapping[str, Any] | None = None,
        name: str | None = None,
        expires: float | None = None,
    ) -> views.NewTokenView:
        """Create a token; only this reply shows its text.

        Args:
            roles: some of ``read``, ``enqueue``, ``decide``, ``work`` and ``admin``.
            queues: names of queues with ``*`` and ``?``; none for all.
            meta: values that its jobs must have, by path.
            name: for people.
            expires: seconds from now; ``None`` for never.

        Raises:
            InvalidInputError: naming each unacceptable value.
            ServerUnreachableError: there was no answer. The call is not repeated by itself.
        """
        problems: Problems = {}
        for field, names in {"roles": roles, "queues": queues}.items():
            # The letters of a text would be names, too.
            if isinstance(names, str):
                problems[field] = ["must be a list of names, not a text"]
        if problems:
            raise InvalidInputError(problems)
        body = given(name=name, expires=expires, meta=meta and dict(meta))
        body |= {"roles": list(roles), **({"queues": list(queues)} if queues else {})}
        return await self._read(view(views.NewTokenView), "POST", "tokens", body=body, safe=False)

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token; every server refuses it within five seconds."""
        await self._delete("tokens", token_id)

    def workers(self) -> AsyncIterator[views.WorkerView]:
        """Yield the workers that gave a sign of life within the last day, by name."""
        return self._pages(view(views.WorkerView), "workers", query={"limit": 200})

    async def drain_worker(self, name: str, *, undo: bool = False) -> views.WorkerView:
        """Drain a worker: it claims no more jobs, finishes what it runs, and leaves; return it.

        Args:
            name: of the worker, as `workers` has it.
            undo: the drain of a worker that has not left yet.

        Raises:
            NotFoundError: no worker of this name gave a sign of life within the last day.
            ConflictError: its process is silent, is of a version without drains, or is about to leave.
        """
        return await self._read(view(views.WorkerView), "POST", "workers", name, "resume" if undo else "drain")

    def types(self, queue: str | None = None) -> AsyncIterator[views.TypeView]:
        """Yield the types of jobs that workers and processors serve, with the JSON Schemas of their data."""
        return self._pages(view(views.TypeView), "types", query={"queue": queue, "limit": 200})
