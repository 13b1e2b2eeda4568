"""The kinds of fields that schemas are made of, and how JSON is read by a schema.

Each field also says itself what OpenAPI has to know about it, in ``spec``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from marshmallow import RAISE, Schema, ValidationError, fields

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.iso8601 import NO_DATE, moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_SCHEMA_MESSAGES: Final = {"unknown": "is not a known field", "type": "must be an object"}


class Described(fields.Field[Any]):
    """Say what is wrong in our own words, and to OpenAPI what is right.

    Args:
        arguments: as marshmallow's field.
        spec: keywords of JSON Schema besides those that follow from the kind of field.
        options: as marshmallow's field.
    """

    must = "must be something else"

    def __init__(self, *arguments: Any, spec: Mapping[str, Any] | None = None, **options: Any) -> None:
        messages: dict[str, Any] = {"required": "is required", "null": "must not be null", "invalid": self.must}
        super().__init__(*arguments, error_messages=messages, **options)
        self.spec: Mapping[str, Any] = spec or {}


class Text(Described, fields.String):
    """Text."""

    must = "must be text"


class Whole(Described, fields.Integer):
    """A whole number; 5.0 is none."""

    must = "must be a whole number"

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)


class Number(Described, fields.Float):
    """A number, kept as the whole or broken one it is."""

    must = "must be a number"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return value


class Flag(Described, fields.Boolean):
    """True or false."""

    must = "must be true or false"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Moment(Described, fields.DateTime):
    """A date in ISO 8601: a time with its zone, or a day."""

    must = NO_DATE

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        try:
            return moment(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class Object(Described, fields.Dict):
    """An object with anything in it."""

    must = "must be an object"


class Inner(Described, fields.Nested):
    """An object with fields of its own; its JSON is kept as it is."""

    must = "must be an object"


class Items(Described, fields.List[Any]):
    """A list; a wrong item is named by its number."""

    must = "must be a list"


class Anything(Described, fields.Raw):
    """Any JSON value; the domain says which."""


class Group(Described, fields.Raw):
    """A job or a list of jobs; `new_jobs` reads them."""

    must = "must be a job or a list of jobs"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, dict | list):
            raise self.make_error("invalid")
        return value


class Strict(Schema):
    """A schema whose fields have their JSON names and that refuses any other."""

    class Meta:
        """Options."""

        unknown = RAISE

    error_messages = _SCHEMA_MESSAGES

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Give a field its JSON name."""
        field_obj.data_key = json_form.camel(field_obj.data_key or field_name)


class Response(Strict):
    """A schema of what is sent: every field is there but those that are said to be ``sparse``."""

    sparse: ClassVar[frozenset[str]] = frozenset()

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Require a field unless it is sparse."""
        super().on_bind_field(field_name, field_obj)
        field_obj.required = field_name not in self.sparse


def load(schema: Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema makes of JSON.

    Raises:
        InvalidInputError: naming each unknown, missing or ill-typed field.
    """
    values, problems = sift(schema, given)
    if problems:
        raise InvalidInputError(problems)
    return values


def sift(schema: Schema, given: Mapping[str, Any]) -> tuple[dict[str, Any], Problems]:
    """Return the well-typed fields of JSON, and what is wrong with the others."""
    try:
        values: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        valid = error.valid_data
        return valid if isinstance(valid, dict) else {}, flattened(error.messages)
    return values, {}


def flattened(messages: Any) -> Problems:
    """Return marshmallow's nested messages, whose keys may be numbers, by dotted path."""
    problems: Problems = {}
    _flatten(messages, "", problems)
    return problems


def _flatten(messages: Any, path: str, problems: Problems) -> None:
    if isinstance(messages, dict):
        for name, inner in messages.items():
            below = path if name == "_schema" else f"{path}.{name}" if path else str(name)
            _flatten(inner, below, problems)
    else:
        problems.setdefault(path or "body", []).extend(str(one) for one in messages)
