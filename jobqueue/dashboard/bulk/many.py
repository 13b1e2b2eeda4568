"""Requeue, kill or delete many jobs: those that were selected in the list, or all that match a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk import careful
from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Preview, Sent
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.texts import count
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.terms import read_query
from jobqueue.domain.values.checks import is_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.view import View

TYPED_FROM: Final = 1000
"""More jobs than these have to be confirmed by their number."""
_VERBS: Final = {"requeue": "Requeue", "kill": "Kill", "delete": "Delete"}
_TEXTS: Final = {
    "requeue": "Each starts anew with all its attempts. Those that are pending or run are left out.",
    "kill": "Those that run are told to stop. Those that have ended are left out.",
    "delete": "Their data, results and logs are lost for good. Those that run are left out.",
}
_MOST_IDS: Final = 500
_ALL: Final = "all"
_UNCOUNTED: Final = "all of them"


class _Wanted:
    """The jobs and the action of a request."""

    def __init__(self, action: str, ids: Sequence[str], search: str, view: View) -> None:
        self.action = action if action in _VERBS else "requeue"
        self.ids = [each for each in dict.fromkeys(ids) if is_id(each)][:_MOST_IDS]
        self.search = search
        query = read_query(search, view.now)
        self.problem = ""
        if not self.ids and (query.words or query.problem or any(term.problem for term in query.terms)):
            self.problem = (
                "A search with words, or one that cannot be read, selects nothing: use terms as state=failed."
            )
        self.filter: dict[str, Any] = {"id": {"$in": self.ids}} if self.ids else dict(query.filter)

    @property
    def body(self) -> dict[str, Any]:
        """The part of the body of the call that names the jobs."""
        return {"filter": self.filter} if self.filter else {"all": True}

    @property
    def path(self) -> str:
        """The path of the API."""
        return f"/v1/jobs/{self.action}"

    @property
    def back(self) -> str:
        """The address of the list."""
        return link("/jobs", q=self.search or None)


def _of_address(view: View) -> _Wanted:
    query = view.request.query
    ids = [] if query.get("which") == _ALL else query.getall("id", [])
    return _Wanted(query.get("action", ""), ids, query.get("q", ""), view)


def _of_form(view: View, sent: Sent) -> _Wanted:
    return _Wanted(sent.text("action"), sent.text("ids").split(",", _MOST_IDS), sent.text("q"), view)


async def _load(view: View) -> dict[str, Any]:
    wanted = _of_address(view) if view.sent is None else _of_form(view, view.sent)
    nothing = not wanted.ids and view.query("which") != _ALL and view.sent is None
    preview = None if wanted.problem or nothing else await _preview(view, wanted)
    matched = None if preview is None else preview["matched"]
    jobs = count(matched, "job") if matched is not None else _UNCOUNTED
    why_not = wanted.problem or (
        "Select jobs first." if nothing else "" if matched != 0 else "No job is left for this."
    )
    is_requeue, seen = wanted.action == "requeue", careful.seen(view)
    form = Form(
        title=f"{_VERBS[wanted.action]} {jobs}?",
        button=f"{_VERBS[wanted.action]} {jobs}{' with this patch' if seen['mark'] else ''}",
        call=Call(method="POST", path=wanted.path, body=wanted.body | (careful.typed(view.sent) if is_requeue else {})),
        fields=[*_fields(wanted, preview), *await tied(view)],
        texts=[_TEXTS[wanted.action], "It goes on in the background: a page shows how far it is, and can stop it."],
        why_not=why_not,
        back=(wanted.back, "Jobs"),
        is_dangerous=wanted.action != "requeue",
    )
    samples = preview["samples"] if preview and not seen["mark"] else []
    return shown(view, form) | seen | {"samples": samples, "is_careful": is_requeue, "has_one": False}


async def _preview(view: View, wanted: _Wanted) -> dict[str, Any]:
    return await view.ask(wanted.path, body={**wanted.body, "dryRun": True})


def _fields(wanted: _Wanted, preview: Mapping[str, Any] | None) -> list[Field]:
    fields = [
        Field(name="action", kind="hidden", value=wanted.action),
        Field(name="ids", kind="hidden", value=",".join(wanted.ids)),
        Field(name="q", kind="hidden", value=wanted.search),
    ]
    if wanted.action == "kill":
        fields.append(Field(name="reason", label="Reason", placeholder="killed by a person"))
    if wanted.action == "requeue":
        fields += careful.fields()
    return [*fields, *(typed_field(preview) if preview is not None else ())]


def typed_field(preview: Mapping[str, Any]) -> list[Field]:
    """Return the field in which the number of very many jobs is typed; none for fewer."""
    if not _is_typed(preview):
        return []
    word = _word(preview)
    help_ = f"{word} here says that you mean all of them."
    return [Field(name="typed", label=f"Type {word}", help=help_, is_required=True)]


def check_typed(preview: Mapping[str, Any], sent: Sent) -> None:
    """Check that the number of very many jobs was typed.

    Raises:
        InvalidInputError: it was not, or there are more or fewer by now.
    """
    if _is_typed(preview) and sent.text("typed").replace(",", "") != _word(preview):
        raise InvalidInputError({"typed": [f"must be {_word(preview)}, as so many jobs are meant now"]})


def _is_typed(preview: Mapping[str, Any]) -> bool:
    return preview["matched"] is None or preview["matched"] > TYPED_FROM


def _word(preview: Mapping[str, Any]) -> str:
    return _ALL if preview["matched"] is None or not preview["isExact"] else str(preview["matched"])


async def _act(view: View, sent: Sent) -> Deed | Preview:
    wanted = _of_form(view, sent)
    if wanted.problem:
        raise InvalidInputError({"q": [wanted.problem]})
    if not wanted.ids and not wanted.search and "typed" not in sent.values:
        raise InvalidInputError({"ids": ["select jobs first"]})
    body = dict(wanted.body)
    if wanted.action == "requeue":
        body |= careful.read(sent)
        if (looked := await careful.look(view, sent, wanted.path, body)) is not None:
            return looked
    elif sent.text("reason"):
        body["reason"] = sent.text("reason")
    preview = await _preview(view, wanted)
    if preview["matched"] == 0:
        raise InvalidInputError({"ids": ["no job is left for this"]})
    check_typed(preview, sent)
    call = Call(method="POST", path=wanted.path, body=body)
    return Deed(call=call, said="The operation has begun.", to=lambda operation: f"/operations/{operation['id']}")


MANY = act_page("/jobs/many", _load, _act, nav="Jobs", template=careful.TEMPLATE)
