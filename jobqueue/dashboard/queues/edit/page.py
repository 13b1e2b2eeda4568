"""Edit the configuration of a queue: a form, a preview, and a patch of what was touched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import MATCH, act_page, tied
from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Preview, Sent, Trouble, filled
from jobqueue.dashboard.frame.ask import send
from jobqueue.dashboard.frame.texts import count, parsed, shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.queues.changes import change_line, earlier
from jobqueue.dashboard.queues.edit import processors, settings
from jobqueue.dashboard.queues.edit.effects import effects
from jobqueue.dashboard.queues.subject import DEFAULTS, back, the_queue
from jobqueue.domain.access.masking import MASK
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values.checks import gather

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.view import View

PUT_BACK: Final = "put"
"""The parameter with the id of a change whose earlier values the form begins with."""
_DO: Final = "do"
_SEEN: Final = "seen"
_SINCE: Final = "since"
_LONGEST: Final = 60
_MOST_CHANGES: Final = "20"
_DRY: Final = {"dryRun": "true"}
_SAME: Final = "The queue has these earlier values already."
_UNUSABLE: Final = "Some of the earlier values cannot be used as they are."
_NOTHING: Final = "nothing differs from what the queue has"


@dataclass(frozen=True, slots=True)
class _Subject:
    """A queue as it is, its tag, and the texts of its fields."""

    queue: Mapping[str, Any]
    tag: str

    @property
    def shown(self) -> dict[str, str]:
        """The texts of the fields that the form shows, by name, without those that are empty."""
        some = dict(list(self.queue["processors"].items())[: processors.MOST])
        return {name: text for name, text in _texts({**self.queue, "processors": some}).items() if text}


async def _subject(view: View, *, is_sent: bool) -> _Subject:
    return _Subject(*await the_queue(view, anyway=is_sent))


async def _load(view: View) -> dict[str, Any]:
    it = await _subject(view, is_sent=view.sent is not None)
    sent, note = view.sent, ""
    if sent is None and view.query(PUT_BACK):
        sent, note = await _put_back(view, it)
    preview = sent.preview if sent else None
    made = preview if preview and "processors" in preview else None
    typed = {} if sent is None or made else sent.values
    seen = {} if sent is None else _seen(sent, it)
    form = Form(
        title=f"Edit {shorten(view.path('name'), _LONGEST)}",
        button=f"Save {count(len(preview['rows']), 'change')}" if preview and not made else "Save",
        call=_call(view, it.tag, preview["body"] if preview and not made else {"concurrency": it.queue["concurrency"]}),
        fields=[*settings.fields(it.queue), *processors.fields(it.queue, typed, seen), *await _hidden(view, it)],
        back=back(view.path("name")),
    )
    if sent is not None and not made:
        form = _merged(filled(form, sent), it, sent)
    return {
        "form": form,
        "groups": _groups(form.fields),
        "wrong": [each for each in form.fields if each.problem],
        "looked": None if made else preview,
        "made": _secrets(made) if made else {},
        "note": note,
        "paused": it.queue["pauseReason"] or "no reason was given" if it.queue["paused"] else "",
        "meanwhile": await _meanwhile(view, sent),
        "more": max(0, len(it.queue["processors"]) - processors.MOST),
        "events": None,
    }


async def _act(view: View, sent: Sent) -> Deed | Preview:
    it = await _subject(view, is_sent=True)
    body = _patch(it, sent)
    name = view.path("name")
    call = _call(view, sent.text(MATCH), body)
    if sent.text(_DO) != _mark(body):
        return Preview(values=await _preview(view, it, call))
    makes = any(
        processor is not None and processor.get("kind") == "webhook" and "secret" not in processor
        for processor in body.get("processors", {}).values()
    )
    said = f"Saved: {', '.join(body)}."
    return Deed(call=call, said=said, to=back(name)[0], shown=makes)


def _call(view: View, match: str, body: Any) -> Call:
    return Call(method="PATCH", path=f"/v1/queues/{quoted(view.path('name'))}", body=body, match=match)


async def _preview(view: View, it: _Subject, call: Call) -> dict[str, Any]:
    """Return what a call would change; raises as the call would."""
    after = await send(view.request, replace(call, query=_DRY))
    rows = json_text.differences(_of(it.queue), _of(after))
    rows += _hidden_rows(call.body)
    if not rows:
        raise InvalidInputError({"form": [_NOTHING]})
    told = await effects(view, it.queue, _of(after))
    return {"body": call.body, "rows": rows, "effects": told, "mark": _mark(call.body)}


def _hidden_rows(body: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows of secrets, whose masks do not differ."""
    changed = (body.get("processors") or {}).items()
    kinds = [kind for kind, each in changed if each and "kind" not in each and "secret" in each]
    return [(f"processors.{shorten(kind, 80)}.secret", MASK, "another one") for kind in kinds]


def _of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in DEFAULTS}


def _patch(it: _Subject, sent: Sent) -> dict[str, Any]:
    """Return the patch of what was touched since the form was made.

    Raises:
        InvalidInputError: naming each field that cannot be read; or nothing was touched.
    """
    typed, seen = sent.values, _seen(sent, it)
    problems: Problems = {}
    body = gather(problems, settings.patch, typed, seen) or {}
    body |= gather(problems, processors.patch, typed, seen, it.queue["processors"]) or {}
    if problems:
        raise InvalidInputError(problems)
    if not body:
        raise InvalidInputError({"form": [_NOTHING]})
    return body


def _seen(sent: Sent, it: _Subject) -> dict[str, str]:
    """Return the texts of the fields when the form was made."""
    try:
        found = json.loads(sent.values.get(_SEEN, ""))
    except (ValueError, RecursionError):
        return it.shown
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else it.shown


async def _hidden(view: View, it: _Subject) -> list[Field]:
    seen = json.dumps(it.shown, ensure_ascii=False, separators=(",", ":"))
    return [
        Field(name=_SEEN, kind="hidden", value=seen),
        Field(name=_SINCE, kind="hidden", value=view.now.isoformat()),
        *await tied(view, it.tag),
    ]


def _merged(form: Form, it: _Subject, sent: Sent) -> Form:
    """Return a form after a clash: what was not touched is as it is now, and what was typed stays."""
    if sent.trouble is None or not sent.trouble.is_clash:
        return form
    seen, now = _seen(sent, it), _texts(it.queue)
    return replace(form, fields=[_after_clash(each, seen.get(each.name, ""), now) for each in form.fields])


def _after_clash(each: Field, seen: str, now: Mapping[str, str]) -> Field:
    if each.kind == "hidden":
        return each
    if each.name not in now:
        return replace(each, present=None)
    present = now[each.name]
    if each.value.strip() == seen:
        return replace(each, value=present, present=None)
    if present == seen or present == each.value.strip():
        return replace(each, present=None)
    words = {"": "off", "1": "on"} if each.kind == "flag" else dict(each.choices)
    return replace(each, present=words.get(present, present))


def _texts(queue: Mapping[str, Any]) -> dict[str, str]:
    return settings.shown(queue) | processors.shown(queue)


async def _meanwhile(view: View, sent: Sent | None) -> list[dict[str, Any]]:
    """Return the changes of others since the form was made, if it met one."""
    if sent is None or sent.trouble is None or not sent.trouble.is_clash:
        return []
    since = parsed(sent.text(_SINCE))
    changes = await view.ask(f"/v1/queues/{quoted(view.path('name'))}/changes", {"limit": _MOST_CHANGES})
    if since is None:
        return []
    return [change_line(change) for change in changes["items"] if (parsed(change["at"]) or view.now) >= since]


async def _put_back(view: View, it: _Subject) -> tuple[Sent, str]:
    """Return a form as it would be sent with the values before a change, and a sentence about it."""
    change, before, after = await earlier(view, view.path("name"), view.query(PUT_BACK))
    old, new = _texts(before), _texts(after)
    present = _texts(it.queue)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    hooks = {name.partition(".")[0] for name in changed if processors.is_name(name)}
    typed = it.shown | {name: text for name, text in present.items() if name.partition(".")[0] in hooks}
    for name in changed:
        typed.pop(name, None)
        if old.get(name) or (name in old and not _is_flag(name)):
            typed[name] = old[name]
    for kind in set(after["processors"]) - set(before["processors"]):
        if kind in it.queue["processors"]:
            at = processors.prefix(kind)
            typed |= {f"{at}.type": kind, f"{at}.kind": present[f"{at}.kind"], f"{at}.gone": "1"}
    typed |= {MATCH: it.tag, _SEEN: json.dumps(it.shown), _SINCE: view.now.isoformat()}
    sent = Sent(values=typed, lists={})
    line = change_line(change)
    try:
        preview, trouble = await _preview(view, it, _call(view, it.tag, _patch(it, sent))), None
    except InvalidInputError as error:
        is_same = "form" in error.problems
        text = _SAME if is_same else _UNUSABLE
        preview, trouble = None, Trouble(status=422, text=text, fields={} if is_same else error.problems)
    values = {name: value for name, value in typed.items() if name not in (MATCH, _SINCE)}
    return Sent(values=values, lists={}, preview=preview, trouble=trouble), line["who"]


def _is_flag(name: str) -> bool:
    return any(each.path == name and each.kind == "flag" for each in settings.SETTINGS)


def _groups(fields: Sequence[Field]) -> list[tuple[str, list[Field]]]:
    """Return the fields by their headings, in their order."""
    found: dict[str, list[Field]] = {}
    for each in fields:
        if each.kind != "hidden":
            found.setdefault(each.group, []).append(each)
    return list(found.items())


def _secrets(reply: Mapping[str, Any]) -> dict[str, str]:
    """Return the secrets that were made, by type of job."""
    found = {kind: each.get("secret") for kind, each in reply["processors"].items()}
    return {kind: secret for kind, secret in found.items() if secret not in (None, MASK)}


def _mark(body: Mapping[str, Any]) -> str:
    """Return a mark of a patch: a preview counts for the same patch only."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


EDIT: Final = act_page("/queues/{name}/edit", _load, _act, nav="Queues", template="queues/edit.html")
