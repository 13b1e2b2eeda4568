"""Start a job anew: as it is, from a step, or with other data, attempts and priority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown
from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Preview, Sent
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import Refused
from jobqueue.dashboard.jobs.acts import schema_fields
from jobqueue.dashboard.jobs.acts.subject import Subject, hidden, path, subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_DO: Final = "do"
_CONFIRM: Final = "confirm"
_ALL: Final = "all"
_KEEP: Final = "keep"
_STEP: Final = "step:"
_MOST_STEPS: Final = 100
_LARGEST: Final = 20_000
"""Characters of data that the page shows to be edited."""


async def _load(view: View) -> dict[str, Any]:
    it = await subject(view)
    schema = await _schema(view, it)
    form = Form(
        title=f"Requeue {it.name}",
        button="Requeue with these changes" if _differences(view) else "Requeue",
        call=Call(method="POST", path=path(view, "/requeue"), match=it.tag, body=_body(view)),
        fields=[*_fields(it, schema), *await hidden(view, it)],
        texts=_texts(it),
        why_not=_why_not(it),
        back=it.back,
        differences=_differences(view),
    )
    return shown(view, form) | {"confirm": _CONFIRM if form.differences else ""}


async def _act(view: View, sent: Sent) -> Deed | Preview:
    it = await subject(view)
    body = _changes(it, await _schema(view, it), sent)
    if "data" in body and sent.text(_DO) != _CONFIRM:
        return Preview(values={"body": body, "differences": json_text.differences(it.job["data"], body["data"])})
    call = Call(method="POST", path=path(view, "/requeue"), body=body or None, match=sent.text(MATCH))
    return Deed(call=call, said="The job was requeued.", to=f"/jobs/{it.id}")


def _fields(it: Subject, schema: Mapping[str, Any] | None) -> list[Field]:
    steps = [step["name"] for step in it.job.get("steps") or () if step["endAt"]][:_MOST_STEPS]
    fields = []
    if steps:
        choices = [(_KEEP, "after the last finished step"), (_ALL, "the beginning: forget all steps")]
        choices += [(f"{_STEP}{name}", f"step {shorten(name, 60)}") for name in steps]
        fields.append(Field(name="fromStep", label="Go on from", kind="choice", value=_KEEP, choices=choices))
    attempts = Field(name="attempts", label="Attempts", kind="number", value=str(it.job["attempts"]))
    priority = Field(name="priority", label="Priority", kind="number", value=str(it.job["priority"]))
    return [*fields, attempts, priority, *_data_fields(it, schema)]


def _data_fields(it: Subject, schema: Mapping[str, Any] | None) -> list[Field]:
    text = json_text.written(it.job["data"])
    if len(text) > _LARGEST:
        return []
    if found := schema_fields.fields(schema, it.job["data"]):
        return found
    rows = min(24, max(4, text.count("\n") + 2))
    return [Field(name="data", label="Data, as JSON", kind="area", value=text, rows=rows)]


def _texts(it: Subject) -> list[str]:
    text = "It starts anew with all its attempts; what it did before stays in its history."
    size = len(json_text.written(it.job["data"]))
    too_large = [f"Its data takes {size:,} characters: change them over the API."] if size > _LARGEST else []
    return [text, *too_large]


def _why_not(it: Subject) -> str:
    if it.is_running:
        return "The job runs: kill it first, or wait."
    return "The job is pending already: a worker can take it." if it.job["state"] == "pending" else ""


def _changes(it: Subject, schema: Mapping[str, Any] | None, sent: Sent) -> dict[str, Any]:
    """Return the body of the call: only what differs from the job.

    Raises:
        InvalidInputError: naming each field that cannot be read.
    """
    body: dict[str, Any] = {}
    step = sent.text("fromStep")
    if step == _ALL:
        body["fromStep"] = None
    elif step.startswith(_STEP):
        body["fromStep"] = sent.values["fromStep"].removeprefix(_STEP)
    for name in ("attempts", "priority"):
        if sent.text(name) and (value := json_text.read(sent.text(name), name)) != it.job[name]:
            body[name] = value
    data = it.job["data"]
    if "data" in sent.values:
        data = json_text.read_object(sent.values["data"], "data")
    elif schema and schema_fields.fields(schema, it.job["data"]):
        data = schema_fields.read(schema, it.job["data"], sent)
    if json_text.differences(it.job["data"], data):
        body["data"] = data
    return body


async def _schema(view: View, it: Subject) -> dict[str, Any] | None:
    """Return the schema of the data of a job's type, if a living worker has told it."""
    if view.query("as") == "json":
        return None
    types = await view.try_ask("/v1/types", {"queue": it.job["queue"], "limit": "200"})
    if isinstance(types, Refused):
        return None
    return next((each["schema"] for each in types["items"] if each["type"] == it.job["type"]), None)


def _differences(view: View) -> list[tuple[str, str, str]]:
    preview = view.sent.preview if view.sent else None
    return preview["differences"] if preview else []


def _body(view: View) -> dict[str, Any] | None:
    preview = view.sent.preview if view.sent else None
    return preview["body"] if preview else None


REQUEUE = act_page("/jobs/{id}/requeue", _load, _act, nav="Jobs")
