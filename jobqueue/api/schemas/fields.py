"""Kinds of fields, and schemas made of them: they read requests, write replies and describe both to OpenAPI."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from marshmallow import RAISE, Schema, ValidationError, fields, missing

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values.iso8601 import NO_DATE, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

_SCHEMA_MESSAGES: Final = {"unknown": "is not a known field", "type": "must be an object"}


class Described(fields.Field[Any]):
    """A field with its own error messages and keywords for OpenAPI; values are written as `json_form.value` does.

    Args:
        arguments: as marshmallow's field.
        spec: keywords of JSON Schema besides those that follow from the kind of field.
        options: as marshmallow's field.

    Attributes:
        as_it_is: types of JSON values that are read as they are.
    """

    must = "must be something else"
    as_it_is: ClassVar[frozenset[type]] = frozenset()

    def __init__(self, *arguments: Any, spec: Mapping[str, Any] | None = None, **options: Any) -> None:
        messages: dict[str, Any] = {"required": "is required", "null": "must not be null", "invalid": self.must}
        super().__init__(*arguments, error_messages=messages, **options)
        self.spec: Mapping[str, Any] = spec or {}

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **options: Any) -> Any:
        """Return the JSON of a field; a sparse field without a value is left out, a required one is ``null``."""
        value = super().serialize(attr, obj, accessor, **options)
        if self.required:
            return None if value is missing else value
        return missing if value is None and not self.allow_none else value

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return json_form.value(value)


class Text(Described, fields.String):
    """Text."""

    must = "must be text"
    as_it_is = frozenset({str})


class Whole(Described, fields.Integer):
    """A whole number; 5.0 is none."""

    must = "must be a whole number"
    as_it_is = frozenset({int})

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)


class Number(Described, fields.Float):
    """A whole or fractional number, which stays what it is."""

    must = "must be a number"
    as_it_is = frozenset({int, float})

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


class MomentOrSeconds(Described, fields.Raw):
    """A date as `Moment`, or a number of seconds."""

    must = "must be a date or a number of seconds"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime | float:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.make_error("invalid")
        if not isinstance(value, str):
            return value
        try:
            return moment(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class Object(Described, fields.Dict):
    """An object with anything in it."""

    must = "must be an object"
    as_it_is = frozenset({dict})

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return None if value is None else json_form.value(dict(value))


class Inner(Described, fields.Nested):
    """An object with fields of its own."""

    must = "must be an object"
    _serialize = fields.Nested._serialize  # type: ignore[assignment]  # noqa: SLF001 - marshmallow's way to extend


class Items(Described, fields.List[Any]):
    """A list; an error names a wrong item by its number."""

    must = "must be a list"
    _serialize = fields.List._serialize  # noqa: SLF001 - as above


class Anything(Described, fields.Raw):
    """Any JSON value; the domain checks it."""


class Group(Described, fields.Raw):
    """A job or a list of jobs; `new_jobs` reads them."""

    must = "must be a job or a list of jobs"

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return json_form.children(value)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, dict | list):
            raise self.make_error("invalid")
        return value


class Strict(Schema):
    """A schema with JSON names that refuses unknown fields."""

    class Meta:
        """Options."""

        unknown = RAISE

    error_messages = _SCHEMA_MESSAGES

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Give a field its JSON name."""
        field_obj.data_key = json_form.camel(field_obj.data_key or field_name)

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **_: Any) -> None:  # noqa: ARG002 - marshmallow's
        """Add to the message of an unknown field the one that was probably meant."""
        messages: Any = error.messages
        if isinstance(messages, dict) and not many:
            unknown = [name for name, told in messages.items() if told == [_SCHEMA_MESSAGES["unknown"]]]
            messages |= unknown_names(unknown, {str(field.data_key) for field in self.load_fields.values()})


class Response(Strict):
    """A schema of replies.

    Attributes:
        sparse: fields that a reply may lack; all others are required.
    """

    sparse: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def of(cls, source: Any) -> dict[str, Any]:
        """Return the JSON form of an object or a mapping with the attributes of this schema."""
        shown: dict[str, Any] = instance(cls).dump(source)
        return shown

    @classmethod
    def many(cls, sources: Iterable[Any]) -> list[dict[str, Any]]:
        """Return the JSON forms of several objects."""
        return [cls.of(source) for source in sources]

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Require a field unless it is sparse."""
        super().on_bind_field(field_name, field_obj)
        field_obj.required = field_name not in self.sparse


def page(name: str, item: type[Response]) -> type[Schema]:
    """Return the schema of a page of items.

    Args:
        name: of the schema, for OpenAPI.
        item: the schema of an item.
    """
    return Response.from_dict({"items": Items(Inner(item)), "next": Text(allow_none=True)}, name=name)


@cache
def instance(schema: type[Schema]) -> Schema:
    """Return the instance of a schema that all requests share."""
    return schema()


def load(schema: type[Schema], body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON object.

    Raises:
        InvalidInputError: naming each unknown, missing or ill-typed field.
    """
    values, problems = sift(schema, body)
    if problems:
        raise InvalidInputError(problems)
    return values


def sift(schema: type[Schema], body: Mapping[str, Any]) -> tuple[dict[str, Any], Problems]:
    """Return the well-typed fields of a JSON object, and the problems of the others."""
    quick = _loaded(schema, body)
    if quick is not None:
        return quick, {}
    try:
        values: dict[str, Any] = instance(schema).load(body)
    except ValidationError as error:
        valid = error.valid_data
        return valid if isinstance(valid, dict) else {}, flattened(error.messages)
    return values, {}


@cache
def _by_key(schema: type[Schema]) -> tuple[dict[str, tuple[str, fields.Field[Any], frozenset[type]]], frozenset[str]]:
    """Return the fields of a schema by JSON name, with their names, and the JSON names that need a look if absent."""
    known: dict[str, tuple[str, fields.Field[Any], frozenset[type]]] = {
        str(field.data_key): (field.attribute or name, field, getattr(field, "as_it_is", frozenset()))
        for name, field in instance(schema).load_fields.items()
    }
    looked_for = [key for key, (_, field, _) in known.items() if field.required or field.load_default is not missing]
    return known, frozenset(looked_for)


def _loaded(schema: type[Schema], body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of a JSON object without mistakes; ``None`` for one that marshmallow has to look at.

    marshmallow itself looks at all fields of a schema, of which an object usually has a few.
    """
    known, looked_for = _by_key(schema)
    if not looked_for <= body.keys():
        return None
    values = {}
    try:
        for key, value in body.items():
            name, field, as_it_is = known[key]
            values[name] = value if type(value) in as_it_is else field.deserialize(value, key, body)
    except (KeyError, ValidationError):
        return None
    return values


def flattened(messages: Any) -> Problems:
    """Return marshmallow's nested messages by dotted path; indexes of lists are part of the path."""
    problems: Problems = {}
    _flatten(messages, "", problems)
    return problems


def _flatten(messages: Any, path: str, problems: Problems) -> None:
    if isinstance(messages, dict):
        for name, inner in messages.items():
            below = path if name == "_schema" else f"{path}.{name}" if path else str(name)
            _flatten(inner, below, problems)
    else:
        problems.setdefault(path or "body", []).extend(str(message) for message in messages)


@cache
def partial(of: Any, needed: frozenset[str] = frozenset()) -> type[Response]:
    """Return the schema of replies with some fields of another one, and with some fields of the objects in it."""
    declared: dict[str, Any] = of._declared_fields  # noqa: SLF001 - marshmallow has no public name for it
    parts: dict[str, Any] = {"sparse": frozenset(declared) - needed, "__doc__": f"Some fields of {of.__name__}."}
    for name, field in declared.items():
        if isinstance(field, Inner):
            within: Any = field.nested
            parts[name] = Inner(partial(within), allow_none=field.allow_none)
        elif isinstance(field, Items) and isinstance(field.inner, Inner):
            within = field.inner.nested
            parts[name] = Items(Inner(partial(within)))
    return type(f"Partial{of.__name__}", (of,), parts)
