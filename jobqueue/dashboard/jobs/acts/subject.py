"""The job of a form, with the tag that it must still have when the form is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import tied
from jobqueue.dashboard.frame.acts.form import Field
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import ChangedMeanwhileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.acts.form import Sent
    from jobqueue.dashboard.frame.view import View

SEEN: Final = "seen"
"""The field with the start of a running job, whose tag changes with every sign of life."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A job and its tag."""

    job: Mapping[str, Any]
    tag: str

    @property
    def id(self) -> str:
        """The id of the job."""
        return str(self.job["id"])

    @property
    def name(self) -> str:
        """The type of the job, for a title."""
        return shorten(self.job["type"], 60)

    @property
    def back(self) -> tuple[str, str]:
        """The address and the name of the page of the job."""
        return f"/jobs/{self.id}", f"{self.name} …{self.id[-6:]}"

    @property
    def is_running(self) -> bool:
        """True while a worker has the job."""
        return bool(self.job["state"] == "processing")


async def subject(view: View) -> Subject:
    """Return the job of a page's path; raises as `ask`."""
    return Subject(*await view.ask_tagged(path(view)))


def path(view: View, action: str = "") -> str:
    """Return the path of the API of the job of a page's path, or of an action on it."""
    return f"/v1/jobs/{quoted(view.path('id'))}{action}"


async def hidden(view: View, it: Subject) -> list[Field]:
    """Return the fields that tie a form to a job as it is now, and that lead back."""
    seen = str(it.job["startAt"]) if it.is_running else ""
    match = "" if it.is_running else it.tag
    return [Field(name=SEEN, kind="hidden", value=seen), *await tied(view, match)]


async def check_seen(view: View, sent: Sent) -> None:
    """Make sure that a job that ran when a form was shown is still in the same start.

    Raises:
        ChangedMeanwhileError: it has ended, or begun anew.
    """
    seen = sent.text(SEEN)
    if seen:
        it = await subject(view)
        if not it.is_running or str(it.job["startAt"]) != seen:
            raise ChangedMeanwhileError("job", it.id)
