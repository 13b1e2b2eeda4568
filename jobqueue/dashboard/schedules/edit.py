"""Make a schedule and change all of it: its next starts and what differs are shown before it is saved."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import available_timezones

from jobqueue.api.jobs.new_jobs import new_job
from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown, tied
from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Preview, Sent
from jobqueue.dashboard.frame.ask import send
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.schedules.words import preview_text
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.schedules import schedule as schedules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.page import Act, Load, Page
    from jobqueue.dashboard.frame.view import View

_DO: Final = "do"
_LONGEST: Final = 60
_LARGEST: Final = 100_000
"""Characters of a job that the page shows to be edited."""
_DEFINITION: Final = ("cron", "timezone", "every", "job", "missed", "paused")
_APART: Final = ("type", "queue", "data")
"""Fields of the job that have a field of the form each; all others are in one."""
_NEW: Final[Mapping[str, Any]] = {"cron": None, "timezone": None, "every": None, "missed": "one", "paused": False}
_MISSED: Final = (
    ("one", "one job for all of them"),
    ("skip", "no job"),
    ("all", "a job for each of them"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """The schedule of a form as it is now; without a name it is to be made."""

    name: str
    schedule: Mapping[str, Any]
    tag: str = ""

    @property
    def before(self) -> dict[str, Any]:
        """The definition that is stored."""
        return {field: self.schedule[field] for field in _DEFINITION if field in self.schedule} if self.name else {}


async def _load(view: View, *, is_new: bool) -> dict[str, Any]:
    it = await _subject(view, is_new=is_new)
    looked = view.sent.preview if view.sent else None
    differences = looked["differences"] if looked else []
    typed = view.sent.text("name") if view.sent and is_new else it.name
    size = len(json_text.written(it.schedule.get("job")))
    form = Form(
        title=f"Change {shorten(it.name, _LONGEST)}" if it.name else "New schedule",
        button="Save the schedule" if differences else "Show its next starts",
        call=_call(typed or "NAME", looked["body"] if looked else it.before or None, it.tag, is_new=is_new),
        fields=[*_fields(view, it, await asyncio.to_thread(_zones)), *await tied(view, it.tag)],
        texts=_texts(it),
        why_not=_why_not(view, size),
        back=(link("/schedules", name=it.name), shorten(it.name, _LONGEST)) if it.name else ("/schedules", "Schedules"),
        differences=differences,
    )
    return shown(view, form) | {
        "confirm": looked["digest"] if looked and differences else "",
        "looked": looked and preview_text(looked["starts"], view.now, view.preferences),
        "is_same": bool(looked) and not differences,
        "is_paused": looked is not None and looked["body"]["paused"],
        "changes_title": "This changes" if it.name else "This is stored",
    }


async def _act(view: View, sent: Sent, *, is_new: bool) -> Deed | Preview:
    it = await _subject(view, is_new=is_new)
    name = sent.text("name") if is_new else it.name
    body = await _checked(view, name, _body(sent), is_new=is_new)
    digest = hashlib.sha256(json.dumps([name, body], sort_keys=True).encode()).hexdigest()
    if sent.text(_DO) != digest:
        # Only what was shown is saved.
        times = {field: body[field] for field in ("cron", "timezone", "every") if field in body}
        starts = await view.ask(f"/v1/schedules/{quoted(name)}/preview", body=times)
        after = schedules.read(name, body, new_job).wire()
        before = it.before if it.name else {"job": {}}
        return Preview(
            values={
                "body": body,
                "digest": digest,
                "starts": starts,
                "differences": json_text.differences(before, after),
            }
        )
    call = _call(name, body, sent.text(MATCH), is_new=is_new)
    said = "The schedule is stored." if is_new else "The schedule is changed."
    return Deed(call=call, said=said, to=link("/schedules", name=name))


async def _subject(view: View, *, is_new: bool) -> _Subject:
    if is_new:
        return _Subject(name="", schedule=_NEW)
    name = view.path("name")
    schedule, tag = await view.ask_tagged(f"/v1/schedules/{quoted(name)}")
    return _Subject(name=name, schedule=schedule, tag=tag)


async def _checked(view: View, name: str, body: dict[str, Any], *, is_new: bool) -> dict[str, Any]:
    """Return a body that the API takes.

    Raises:
        InvalidInputError: naming each field that it does not take.
    """
    if is_new:
        try:
            schedules.check_name(name, "name")
        except InvalidInputError as error:
            raise InvalidInputError({"name": error.problems["name"]}) from None
        if await view.find(f"/v1/schedules/{quoted(name)}") is not None:
            raise InvalidInputError({"name": ["is that of another schedule already"]})
    path = f"/v1/schedules/{quoted(name)}"
    await send(view.request, Call(method="PUT", path=path, body=body, query={"dryRun": "true"}))
    return body


def _body(sent: Sent) -> dict[str, Any]:
    """Return the definition that was typed.

    Raises:
        InvalidInputError: naming each field that cannot be read.
    """
    problems = Problems()
    body: dict[str, Any] = {}
    # The zone is that of a cron expression; with seconds it would say nothing.
    for field in ("cron", *(("timezone",) if sent.text("cron") else ()), "missed"):
        if text := sent.text(field):
            body[field] = text
    if text := sent.text("every"):
        body["every"] = _read(problems, "every", text)
    body["paused"] = "paused" in sent.values
    job = _read(problems, "job", sent.text("job") or "{}", is_object=True)
    if double := [field for field in _APART if field in job]:
        problems["job"] = [f"has fields of its own above: {', '.join(double)}"]
    for field in ("type", "queue"):
        if text := sent.text(f"job.{field}"):
            job[field] = text
    data = _read(problems, "job.data", sent.text("job.data") or "{}", is_object=True)
    if problems:
        raise InvalidInputError(problems)
    body["job"] = job | ({"data": data} if data else {})
    return body


def _read(problems: Problems, field: str, text: str, *, is_object: bool = False) -> Any:
    try:
        return json_text.read_object(text, field) if is_object else json_text.read(text, field)
    except InvalidInputError as error:
        problems.update(error.problems)
        return {}


def _fields(view: View, it: _Subject, zones: Sequence[tuple[str, str]]) -> list[Field]:
    schedule, job = it.schedule, dict(it.schedule.get("job") or {})
    zone = schedule["timezone"] or view.preferences.zone_name
    rest = {field: value for field, value in job.items() if field not in _APART}
    every = "" if schedule["every"] is None else json.dumps(schedule["every"])
    name = Field(name="name", label="Name", is_required=True, placeholder="nightly-report")
    return [
        *([] if it.name else [name]),
        Field(
            name="cron",
            label="Cron expression",
            value=schedule["cron"] or "",
            placeholder="30 2 * * 1-5",
            help="Minute, hour, day, month, day of the week; six fields begin with the second. Or a word as @daily.",
        ),
        Field(
            name="timezone",
            label="Time zone",
            value="" if schedule["every"] is not None else zone,
            choices=zones,
            help="Of the cron expression. Empty: UTC.",
        ),
        Field(name="every", label="Or every, s", kind="number", value=every, help="Seconds, in place of the above."),
        Field(name="missed", label="For missed times", kind="choice", value=schedule["missed"], choices=_MISSED),
        Field(name="paused", label="Paused", kind="flag", value="1" if schedule["paused"] else ""),
        Field(name="job.type", label="Type of its jobs", value=job.get("type", ""), is_required=True),
        Field(name="job.queue", label="Queue", value=job.get("queue", ""), placeholder="default"),
        _area("job.data", "Data of its jobs, as JSON", job.get("data") or {}),
        _area("job", "Other fields of its jobs, as JSON", rest, "Such as attempts, priority, backoff, key, meta."),
    ]


def _area(name: str, label: str, value: Any, help_: str = "") -> Field:
    text = json_text.written(value)
    rows = min(16, max(3, text.count("\n") + 2))
    return Field(name=name, label=label, kind="area", value=text, rows=rows, help=help_)


def _why_not(view: View, size: int) -> str:
    if view.caller.scope.meta:
        return "This needs a token that is not limited to values of meta."
    return "" if size <= _LARGEST else f"Its job takes {size:,} characters: change it over the API."


def _texts(it: _Subject) -> list[str]:
    declared = it.schedule.get("declared")
    if not declared:
        return []
    return [
        f"The code of {shorten(declared['by'], _LONGEST)} declares it. A field that you change stays as you set it."
    ]


def _call(name: str, body: dict[str, Any] | None, match: str, *, is_new: bool) -> Call:
    return Call(method="PUT", path=f"/v1/schedules/{quoted(name)}", body=body, match=match, is_new=is_new)


@cache
def _zones() -> tuple[tuple[str, str], ...]:
    """Return the names of zones that people choose from."""
    named = {name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/", "US/"))}
    return tuple((name, "") for name in ("UTC", *sorted(named)))


def _page(path: str, *, is_new: bool) -> Page:
    async def load(view: View) -> dict[str, Any]:
        return await _load(view, is_new=is_new)

    async def act(view: View, sent: Sent) -> Deed | Preview:
        return await _act(view, sent, is_new=is_new)

    parts: tuple[Load, Act] = load, act
    return act_page(path, *parts, nav="Schedules", template="schedules/edit.html")


SCHEDULE_EDITS: Final = (_page("/schedules/new", is_new=True), _page("/schedules/{name}/edit", is_new=False))
