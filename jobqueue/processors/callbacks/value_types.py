"""Values of declared types: to JSON, and back."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Coroutine
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from jobqueue.domain.text import type_name, words

if TYPE_CHECKING:
    from collections.abc import Callable

_BUILTIN: Final = (datetime,)
_PLACE: Final = re.compile(r"(?s)(.*) - at (`key` in )?`\$(.*)`")
_WORDS: Final = re.compile(r"(Expected|Object|Invalid) ")
"""Openings of the messages of msgspec."""
_MOST_FAULTS: Final = 5


def to_json(value: Any) -> Any:
    """Return a value as JSON; dates stay dates.

    Raises:
        TypeError, ValueError: it cannot be.
    """
    return msgspec.to_builtins(value, builtin_types=_BUILTIN, str_keys=True, enc_hook=_encoded)


def from_json(stored: Any, kind: Any) -> Any:
    """Return a JSON value in a type.

    Raises:
        ValueError: it is of another type.
        TypeError: the type is none that values can have.
    """
    return msgspec.convert(stored, kind, str_keys=True, dec_hook=_decoded)


def check_type(kind: Any) -> None:
    """Make sure that values can be of a type.

    Raises:
        TypeError: they cannot.
        NameError: the type uses a name that is not known yet.
    """
    try:
        from_json(None, kind)
    except ValueError:
        # No value of the type, but a type.
        return


def declared(function: Callable[..., Any], name: str) -> Any:
    """Return the type of a parameter, or of the result under ``return``; `Any` where nothing tells.

    Raises:
        NameError: the annotation uses a name that is not known yet.
    """
    body: Any = inspect.unwrap(function)
    while isinstance(body, functools.partial):
        body = inspect.unwrap(body.func)
    if not inspect.isroutine(body) and not inspect.isclass(body):
        body = type(body).__call__
    annotations = getattr(body, "__annotations__", {})
    if name not in annotations:
        return Any
    one = SimpleNamespace(__annotations__={name: annotations[name]})
    kind = get_type_hints(one, getattr(body, "__globals__", {}), include_extras=True)[name]
    if name == "return" and get_origin(kind) in {Awaitable, Coroutine}:
        return get_args(kind)[-1]
    return Any if kind is object else kind


def misfit(error: ValueError, path: str) -> tuple[str, str]:
    """Return the path and the reason of a value that is of another type, both in the words of the queue.

    Args:
        error: of `from_json`.
        path: of the value.
    """
    text, of_key, place = str(error), None, ""
    if (match := _PLACE.fullmatch(text)) is not None:
        text, of_key, place = match.groups()
    inner = re.sub(r"\[(\d+)\]", r".\1", place.replace("[...]", ".*"))
    reason = f"{text[0].lower()}{text[1:]}".replace("`", "") if _WORDS.match(text) else text
    return f"{path}{inner}", f"has a name of another type: {reason}" if of_key else reason


def _encoded(value: Any) -> Any:
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(by_alias=True, round_trip=True)
    if is_object_id(type(value)):
        return str(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"{type_name(value)} cannot be stored as JSON")


def _decoded(kind: Any, stored: Any) -> Any:
    try:
        if callable(validate := getattr(kind, "model_validate", None)):
            return validate(stored)
        if is_object_id(kind):
            return kind(stored)
    except Exception as error:
        raise ValueError(_faults(error)) from error
    raise ValueError(f"values cannot be of type {getattr(kind, '__qualname__', kind)}")


def is_object_id(kind: Any) -> bool:
    """Tell whether a type is the ``ObjectId`` of ``bson``, which this floor does not know."""
    return getattr(kind, "__name__", "") == "ObjectId" and getattr(kind, "__module__", "").partition(".")[0] == "bson"


def _faults(error: Exception) -> str:
    """Return the faults that a model names, on one line."""
    try:
        faults = error.errors(include_url=False)  # type: ignore[attr-defined]
        texts = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in faults]
    except Exception:  # noqa: BLE001 - no error of a model
        return words(error)
    return "; ".join(texts[:_MOST_FAULTS])
