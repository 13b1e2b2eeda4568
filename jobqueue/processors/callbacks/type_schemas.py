"""The JSON Schema of the arguments of a task (JSON Schema 2020-12)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from jobqueue.processors.callbacks import value_types

if TYPE_CHECKING:
    import inspect
    from collections.abc import Mapping

LONGEST: Final = 64 * 1024
"""Bytes of a schema; a longer one is not published."""
_DEFS: Final = "$defs"
_REF: Final = "#/$defs/{name}"


def schema_of(
    parameters: Mapping[str, inspect.Parameter], types: Mapping[str, Any], *, takes_other: bool
) -> str | None:
    """Return the schema of the arguments of a task as JSON; ``None`` if a type has no schema, or it is too long.

    Args:
        parameters: the arguments by name.
        types: their types.
        takes_other: the task also takes data of other forms, which it upgrades.
    """
    shared: dict[str, Any] = {}
    hook = _Hook(shared)
    names = list(parameters)
    try:
        found, named = msgspec.json.schema_components(
            [types[name] for name in names], schema_hook=hook, ref_template=_REF
        )
    except (TypeError, RuntimeError):
        return None
    properties = {name: dict(schema) for name, schema in zip(names, found, strict=True)}
    for name, parameter in parameters.items():
        if parameter.default is not parameter.empty and _is_json(parameter.default):
            properties[name]["default"] = value_types.to_json(parameter.default)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := [name for name, parameter in parameters.items() if parameter.default is parameter.empty]:
        schema["required"] = required
    if any(shared[name] != named[name] for name in shared.keys() & named.keys()):
        return None
    if shared | named:
        schema[_DEFS] = shared | named
    if takes_other:
        schema = {"anyOf": [schema, {"type": "object", "description": "older forms, which the task upgrades"}]}
    text = json.dumps(schema, ensure_ascii=False)
    return text if len(text.encode()) <= LONGEST else None


class _Hook:
    """Gives the schemas of types that msgspec does not know.

    Args:
        shared: takes definitions that a schema refers to.
    """

    def __init__(self, shared: dict[str, Any]) -> None:
        self._shared = shared

    def __call__(self, kind: type) -> dict[str, Any]:
        if callable(describe := getattr(kind, "model_json_schema", None)):
            schema: dict[str, Any] = dict(describe(by_alias=True, mode="validation"))
            for name, definition in schema.pop(_DEFS, {}).items():
                if self._shared.setdefault(name, definition) != definition:
                    raise TypeError(f"two different types are called {name}")
            return schema
        if value_types.is_object_id(kind):
            return {"type": "string", "pattern": "^[0-9a-fA-F]{24}$"}
        return {}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value_types.to_json(value))
    except (TypeError, ValueError):
        return False
    return True
