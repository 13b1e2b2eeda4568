"""Query strings: kinds of parameters, which are all text, and the reader of them."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Strict, flattened, instance
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.short_ids import ShortId
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values.checks import check_id, check_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from multidict import MultiMapping

MOST_QUEUES: Final = 200
_LONGEST_PLACE: Final = 500
LONGEST_WAIT: Final = 60
"""Seconds that a request may wait for something to happen."""
NO_CURSOR: Final = "is not a cursor of this listing"
_DEFAULT_LIMIT: Final = 50
_STATES: Final = tuple(State)
_WHOLE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def absent() -> None:
    """Return the value of a parameter that is missing; OpenAPI would show a plain ``None`` as its default."""


class Query(Strict):
    """The query string of a route.

    Attributes:
        prefix: the beginning of names that may go on in any way, such as ``meta.``; these parameters are gathered, as
            pairs of the rest of the name and the text, under the prefix without its dot.
    """

    prefix: ClassVar[str] = ""


class Several(fields.Described):
    """Values with commas between them; a repeated parameter gives several values, too."""


class ChoicesText(Several):
    """One or more of some words, with commas between them."""

    def __init__(self, choices: Collection[str], default: Callable[[], Any], **options: Any) -> None:
        self._choices = choices
        word = "|".join(choices)
        spec = {"type": "string", "pattern": f"^({word})(,({word}))*$"}
        super().__init__(load_default=default, spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(value.split(",")))
        if not set(words) <= set(self._choices):
            raise ValidationError(f"must be one or more of {', '.join(self._choices)}, with commas between them")
        return words


class StatesText(ChoicesText):
    """One or more states, with commas between them."""

    def __init__(self, states: Collection[State] = _STATES, default: Callable[[], Any] = tuple, **options: Any) -> None:
        super().__init__(states, default, **options)

    def _deserialize(self, value: Any, *arguments: Any, **options: Any) -> tuple[State, ...]:
        return tuple(State(word) for word in super()._deserialize(value, *arguments, **options))


class ChoiceText(fields.Described):
    """One of some words."""

    def __init__(self, *choices: str, **options: Any) -> None:
        self._choices = choices
        super().__init__(spec={"type": "string", "enum": list(choices)}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if value not in self._choices:
            raise ValidationError(f"must be {' or '.join(self._choices)}")
        return str(value)


class LimitText(fields.Described):
    """The most items of a page."""

    def __init__(self, most: int, default: int = _DEFAULT_LIMIT, **options: Any) -> None:
        self._most = most
        spec = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
        super().__init__(load_default=default, spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        limit = whole(value)
        if not 1 <= limit <= self._most:
            raise ValidationError(f"must be from 1 to {self._most}")
        return limit


class SecondsText(fields.Described):
    """A number of seconds."""

    def __init__(self, most: int, **options: Any) -> None:
        self._most = most
        spec = {"type": "number", "default": 0, "minimum": 0, "maximum": most}
        super().__init__(load_default=float, spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII) or float(value) > self._most:
            raise ValidationError(f"must be from 0 to {self._most} seconds")
        return float(value)


class FlagText(fields.Described):
    """A truth value.

    Args:
        bare: a parameter without a value is true.
        options: as `Described`.
    """

    def __init__(self, *, bare: bool = True, **options: Any) -> None:
        self._words = {"true": True, "false": False, **({"": True} if bare else {})}
        more: dict[str, Any] = options.pop("spec", {})
        super().__init__(load_default=False, spec={"type": "boolean", "default": False, **more}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if value not in self._words:
            raise ValidationError("must be true or false")
        return self._words[value]


class IdText(fields.Described):
    """An id of 24 hex digits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec=json_types.ID, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        try:
            return check_id(value, "id")
        except InvalidInputError as error:
            raise ValidationError(error.problems["id"]) from None


class ShortIdText(fields.Described):
    """An id, or its first or last digits, six or more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec=json_types.SHORT_ID, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> ShortId:
        try:
            return ShortId.read(value)
        except InvalidInputError as error:
            raise ValidationError(error.problems["id"]) from None


class NameCursor(fields.Described):
    """The cursor of a listing by name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(load_default=str, spec=json_types.CURSOR, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        try:
            return check_queue(decoded(value))
        except InvalidInputError:
            raise ValidationError(NO_CURSOR) from None


class TextCursor(fields.Described):
    """The cursor of a listing in the order of any texts; the text after which the page begins, empty for the first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(load_default=str, spec=json_types.CURSOR, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        text = decoded(value)
        if not 1 <= len(text) <= _LONGEST_PLACE:
            raise ValidationError(NO_CURSOR)
        return text


def name_cursor(name: str) -> str:
    """Return the cursor of a listing by name after a name."""
    return base64.urlsafe_b64encode(name.encode()).decode()


class NamesQuery(Query):
    """A page of a listing by name."""

    limit = LimitText(MOST_QUEUES)
    cursor = NameCursor()


def encoded(text: str) -> str:
    """Return a text as a cursor."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decoded(cursor: str) -> str:
    """Return the text of a cursor; empty if it has none."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars="-_", validate=True).decode()
    except ValueError:
        return ""


def whole(text: str) -> int:
    """Return a whole number.

    Raises:
        ValidationError: the text is something else.
    """
    if not _WHOLE.fullmatch(text):
        raise ValidationError("must be a whole number")
    return int(text)


def load(schema: type[Query] | None, parameters: MultiMapping[str]) -> dict[str, Any]:
    """Return the values of a query string; without a schema every parameter is refused.

    Raises:
        InvalidInputError: naming each unknown, repeated or unacceptable parameter.
    """
    if schema is None and not parameters:
        return {}
    problems: Problems = {}
    plain: dict[str, str] = {}
    gathered: list[tuple[str, str]] = []
    known = {str(field.data_key): field for field in instance(schema).fields.values()} if schema else {}
    prefix = schema.prefix if schema else ""
    for name in dict.fromkeys(parameters):
        if name in known and isinstance(known[name], Several):
            plain[name] = ",".join(parameters.getall(name))
        elif len(parameters.getall(name)) > 1:
            problems[name] = ["is given more than once"]
        elif name in known:
            plain[name] = parameters[name]
        elif prefix and name.startswith(prefix):
            gathered.append((name.removeprefix(prefix), parameters[name]))
        else:
            problems |= unknown_names([name], known, noun="parameter")
    values: dict[str, Any] = {}
    try:
        values = instance(schema).load(plain) if schema else {}
    except ValidationError as error:
        problems.update(flattened(error.messages))
    if problems:
        raise InvalidInputError(problems)
    if prefix:
        values[prefix.rstrip(".")] = tuple(gathered)
    return values
