"""Tokens: who has one, a new one, and the end of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Sent
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.texts import parsed, shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.access.access import ROLES
from jobqueue.domain.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_LIMIT: Final = "50"
_DAY: Final = 86_400
_PATH: Final = "/v1/tokens"
_MOST_PAGES: Final = 20
_ROLE_TEXTS: Final = {
    "read": "sees jobs",
    "enqueue": "adds jobs",
    "decide": "answers questions",
    "work": "runs jobs",
    "admin": "may do everything",
}


async def _load(view: View) -> dict[str, Any]:
    cursor = view.query("cursor")
    page = await view.ask(_PATH, {"limit": _LIMIT} | ({"cursor": cursor} if cursor else {}))
    return {
        "tokens": [token | {"word": _word(view, token)} for token in page["items"]],
        "first": link("/tokens") if cursor else None,
        "following": link("/tokens", cursor=page["next"]) if page["next"] else None,
    }


def _word(view: View, token: Mapping[str, Any]) -> str:
    if token["revokedAt"]:
        return "revoked"
    until = parsed(token["expiresAt"])
    return "expired" if until is not None and until <= view.now else "valid"


async def _load_new(view: View) -> dict[str, Any]:
    # A visitor who may not see tokens, as an admin of some queues, makes none.
    await view.ask(_PATH, {"limit": "1"})
    roles = [
        Field(name=f"role.{role}", label=role, kind="flag", help=_ROLE_TEXTS[role], value="1" if role == "read" else "")
        for role in ROLES
    ]
    form = Form(
        title="Make a token",
        button="Make it",
        call=Call(method="POST", path=_PATH, body={"name": "ann", "roles": ["read"]}),
        fields=[
            Field(name="name", label="Name", placeholder="ann", help="The audit names it.", is_required=True),
            *roles,
            Field(name="queues", label="Queues", placeholder="media, import-*", help="Empty: all queues."),
            Field(
                name="meta", label="Meta, as JSON", placeholder='{"user_id": 7}', help="Only jobs with these values."
            ),
            Field(name="days", label="Days", kind="number", value="90", help="Empty: it never expires."),
            *await tied(view),
        ],
        texts=["Its text is shown once, on the next page."],
        back=("/tokens", "Tokens"),
    )
    made = view.sent.preview if view.sent else None
    return shown(view, form) | {"made": made}


async def _act_new(_view: View, sent: Sent) -> Deed:
    body: dict[str, Any] = {
        "name": sent.text("name"),
        "roles": [role for role in ROLES if f"role.{role}" in sent.values],
    }
    if not body["roles"]:
        raise InvalidInputError({"role.read": ["choose at least one role"]})
    if queues := [name.strip() for name in sent.text("queues").split(",") if name.strip()]:
        body["queues"] = queues
    if sent.text("meta"):
        body["meta"] = json_text.read_object(sent.text("meta"), "meta")
    if sent.text("days"):
        days = json_text.read(sent.text("days"), "days")
        if not isinstance(days, int | float) or isinstance(days, bool) or days <= 0:
            raise InvalidInputError({"days": ["must be a number above 0"]})
        body["expires"] = days * _DAY
    return Deed(call=Call(method="POST", path=_PATH, body=body), said="", to="/tokens", shown=True)


async def _load_revoke(view: View) -> dict[str, Any]:
    token = await _token(view, view.path("id"))
    word = _word(view, token)
    form = Form(
        title=f"Revoke the token of {shorten(token['name'] or token['id'], 60)}?",
        button="Revoke it",
        call=Call(method="DELETE", path=f"{_PATH}/{quoted(token['id'])}"),
        fields=await tied(view),
        texts=["Every server refuses it within five seconds, and sessions of it end. It cannot be taken back."],
        why_not=f"It is {word} already." if word != "valid" else "",
        back=("/tokens", "Tokens"),
        is_dangerous=True,
    )
    return shown(view, form)


async def _act_revoke(view: View, _sent: Sent) -> Deed:
    call = Call(method="DELETE", path=f"{_PATH}/{quoted(view.path('id'))}")
    return Deed(call=call, said="The token was revoked.", to="/tokens")


async def _token(view: View, token_id: str) -> dict[str, Any]:
    cursor = ""
    for _ in range(_MOST_PAGES):
        page = await view.ask(_PATH, {"limit": "100"} | ({"cursor": cursor} if cursor else {}))
        for token in page["items"]:
            if token["id"] == token_id:
                found: dict[str, Any] = token
                return found
        cursor = page["next"]
        if not cursor:
            break
    raise NotFoundError("token", token_id)


TOKENS = Page(path="/tokens", template="access/tokens.html", load=_load, nav="Tokens", events=None, role="admin")
NEW_TOKEN = Page(
    path="/tokens/new",
    template="access/new_token.html",
    load=_load_new,
    nav="Tokens",
    events=None,
    act=_act_new,
    role="admin",
)
REVOKE = act_page("/tokens/{id}/revoke", _load_revoke, _act_revoke, nav="Tokens")
