"""The queue that a page is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.queues.queue_form import queue as queue_form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

DEFAULTS: Final = queue_form(QueueConfig())
"""The configuration of a queue that nobody has configured."""
_LONGEST: Final = 60


async def the_queue(view: View, *, anyway: bool = False) -> tuple[dict[str, Any], str]:
    """Return the queue of a page's path, and its tag.

    Args:
        view: of the page.
        anyway: also if nothing has this name, as for a form whose queue was deleted meanwhile.

    Raises:
        NotFoundError: no configuration and no job has this name.
    """
    name = view.path("name")
    queue, tag = await view.ask_tagged(f"/v1/queues/{quoted(name)}")
    if (
        not anyway
        and not any(queue["counts"].values())
        and all(queue[field] == value for field, value in DEFAULTS.items())
    ):
        raise NotFoundError("queue", name)
    return queue, tag


def back(name: str) -> tuple[str, str]:
    """Return the address and the name of the page of a queue."""
    return f"/queues/{quoted(name)}", shorten(name, _LONGEST)


def pause_text(queue: Mapping[str, Any]) -> str:
    """Return a sentence about the pause of a queue; empty if it is not paused."""
    if not queue["paused"]:
        return ""
    reason = queue["pauseReason"]
    return f"It is paused: {reason}" if reason else "It is paused; nobody has given a reason."
