"""The calls of `JobQueue` about the erasure of a person, with the names of `AsyncClient`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.bulk.erasure import chosen
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.insight.audit import Actor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.bulk.operation import ErasurePreview, Operation
    from jobqueue.services.application import Runtime

_BY: Final = Actor(name="python", via="python")


class Erasing:
    """Calls about the erasure of a person."""

    if TYPE_CHECKING:

        async def open(self) -> Runtime:
            """Connect once, and return the services."""

    async def erase(self, meta: Mapping[str, Any]) -> Operation:
        """Begin to erase the contents of all ended jobs whose ``meta`` has certain values; return the operation.

        States, times and counts of the jobs stay. Nothing brings the contents back: look at `preview_erasure` first.

        Args:
            meta: one value or several, such as ``{"user_id": 42}``; the jobs have all of them.

        Raises:
            InvalidInputError: there is no value, or one is neither text, a number nor a truth value.
        """
        return await (await self.open()).operations.create(_new(meta))

    async def preview_erasure(self, meta: Mapping[str, Any]) -> ErasurePreview:
        """Return the number of jobs that `erase` would erase, and the names of what it leaves; nothing is changed."""
        return await (await self.open()).operations.preview_erasure(_new(meta))


def _new(meta: Mapping[str, Any]) -> NewOperation:
    return NewOperation(action=Action.ERASE, by=_BY, filter=chosen(meta))
