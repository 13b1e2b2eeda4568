"""Parts that the pages of all actions share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from jobqueue.dashboard.frame.acts.form import BACK, KEY, Field, filled
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.preferences import local_path

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.acts.form import Form
    from jobqueue.dashboard.frame.page import Act, Load
    from jobqueue.dashboard.frame.view import View
    from jobqueue.domain.access.access import Role

MATCH: Final = "match"


def act_page(
    path: str, load: Load, act: Act, *, nav: str, role: Role = "admin", template: str = "frame/act.html"
) -> Page:
    """Return the page of an action: a form, and what it does. Another template extends that of all forms."""
    return Page(path=path, template=template, load=load, nav=nav, events=None, act=act, role=role)


async def tied(view: View, match: str = "") -> list[Field]:
    """Return the fields that tie a form to its subject as it is now, and that lead back.

    Each load of the page makes another form. A key that follows from the subject would be the same again once the
    subject is as before, as after pause, resume and pause, and the form would then do nothing.

    Args:
        view: of the page.
        match: the entity tag of the subject; empty if it has none.
    """
    key = await view.form_key(view.request.path, uuid4().hex)
    back = local_path(view.query(BACK)) if view.query(BACK) else ""
    return [
        Field(name=MATCH, kind="hidden", value=match),
        Field(name=KEY, kind="hidden", value=key),
        Field(name=BACK, kind="hidden", value=back),
    ]


def shown(view: View, form: Form) -> dict[str, Any]:
    """Return the variables of the page of a form."""
    return {"form": filled(form, view.sent), "events": None}
