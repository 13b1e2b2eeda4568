"""Fields of the schemas of the HTTP API, with their types and meanings, and of stored documents."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from docs.extension.markdown import code, table
from jobqueue.api.description.openapi import document
from jobqueue.api.route_table import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REF: Final = "#/components/schemas/"
_PARTIAL: Final = "Partial"
_MOST_CHOICES: Final = 12
_FORMATS: Final = {"date-time": "date", "uri": "URL", "uri-reference": "URL"}
_NAMES: Final = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list"}
_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@cache
def _schemas() -> dict[str, Any]:
    """Return the schemas; of one with some fields of another only the other."""
    made: dict[str, Any] = document(ROUTES)["components"]["schemas"]
    return {
        name.removeprefix(_PARTIAL): made[name] for name in sorted(made, key=lambda one: not one.startswith(_PARTIAL))
    }


def schemas() -> str:
    """Return all schemas of the HTTP API, in the order of their names."""
    return "\n\n".join(
        f"({anchor(name)})=\n## {name}\n\n{_fields(schema)}" for name, schema in sorted(_schemas().items())
    )


def anchor(name: str) -> str:
    """Return the anchor of a schema."""
    return f"schema-{name.lower()}"


def link(schema: Mapping[str, Any]) -> str:
    """Return a link to a schema."""
    if "$ref" not in schema:
        return type_of(schema)
    name = schema["$ref"].removeprefix(_REF).removeprefix(_PARTIAL)
    return f"[{name}](#{anchor(name)})"


def described(schema: Mapping[str, Any]) -> str:
    """Return the fields of a body."""
    return _fields(_schemas()[schema["$ref"].removeprefix(_REF)]) if "$ref" in schema else type_of(schema)


def type_of(schema: Mapping[str, Any]) -> str:
    """Return the type of a value in words."""
    return " or ".join(dict.fromkeys(_types(schema))) or "any JSON"


def _types(schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        yield link(schema)
        return
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _types(choice)
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if 0 < len(choices) <= _MOST_CHOICES:
        yield from ("null" if choice is None else code(str(choice)) for choice in choices)
        return
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        yield _named(kind, schema)


def _named(kind: str, schema: Mapping[str, Any]) -> str:
    if kind == "array":
        inner = type_of(schema.get("items", {}))
        return f"list of {inner}" if inner != "any JSON" else "list"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"object of {type_of(inner)}" if isinstance(inner, dict) and inner else "object"
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""), "text")
    name = _NAMES.get(kind, kind)
    bounds = [f"{sign} {schema[word]:,}" for word, sign in _BOUNDS.items() if word in schema]
    return " ".join([name, *bounds]) if kind in {"integer", "number"} else name


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = []
    for name, field in schema.get("properties", {}).items():
        meaning = field.get("description", "")
        default = f"; default {code(str(field['default']))}" if "default" in field else ""
        rows.append([code(name) + (" *" if name in required else ""), type_of(field), meaning + default])
    return table(["field", "type", "meaning"], rows)
