"""The JSON Schema of the arguments of a task (JSON Schema 2020-12)."""

from __future__ import annotations

import json
import sys
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
            schema: dict[str, Any] = dict(describe(by_alias=True, mode="validation", **_generator(kind)))
            for name, definition in schema.pop(_DEFS, {}).items():
                if self._shared.setdefault(name, definition) != definition:
                    raise TypeError(f"two different types are called {name}")
            return schema
        if value_types.is_object_id(kind):
            return {"type": "string", "pattern": "^[0-9a-fA-F]{24}$"}
        return {}


def _generator(kind: type) -> dict[str, Any]:
    """Return the generator of schemas that names all keys of fields of pydantic models, if this is such a model."""
    pydantic, generators = sys.modules.get("pydantic"), sys.modules.get("pydantic.json_schema")
    if pydantic is None or generators is None or not issubclass(kind, pydantic.BaseModel):
        return {}
    base: Any = generators.GenerateJsonSchema

    class Generator(base):  # type: ignore[misc]  # a class that is only known here
        def model_schema(self, schema: Any) -> dict[str, Any]:
            described: dict[str, Any] = super().model_schema(schema)
            return _with_all_keys(described, schema["cls"])

    return {"schema_generator": Generator}


def _with_all_keys(schema: dict[str, Any], model: Any) -> dict[str, Any]:
    """Return the schema of a pydantic model that takes each field under all its keys; pydantic describes one key."""
    properties, required = dict(schema.get("properties", {})), list(schema.get("required", ()))
    choices: list[Any] = []
    config = model.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    for name, field in model.model_fields.items():
        keys = _keys(field.validation_alias, [name] if by_name else [])
        described = next((key for key in keys if key in properties), None)
        if described is None or len(keys) == 1:
            continue
        for key in keys:
            properties.setdefault(key, properties[described])
        if described in required:
            required.remove(described)
            choices.append({"anyOf": [{"required": [key]} for key in keys]})
    if "properties" not in schema or properties == schema["properties"]:
        return schema
    changed = {**schema, "properties": properties, "required": required}
    return changed | ({"allOf": [*schema.get("allOf", ()), *choices]} if choices else {})


def _keys(alias: Any, names: list[str]) -> list[str]:
    """Return the keys of a field by its alias of pydantic: a text, a path, or choices of both."""
    choices = getattr(alias, "choices", [alias])
    first = [getattr(choice, "path", [choice])[0] for choice in choices]
    return list(dict.fromkeys([key for key in first if isinstance(key, str)] + names))


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value_types.to_json(value))
    except (TypeError, ValueError):
        return False
    return True
