"""The erasure of a person, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.client.calls import Calls, view
from jobqueue.client.wire import views
from jobqueue.domain.bulk.erasure import chosen

if TYPE_CHECKING:
    from collections.abc import Mapping


class ErasureCalls(Calls):
    """Calls about the erasure of a person."""

    async def erase(self, meta: Mapping[str, Any]) -> views.OperationView:
        """Begin to erase the contents of all ended jobs whose ``meta`` has certain values; return the operation.

        States, times and counts of the jobs stay. Nothing brings the contents back: look at `preview_erasure` first.

        Args:
            meta: one value or several, such as ``{"user_id": 42}``; the jobs have all of them.

        Raises:
            InvalidInputError: there is no value, or one is neither text, a number nor a truth value.
            ServerUnreachableError: there was no answer. The call is not repeated by itself, and may be made again.
        """
        chosen(meta)
        return await self._read(view(views.OperationView), "POST", "erase", body={"meta": dict(meta)}, safe=False)

    async def preview_erasure(self, meta: Mapping[str, Any]) -> views.ErasurePreviewView:
        """Return the number of jobs that `erase` would erase, and the names of what it leaves; nothing is changed."""
        chosen(meta)
        body = {"meta": dict(meta), "dryRun": True}
        return await self._read(view(views.ErasurePreviewView), "POST", "erase", body=body)
