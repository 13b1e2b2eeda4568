"""A job that was tried as one of a group of failures: how it went, and the way on to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.texts import count
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.jobs.detail.trouble import group_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

TRIED: Final = "tried"
"""The parameter with the group of the page of a job; on the page of the requeue it says that a trial has succeeded."""
_FELL: Final = ("failed", "killed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial for people.

    Attributes:
        look: the state whose colour it has.
        told: how it went.
        rest: about the other jobs.
        href: the page to go on with; empty for none.
        label: of the link to it.
        why: the reason why this visitor cannot go on.
    """

    look: str
    told: str
    rest: str
    href: str = ""
    label: str = ""
    why: str = ""


def place(job_id: str, fingerprint: str) -> str:
    """Return the address of the page of a job that is tried as one of a group."""
    return link(f"/jobs/{job_id}", **{TRIED: fingerprint})


async def trial(view: View, job: Mapping[str, Any]) -> Trial | None:
    """Return the trial that the address of a page of a job names; ``None`` for none."""
    fingerprint = view.query(TRIED)
    if not fingerprint:
        return None
    group = await view.find(f"/v1/failures/{quoted(fingerprint)}")
    has_failed = job["state"] in _FELL
    others = (group["count"] if group else 0) - (has_failed and group_of(job) == fingerprint)
    here = f"/failures/{quoted(fingerprint)}"
    if job["state"] == "success":
        if others <= 0:
            return Trial(look="success", told="The trial has succeeded.", rest="No other job of the group is left.")
        return Trial(
            look="success",
            told="The trial has succeeded.",
            rest=f"{count(others, 'other job has', 'other jobs have')} failed by the same mistake.",
            href=link(f"{here}/requeue", tried="yes"),
            label="Requeue the other…" if others == 1 else "Requeue the others…",
            why="" if view.may("admin") else "needs the role admin",
        )
    if has_failed:
        back = here if group else ""
        return Trial(
            look="failed", told="The trial has failed.", rest="The others are as before.", href=back, label="The group"
        )
    rest = "The page follows it; the others are as before." if others > 0 else "The page follows it."
    return Trial(look="pending", told="This job is tried again.", rest=rest)
