"""The actions on the page of a job: which there are, and why some cannot be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_OVER: Final = ("success", "failed", "killed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A link to the page of an action.

    Attributes:
        why: a few words about why it cannot be done; empty if it can.
        look: classes of the link.
    """

    id: str
    href: str
    text: str
    why: str = ""
    look: str = ""


def actions(view: View, job: Mapping[str, Any]) -> list[Action]:
    """Return the actions on a job, in their order."""
    no_role = "" if view.may("admin") else "needs the role admin"
    state, here = job["state"], f"/jobs/{job['id']}"
    is_running = state == "processing"
    runs = "not while it runs" if is_running else ""
    is_pending = "is pending already" if state == "pending" else ""
    ended = "has ended" if state in _OVER else ""
    failed = "p" if state in {"failed", "killed"} else ""
    return [
        Action(
            id="do-requeue", href=f"{here}/requeue", text="Requeue…", why=no_role or runs or is_pending, look=failed
        ),
        Action(id="do-change", href=f"{here}/change", text="Change…", why=no_role or runs),
        Action(id="do-kill", href=f"{here}/kill", text="Kill…", why=no_role or ended, look="d"),
        Action(id="do-delete", href=f"{here}/delete", text="Delete…", why=no_role or runs, look="d"),
    ]
