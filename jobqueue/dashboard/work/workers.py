"""Workers, and the types of jobs that nobody serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.dashboard.frame.page import Page

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View


async def _load(view: View) -> dict[str, Any]:
    return await view.ask_all(workers=("/v1/workers", {"limit": "200"}))


WORKERS = Page(path="/workers", template="work/workers.html", load=_load, nav="Workers", events="")
