"""Fields of a careful requeue of many jobs: a trial, a pace, a stop rule, a step, and a patch of the data."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.form import Field, Preview
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values.checks import gather

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.acts.form import Sent
    from jobqueue.dashboard.frame.view import View

TEMPLATE: Final = "bulk/requeue.html"
DO: Final = "do"
LOOK: Final = "look"
ONE: Final = "one-"
"""The button that starts one job has this and the mark of the patch that was seen."""
_REST: Final = "rest"
_ALL: Final = "all"
_KEEP: Final = "keep"
_STEP: Final = "step:"
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_NUMBERS: Final = ("trial", "stopAfter", "attempts", "priority")
_PATCH_HELP: Final = (
    'Its members replace those of the data, and null removes one, as {"country": "AT"}. '
    "Three jobs are shown before and after it first."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """A sample of the jobs that a patch would change.

    Attributes:
        rows: path, value before and value after.
        problem: the reason why this job would be refused; empty for none.
    """

    id: str
    rows: Sequence[tuple[str, str, str]]
    problem: str


def rule_fields(pace: object = None, stop_after: object = None) -> list[Field]:
    """Return the fields of a pace and of a stop rule, with their present values."""
    told = "5 is five unfinished at once, 20/m is twenty a minute. Empty: as fast as it goes."
    stops = "So many jobs that fail again. Those that have started run to their end. Empty: never."
    return [
        Field(name="pace", label="Pace", value=_text(pace), help=told),
        Field(name="stopAfter", label="Stop after", kind="number", value=_text(stop_after), help=stops),
    ]


def fields(
    steps: Sequence[str] | None = None, *, trial: object = None, pace: object = None, stop_after: object = None
) -> list[Field]:
    """Return the fields of a careful requeue.

    Args:
        steps: names to choose from; ``None`` where they are not known.
        trial: the number of jobs that is proposed; ``None`` for no trial.
        pace: that is proposed.
        stop_after: the number of failures that is proposed.
    """
    first = "So many jobs, the oldest ones. All of them have to succeed before the others start. Empty: no trial."
    waits = [("wait", "stop, until somebody goes on"), (_REST, "the others follow by themselves")]
    return [
        Field(name="trial", label="Try first", kind="number", value=_text(trial), help=first),
        Field(name="then", label="After the trial", kind="choice", value="wait", choices=waits),
        *rule_fields(pace, stop_after),
        _step_field(steps),
        Field(name="attempts", label="Attempts", kind="number", help="Empty: as each job has them."),
        Field(name="priority", label="Priority", kind="number", help="Empty: as each job has it."),
        Field(name="dataPatch", label="Patch of their data, as JSON", kind="area", help=_PATCH_HELP),
    ]


def _step_field(steps: Sequence[str] | None) -> Field:
    if steps is None:
        help_ = "Its name. Empty: after the last finished one."
        return Field(name="step", label="From the step", help=help_)
    choices = [(_KEEP, "after the last finished step"), (_ALL, "the beginning: forget all steps")]
    choices += [(f"{_STEP}{name}", f"step {shorten(name, 60)}") for name in steps]
    return Field(name="fromStep", label="Go on from", kind="choice", value=_KEEP, choices=choices)


def read_rules(sent: Sent) -> dict[str, Any]:
    """Return the pace and the stop rule that were typed.

    Raises:
        InvalidInputError: naming each field that cannot be read.
    """
    problems: Problems = {}
    found = {name: gather(problems, _rule, sent.text(name), name) for name in ("pace", "stopAfter") if sent.text(name)}
    if problems:
        raise InvalidInputError(problems)
    return found


def read(sent: Sent) -> dict[str, Any]:
    """Return the members of the body of a careful requeue; raises as `read_rules`."""
    problems: Problems = {}
    body = {name: gather(problems, _rule, sent.text(name), name) for name in _NUMBERS if sent.text(name)}
    if sent.text("then") == _REST:
        body["then"] = True
    if sent.text("pace"):
        body["pace"] = gather(problems, _rule, sent.text("pace"), "pace")
    step = sent.values.get("fromStep", "")
    if sent.text("step"):
        body["fromStep"] = sent.text("step")
    elif step == _ALL:
        body["fromStep"] = None
    elif step.startswith(_STEP):
        body["fromStep"] = step.removeprefix(_STEP)
    if sent.text("dataPatch"):
        body["dataPatch"] = gather(problems, json_text.read_object, sent.values["dataPatch"], "dataPatch")
    if problems:
        raise InvalidInputError(problems)
    return body


def _rule(text: str, name: str) -> int | str:
    """Return a number, or a pace such as ``20/m``; the API checks their bounds.

    Raises:
        InvalidInputError: it is neither.
    """
    if name == "pace" and "/" in text:
        return text
    if not _WHOLE.fullmatch(text):
        raise InvalidInputError({name: [f"must be a whole number{', or as 20/m' if name == 'pace' else ''}"]})
    return int(text)


def typed(sent: Sent | None) -> dict[str, Any]:
    """Return what `read` finds, and nothing while something of it cannot be read."""
    try:
        return {} if sent is None else read(sent)
    except InvalidInputError:
        return {}


async def look(view: View, sent: Sent, path: str, body: Mapping[str, Any]) -> Preview | None:
    """Return a preview if it was asked for, or if nobody has seen yet what this patch does to the data."""
    do = sent.text(DO)
    if do != LOOK and do.removeprefix(ONE) == _mark(sent):
        return None
    found = await view.ask(path, body={**body, "dryRun": True})
    patched = [
        Patched(id=each["id"], rows=json_text.differences(each["before"], each["after"]), problem=each["problem"] or "")
        for each in found.get("dataSamples", ())
    ]
    return Preview(values={"mark": _mark(sent), "patched": patched, "has_patch": bool(_mark(sent))})


def seen(view: View) -> dict[str, Any]:
    """Return the variables of the template about what was previewed."""
    preview = view.sent.preview if view.sent else None
    return {"looked": preview, "mark": preview["mark"] if preview else "", "one": ONE, "look": LOOK}


def _mark(sent: Sent) -> str:
    """Return a mark of the patch that was typed: what was seen counts for the same one only. Empty for no patch."""
    patch = sent.text("dataPatch")
    return hashlib.sha256(patch.encode("utf-8", "surrogatepass")).hexdigest()[:16] if patch else ""


def _text(value: object) -> str:
    return "" if value is None else str(value)
