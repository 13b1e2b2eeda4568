"""Answer what a job waits for: a signal, or whether a step in doubt has happened."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import act_page, shown
from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import BACK, KEY, Deed, Field, Form, Sent
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.jobs.acts.subject import Subject, path, subject
from jobqueue.domain.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

SIGNAL: Final = "signal"
QUESTION: Final = "question"
VALUE: Final = "value"
STEP: Final = "step"
HAPPENED: Final = "happened"
YES: Final = "yes"
NO: Final = "no"
_NOTHING: Final = "The job waits for no answer: it has one, or the time for it is over."
_LONGEST: Final = 80


def signal_fields(job: Mapping[str, Any], place: int = 0) -> dict[str, str]:
    """Return the fields of a form that say which question of a job it answers; empty if the job asks nothing."""
    wait = job.get("wait") or {}
    signals, names = list(wait.get("signals") or ()), list(wait.get("names") or ())
    if place >= len(signals):
        return {}
    question = names[place] if len(names) == len(signals) else ""
    return {SIGNAL: signals[place], QUESTION: question}


async def _load(view: View) -> dict[str, Any]:
    it = await subject(view)
    wait = it.job.get("wait") or {}
    form = _about_doubt(view, it, wait["doubt"]) if wait.get("doubt") else _about_signal(view, it)
    key = await view.form_key(view.request.path, str(it.job["startAt"]), form.title)
    hidden = [
        Field(name=KEY, kind="hidden", value=key),
        Field(name=BACK, kind="hidden", value=view.query(BACK)),
    ]
    return shown(view, replace(form, fields=[*form.fields, *hidden]))


def _about_signal(view: View, it: Subject) -> Form:
    wait = it.job.get("wait") or {}
    places = range(len(wait.get("signals") or ()))
    chosen = next((place for place in places if wait["signals"][place] == view.query("name")), 0)
    fields = signal_fields(it.job, chosen)
    name = fields.get(SIGNAL, "")
    return Form(
        title=f"{it.name} asks: {shorten(name, _LONGEST)}?" if name else f"{it.name} asks nothing",
        button="Answer",
        call=Call(method="POST", path=path(view, f"/signals/{quoted(name)}"), body={"value": True}),
        fields=[
            *(Field(name=field, kind="hidden", value=value) for field, value in fields.items()),
            Field(name=VALUE, label="Answer, as JSON", kind="area", value="true", help='A text has quotes, as "yes".'),
        ],
        texts=["The answer is kept with your name, and the job goes on with it."],
        why_not=_why_not(view, ("decide", "enqueue")) if name else _NOTHING,
        back=it.back,
    )


def _about_doubt(view: View, it: Subject, step: str) -> Form:
    choices = [("", "choose"), (YES, "it happened"), (NO, "it did not: it runs again")]
    return Form(
        title=f"Did the step {shorten(step, _LONGEST)} of {it.name} happen?",
        button="Decide",
        call=Call(method="POST", path=path(view, f"/steps/{quoted(step)}"), body={"happened": True}),
        fields=[
            Field(name=STEP, kind="hidden", value=step),
            Field(name=HAPPENED, label="It happened?", kind="choice", choices=choices, is_required=True),
            Field(name="result", label="Its result, as JSON, if it happened", kind="area", value="null"),
        ],
        texts=["It must not run twice. Look where its effect would be, then decide."],
        why_not=_why_not(view, ("decide",)),
        back=it.back,
    )


async def _act(view: View, sent: Sent) -> Deed:
    to = f"/jobs/{view.path('id')}"
    if step := sent.values.get(STEP):
        return _decision(view, sent, step, to)
    it = await subject(view)
    name, question = sent.values.get(SIGNAL, ""), sent.values.get(QUESTION, "")
    if name not in ((it.job.get("wait") or {}).get("signals") or ()):
        raise ConflictError("the question has an answer, or its time is over")
    value = json_text.read(sent.text(VALUE), VALUE)
    body = {"value": value} | ({"question": question} if question else {})
    call = Call(method="POST", path=path(view, f"/signals/{quoted(name)}"), body=body, key=_key(sent))
    return Deed(call=call, said=f"Answered: {name} is {shorten(sent.text(VALUE), _LONGEST)}.", to=to)


def _key(sent: Sent) -> str:
    """Return the key of an answer: another answer by the same form is another one."""
    text = f"{sent.text(KEY)} {sent.text(VALUE)}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _decision(view: View, sent: Sent, step: str, to: str) -> Deed:
    choice = sent.text(HAPPENED)
    if choice not in {YES, NO}:
        raise InvalidInputError({HAPPENED: ["must be chosen"]})
    body: dict[str, Any] = {"happened": choice == YES}
    if choice == YES and (result := json_text.read(sent.text("result") or "null", "result")) is not None:
        body["result"] = result
    call = Call(method="POST", path=path(view, f"/steps/{quoted(step)}"), body=body)
    said = f"Decided: {shorten(step, _LONGEST)} {'happened' if choice == YES else 'did not happen'}."
    return Deed(call=call, said=said, to=to, is_decision=True)


def _why_not(view: View, roles: tuple[Any, ...]) -> str:
    return "" if any(view.may(role) for role in roles) else f"An answer {view.why_not(roles[0])}."


ANSWER = act_page("/jobs/{id}/answer", _load, _act, nav="Waiting for you", role="read")
