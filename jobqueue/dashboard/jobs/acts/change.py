"""Change when a job runs and what it carries, while it is not running."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown
from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Sent
from jobqueue.dashboard.frame.preferences import zone_of
from jobqueue.dashboard.frame.texts import parsed
from jobqueue.dashboard.jobs.acts.subject import Subject, hidden, path, subject
from jobqueue.dashboard.jobs.acts.when import local_time, moment
from jobqueue.domain.errors import InvalidInputError, Problems

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.preferences import Preferences
    from jobqueue.dashboard.frame.view import View

_LARGEST: Final = 10_000
_ZONE: Final = "zone"
_JSON: Final = ("priority", "attempts", "backoff", "lease", "timeout", "meta", "data")
_LABELS: Final = {
    "priority": ("Priority", "The highest runs first."),
    "attempts": ("Attempts", ""),
    "backoff": ("Backoff", "Seconds, as 60 or [10, 60, 600]."),
    "lease": ("Lease, s", ""),
    "timeout": ("Timeout, s", "null for none"),
}


async def _load(view: View) -> dict[str, Any]:
    it = await subject(view)
    form = Form(
        title=f"Change {it.name}",
        button="Save",
        call=Call(method="PATCH", path=path(view), match=it.tag, body={"priority": it.job["priority"]}),
        fields=[*_fields(view, it), *await hidden(view, it)],
        texts=["Only what differs is changed."],
        why_not="The job runs. Change it when it waits or has ended." if it.is_running else "",
        back=it.back,
    )
    return shown(view, form)


async def _act(view: View, sent: Sent) -> Deed:
    it = await subject(view)
    body, problems = {}, Problems()
    for name in _JSON:
        text = sent.text(name)
        if text:
            try:
                value = json_text.read(text, name)
            except InvalidInputError as error:
                problems.update(error.problems)
            else:
                if json_text.differences(it.job[name], value):
                    body[name] = value
    try:
        _add_time(_zoned(view, sent), it, sent, body)
    except InvalidInputError as error:
        problems.update(error.problems)
    if problems:
        raise InvalidInputError(problems)
    if not body:
        raise InvalidInputError({"form": ["nothing differs from what the job has"]})
    call = Call(method="PATCH", path=path(view), body=body, match=sent.text(MATCH))
    return Deed(call=call, said=f"Changed: {', '.join(body)}.", to=f"/jobs/{it.id}")


def _add_time(zoned: Preferences, it: Subject, sent: Sent, body: dict[str, Any]) -> None:
    if "delayTil" not in sent.values or sent.text("delayTil") == local_time(it.job["delayTil"], zoned):
        return
    when = moment(sent.text("delayTil"), "delayTil", zoned)
    if parsed(when) != parsed(it.job["delayTil"]):
        body["delayTil"] = when


def _zoned(view: View, sent: Sent | None) -> Preferences:
    """Return the zone of the times of a form: a browser tells its own after the first page only."""
    name = sent.text(_ZONE) if sent is not None else ""
    return replace(view.preferences, zone_name=name) if zone_of(name) else view.preferences


def _fields(view: View, it: Subject) -> list[Field]:
    zoned = _zoned(view, view.sent)
    when = Field(
        name="delayTil",
        label="Not before",
        kind="time",
        value=local_time(it.job["delayTil"], zoned),
        help=f"In {zoned.city}. Empty: as soon as possible.",
    )
    simple = [
        Field(name=name, label=label, value=json.dumps(it.job[name]), help=help_)
        for name, (label, help_) in _LABELS.items()
    ]
    return [Field(name=_ZONE, kind="hidden", value=zoned.zone_name), when, *simple, *_large(it)]


def _large(it: Subject) -> list[Field]:
    found = []
    for name, label in (("meta", "Meta, as JSON"), ("data", "Data, as JSON")):
        text = json_text.written(it.job[name])
        if len(text) <= _LARGEST:
            rows = min(16, max(3, text.count("\n") + 2))
            found.append(Field(name=name, label=label, kind="area", value=text, rows=rows))
    return found


CHANGE = act_page("/jobs/{id}/change", _load, _act, nav="Jobs")
