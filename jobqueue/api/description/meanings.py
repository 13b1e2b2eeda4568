"""Meanings of the fields and parameters whose schemas say none, from ``meanings.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTIAL: Final = "Partial"
"""Beginning of the names of schemas that have some of the fields of another schema."""


def explain(document: dict[str, Any]) -> None:
    """Add to an OpenAPI document the descriptions that its fields and parameters lack."""
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            _add(described, of_field(name, field))
    for path, operations in document["paths"].items():
        for parameter in operations.get("parameters", ()):
            _add(parameter, _read()["paths"].get(_place(path, parameter["name"])))
        for operation in operations.values():
            for parameter in operation.get("parameters", ()) if isinstance(operation, dict) else ():
                _add(parameter, _read()["parameters"].get(parameter["name"]))


def of_field(schema: str, field: str) -> str | None:
    """Return the meaning of a field: that of the field in its schema, or else that of its name."""
    own = _read()["schemas"].get(schema.removeprefix(_PARTIAL), {})
    meaning: str | None = own.get(field, _read()["fields"].get(field))
    return meaning


def _place(path: str, name: str) -> str:
    """Return a parameter of a path with the part of the path before it, such as ``jobs.id``."""
    return f"{path.partition('/{' + name + '}')[0].rpartition('/')[2]}.{name}"


def _add(described: dict[str, Any], meaning: str | None) -> None:
    if meaning is not None:
        described.setdefault("description", meaning)


@cache
def _read() -> Mapping[str, Any]:
    return tomllib.loads(files("jobqueue.api.description").joinpath("meanings.toml").read_text(encoding="utf-8"))
