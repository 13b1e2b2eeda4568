"""The list of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.workflow.batch_texts import batch_rows

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_LIMIT: Final = "20"
_STATES: Final = ("open", "finished")


async def _load(view: View) -> dict[str, Any]:
    state, cursor = view.query("state"), view.query("cursor")
    asked = {"limit": _LIMIT} | ({"state": state} if state else {}) | ({"cursor": cursor} if cursor else {})
    batches = await view.ask("/v1/batches", asked)
    chosen = state or None
    return {
        "rows": batch_rows(batches["items"], view.now),
        "states": _STATES,
        "state": state,
        "first": link("/batches", state=chosen) if cursor else None,
        "following": link("/batches", state=chosen, cursor=batches["next"]) if batches["next"] else None,
    }


BATCHES = Page(path="/batches", template="workflow/batches.html", load=_load, nav="Batches", events="")
