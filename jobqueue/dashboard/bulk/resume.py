"""Go on with an operation that has stopped, with another pace or stop rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk import careful
from jobqueue.dashboard.bulk.operations import operation_text, the_rest
from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Form
from jobqueue.dashboard.frame.texts import sentence, shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.acts.form import Sent
    from jobqueue.dashboard.frame.view import View

_RULES: Final = ("pace", "stopAfter")


async def _load(view: View) -> dict[str, Any]:
    here = quoted(view.path("id"))
    it = operation_text(await view.ask(f"/v1/operations/{here}"), view.now)
    operation = it.operation
    is_requeue = operation["action"] == "requeue"
    rest = the_rest(it)
    form = Form(
        title=f"Go on with {rest}?",
        button=f"Go on with {rest}",
        call=Call(method="POST", path=_path(view), body=_typed(operation, view.sent)),
        fields=[
            *(careful.rule_fields(operation["pace"], operation["stopAfter"]) if is_requeue else ()),
            *await tied(view, ""),
        ],
        texts=_texts(it.what, operation),
        why_not="" if operation["state"] == "stopped" else _why_not(operation["state"]),
        back=(f"/operations/{here}", "the operation"),
    )
    return shown(view, form)


def _texts(what: str, operation: Mapping[str, Any]) -> list[str]:
    why = f" It had stopped: {shorten(operation['stopped']['message'], 300)}." if operation["stopped"] else ""
    told = "No job has a second turn, also none that failed again."
    if operation["action"] == "requeue":
        told = f"{told} There is no further trial, and failures from before do not count for the stop rule."
    return [f"{sentence(shorten(what, 160))}.{why}", told]


def _why_not(state: str) -> str:
    return "It is running: stop it first to change its pace." if state == "running" else f"It is {state}."


async def _act(view: View, sent: Sent) -> Deed:
    here = quoted(view.path("id"))
    operation = await view.ask(f"/v1/operations/{here}")
    call = Call(method="POST", path=_path(view), body=_changed(operation, sent))
    return Deed(call=call, said="The operation goes on.", to=f"/operations/{here}")


def _changed(operation: Mapping[str, Any], sent: Sent) -> dict[str, Any] | None:
    """Return the body of the call: only the rules that differ from the present ones.

    Raises:
        InvalidInputError: naming each field that cannot be read.
    """
    rules = careful.read_rules(sent)
    given = {name: rules.get(name) for name in _RULES if name in sent.values}
    return {name: value for name, value in given.items() if value != operation[name]} or None


def _typed(operation: Mapping[str, Any], sent: Sent | None) -> dict[str, Any] | None:
    try:
        return None if sent is None else _changed(operation, sent)
    except InvalidInputError:
        return None


def _path(view: View) -> str:
    return f"/v1/operations/{quoted(view.path('id'))}/resume"


RESUME = act_page("/operations/{id}/resume", _load, _act, nav="Operations")
