"""Fields of a form from the JSON Schema of a type's data, where all of its members are simple enough."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.form import Field
from jobqueue.dashboard.frame.texts import NONE, shorten
from jobqueue.domain.errors import InvalidInputError, Problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.acts.form import Kind, Sent

PREFIX: Final = "data."
_MOST: Final = 30
_LONGEST: Final = 2000
_MOST_CHOICES: Final = 50
_TEXT: Final = "string"


def fields(schema: Mapping[str, Any] | None, data: Mapping[str, Any]) -> list[Field]:
    """Return a field for each member that a schema names; none if there is no schema, or it names too many."""
    members = (schema or {}).get("properties")
    if not isinstance(members, dict) or not 1 <= len(members) <= _MOST:
        return []
    required = (schema or {}).get("required")
    found = []
    for name, member in members.items():
        if not isinstance(member, dict) or len(json.dumps(data.get(name))) > _LONGEST:
            return []
        found.append(_field(name, member, data, is_required=isinstance(required, list) and name in required))
    return found


def read(schema: Mapping[str, Any], data: Mapping[str, Any], sent: Sent) -> dict[str, Any]:
    """Return data with what was typed; members that the schema does not name stay.

    Raises:
        InvalidInputError: naming each field that cannot be read.
    """
    changed, problems = dict(data), Problems()
    for name, member in schema["properties"].items():
        if PREFIX + name not in sent.values:
            continue
        text = sent.values[PREFIX + name]
        if _is_text(member) and (text or isinstance(data.get(name), str)):
            # Browsers have one kind of line break.
            if not isinstance(data.get(name), str) or _lines(text) != _lines(data[name]):
                changed[name] = _lines(text)
        elif not text.strip():
            changed.pop(name, None)
        else:
            try:
                changed[name] = json_text.read(text, PREFIX + name)
            except InvalidInputError as error:
                problems.update(error.problems)
    if problems:
        raise InvalidInputError(problems)
    return changed


def _field(name: str, member: Mapping[str, Any], data: Mapping[str, Any], *, is_required: bool) -> Field:
    value = data.get(name)
    is_text = _is_text(member)
    shown = (
        ""
        if name not in data
        else value
        if is_text and isinstance(value, str)
        else json.dumps(value, ensure_ascii=False)
    )
    choices = _choices(member, is_text=is_text, is_required=is_required)
    # A field of one line would lose line breaks.
    is_long = "\n" in _lines(value) if isinstance(value, str) else isinstance(value, dict | list) and not is_text
    kind: Kind = "choice" if choices else "area" if is_long else "text"
    return Field(
        name=PREFIX + name,
        label=shorten(member.get("title") or name, 40),
        kind=kind,
        value=str(shown),
        choices=choices,
        help=shorten(member.get("description") or "", 200),
        placeholder=shorten(json.dumps(member["default"]), 60) if "default" in member else "",
        is_required=is_required and is_text is False,
    )


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _choices(member: Mapping[str, Any], *, is_text: bool, is_required: bool) -> list[tuple[str, str]]:
    values = member.get("enum")
    if member.get("type") == "boolean":
        values = [True, False]
    if not isinstance(values, list) or len(values) > _MOST_CHOICES:
        return []
    texts = [value if is_text and isinstance(value, str) else json.dumps(value) for value in values]
    return [*([] if is_required else [("", NONE)]), *((text, text) for text in texts)]


def _is_text(member: Mapping[str, Any]) -> bool:
    """Return True for a member that is a text in any case: it needs no quotes."""
    values = member.get("enum")
    return member.get("type") == _TEXT or (isinstance(values, list) and all(isinstance(each, str) for each in values))
