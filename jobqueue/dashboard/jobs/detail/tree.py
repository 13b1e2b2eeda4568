"""JSON as a tree: values as they are, with numbers as texts, and not more of them than a page can take."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobqueue.dashboard.jobs.detail.room import Room

Kind = Literal["object", "list", "text", "number", "word"]
_TAGS: Final = 130
"""Bytes of the tags of one value."""
_DEEPEST: Final = 12
_FEW: Final = 10
_LONGEST_KEY: Final = 200
_LONGEST_POINTER: Final = 1000


@dataclass(slots=True, kw_only=True)
class Node:
    """A value of JSON.

    Attributes:
        key: its name or number in the value around it.
        kind: object, list, text, number or word (true, false, null).
        text: of a value without parts.
        size: the number of parts, or the characters of a text.
        parts: of an object or a list.
        left_out: the number of parts for which there is no room.
        is_cut: True if the text goes on.
        is_open: True if the parts are shown at first.
        pointer: a JSON Pointer (RFC 6901) to the value; empty if it is too long for an address.
    """

    key: str
    kind: Kind
    text: str = ""
    size: int = 0
    parts: list[Node] = field(default_factory=list)
    left_out: int = 0
    is_cut: bool = False
    is_open: bool = False
    pointer: str = ""

    @property
    def has_parts(self) -> bool:
        """True for an object and a list."""
        return self.kind in {"object", "list"}

    @property
    def noun(self) -> str:
        """The word for one part."""
        return "key" if self.kind == "object" else "entry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most that a tree shows: parts of one value, and bytes of one text."""

    parts: int = 40
    text: int = 240


def node(key: str, value: Any, room: Room, bounds: Bounds, *, pointer: str = "", depth: int = 0) -> Node:
    """Return a value as a tree.

    Args:
        key: its name.
        value: of JSON.
        room: for the tree.
        bounds: of each value.
        pointer: to the value.
        depth: the number of values around it.
    """
    room.take(_TAGS)
    shown = Node(
        key=room.text(key, _LONGEST_KEY), kind=kind(value), pointer=pointer if len(pointer) <= _LONGEST_POINTER else ""
    )
    room.take(len(shown.pointer))
    if isinstance(value, dict | list):
        shown.size = len(value)
        shown.is_open = depth == 0 or (len(value) <= _FEW and depth <= 1)
        if depth < _DEEPEST:
            _add_parts(shown, members(value), room, bounds, depth)
        shown.left_out = len(value) - len(shown.parts)
        return shown
    if isinstance(value, str):
        text = json.dumps(value[: bounds.text * 2], ensure_ascii=False)
        shown.text = room.text(text, bounds.text)
        shown.size = len(value)
        shown.is_cut = shown.text != text or len(value) > bounds.text * 2
        return shown
    shown.text = json.dumps(value)
    room.take(len(shown.text))
    return shown


def kind(value: Any) -> Kind:
    """Return the kind of a value."""
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "list"
    if isinstance(value, str):
        return "text"
    return "word" if value is None or isinstance(value, bool) else "number"


def members(value: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:
    """Return the parts of an object or a list, each with its key or number."""
    return value.items() if isinstance(value, dict) else ((str(index), part) for index, part in enumerate(value))


def at(value: Any, pointer: str) -> Any:
    """Return the part of a value to which a JSON Pointer leads.

    Raises:
        LookupError: there is none.
    """
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdecimal():
            value = value[int(key)]
        else:
            raise LookupError(pointer)
    return value


def below(pointer: str, key: str) -> str:
    """Return the JSON Pointer to a part of a value."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"


def _add_parts(shown: Node, parts: Iterable[tuple[str, Any]], room: Room, bounds: Bounds, depth: int) -> None:
    for key, part in parts:
        if len(shown.parts) >= bounds.parts or room.is_used_up:
            return
        shown.parts.append(
            node(key, part, room, bounds, pointer=below(shown.pointer, key) if shown.pointer else "", depth=depth + 1)
        )
