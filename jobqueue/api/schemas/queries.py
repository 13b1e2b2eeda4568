"""What comes in: query strings. Every value is text, and each field says what it is made into."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Described, Moment, Strict, Text, flattened
from jobqueue.api.schemas.requests import LONGEST_WAIT
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.checks import check_id, check_queue, is_id
from jobqueue.domain.jobs.states import State
from jobqueue.domain.search.fields import SORTS
from jobqueue.domain.search.projection import SHOWN, Projection
from jobqueue.domain.search.query import LONGEST_TEXT, MOST_LISTED
from jobqueue.domain.workflow.batch import BatchCursor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

MOST_QUEUES: Final = 200
DEFAULT_LIMIT: Final = 50
ORDERS: Final = tuple(f"{sign}{name}" for name in sorted(SORTS) for sign in ("-", ""))
_PLACE: Final = re.compile(r"place:([0-9]{1,14}):([0-9]{1,9})", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def absent() -> None:
    """Return what a parameter is that is not given; a plain ``None`` would be documented as its default."""


class Query(Strict):
    """The query string of a route.

    Attributes:
        prefix: what a name begins with that stands for any name, such as ``meta.``; these parameters are gathered, as
            pairs of the rest of the name and the text, under the name of the prefix without its dot.
    """

    prefix: ClassVar[str] = ""


class Several(Described):
    """One or more values, with commas between them; a parameter that is repeated gives several, too."""


class LimitText(Described):
    """How many items a page may have."""

    def __init__(self, most: int, default: int = DEFAULT_LIMIT, **options: Any) -> None:
        self._most = most
        spec = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
        super().__init__(load_default=default, spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        given = whole(value)
        if not 1 <= given <= self._most:
            raise ValidationError(f"must be from 1 to {self._most}")
        return given


class SecondsText(Described):
    """A number of seconds."""

    def __init__(self, most: int, **options: Any) -> None:
        self._most = most
        spec = {"type": "number", "default": 0, "minimum": 0, "maximum": most}
        super().__init__(load_default=float, spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII) or float(value) > self._most:
            raise ValidationError(f"must be from 0 to {self._most} seconds")
        return float(value)


class FlagText(Described):
    """A truth value; a parameter without a value is true."""

    def __init__(self, **options: Any) -> None:
        super().__init__(load_default=False, spec={"type": "boolean", "default": False}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if value not in {"", "true", "false"}:
            raise ValidationError("must be true or false")
        return bool(value != "false")


class ChoiceText(Described):
    """One of some words."""

    def __init__(self, *choices: str, **options: Any) -> None:
        self._choices = choices
        super().__init__(spec={"type": "string", "enum": list(choices)}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if value not in self._choices:
            raise ValidationError(f"must be {' or '.join(self._choices)}")
        return str(value)


class StatesText(Several):
    """One or more states, with commas between them."""

    def __init__(self, **options: Any) -> None:
        one = "|".join(state.value for state in State)
        super().__init__(load_default=tuple, spec={"type": "string", "pattern": f"^({one})(,({one}))*$"}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[State, ...]:
        given = value.split(",")
        if not set(given) <= set(State):
            raise ValidationError(f"must be one or more of {', '.join(State)}, with commas between them")
        return tuple(State(one) for one in dict.fromkeys(given))


class SortText(Described):
    """The name of the field to sort by, and whether the highest come first, which a minus before it says."""

    def __init__(self, **options: Any) -> None:
        form = {"type": "string", "enum": list(ORDERS), "default": "-insertAt"}
        super().__init__(load_default=lambda: ("insertAt", True), spec=form, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, bool]:
        if value not in ORDERS:
            raise ValidationError(f"must be one of {', '.join(sorted(SORTS))}, with - before it for the highest first")
        return value.lstrip("-"), value.startswith("-")


class FieldsText(Several):
    """Names of fields of a job, dotted ones too, with commas between them."""

    def __init__(self, **options: Any) -> None:
        one = rf"({'|'.join(sorted(SHOWN))})(\.[^,]+)?"
        super().__init__(load_default=list, spec={"type": "string", "pattern": f"^{one}(,{one})*$"}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        given: list[str] = value.split(",")
        try:
            Projection.read(given)
        except InvalidInputError as error:
            raise ValidationError(error.problems["fields"]) from None
        return given


class MomentText(Moment):
    """A date in ISO 8601."""


class IdText(Described):
    """An id of 24 hex digits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec=json_types.ID, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        try:
            return check_id(value, "id")
        except InvalidInputError as error:
            raise ValidationError(error.problems["id"]) from None


class PlaceCursor(Described):
    """The cursor of a listing of batches: the id of one, or a place that names none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec={"type": "string"}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | BatchCursor:
        if is_id(value):
            return str(value)
        try:
            padded = value + "=" * (-len(value) % 4)
            found = _PLACE.fullmatch(base64.b64decode(padded, altchars="-_", validate=True).decode())
        except ValueError:
            found = None
        if found is None:
            raise ValidationError("is not a cursor of this listing")
        return BatchCursor(millisecond=int(found[1]), passed=int(found[2]))


class NameCursor(Described):
    """The cursor of a listing by name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(load_default=str, spec=json_types.CURSOR, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        try:
            return check_queue(base64.urlsafe_b64decode(value.encode()).decode())
        except (ValueError, InvalidInputError):
            raise ValidationError("is not a cursor of this listing") from None


class LineCursor(Described):
    """The cursor of a log."""

    def __init__(self, **options: Any) -> None:
        super().__init__(load_default=int, spec=json_types.CURSOR, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        try:
            padded = value + "=" * (-len(value) % 4)
            kind, _colon, number = base64.b64decode(padded, altchars="-_", validate=True).decode().partition(":")
        except ValueError:
            kind = number = ""
        if kind != "line" or not _WHOLE.fullmatch(number):
            raise ValidationError("is not a cursor of this log")
        return int(number)


class JobsQuery(Query):
    """Which jobs to list."""

    prefix = "meta."
    queue = Text(spec=json_types.QUEUE)
    type = Text()
    state = StatesText()
    batch_id = Text(spec=json_types.ID)
    parent_id = Text(spec=json_types.ID)
    schedule = Text()
    inserted_after = MomentText()
    inserted_before = MomentText()
    q = Text(spec={"minLength": 1, "maxLength": LONGEST_TEXT})
    slow = FlagText()
    sort = SortText()
    limit = LimitText(MOST_LISTED)
    cursor = Text(load_default=absent)
    fields_ = FieldsText(data_key="fields")


class BatchesQuery(Query):
    """Which batches to list."""

    state = ChoiceText("open", "finished", load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = PlaceCursor(load_default=absent)


class NamesQuery(Query):
    """A page of what is listed by name."""

    limit = LimitText(MOST_QUEUES)
    cursor = NameCursor()


class ChangesQuery(Query):
    """A page of what is listed by age."""

    limit = LimitText(MOST_QUEUES)
    cursor = IdText(load_default=absent)


class AuditQueryString(Query):
    """Which changes to list."""

    kind = ChoiceText("job", "batch", "queue", "schedule", "token", "operation", load_default=absent)
    name = Text(load_default=absent)
    action = Text(load_default=absent)
    actor = Text(load_default=absent)
    after = MomentText(load_default=absent)
    before = MomentText(load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = IdText(load_default=absent)


class WaitQuery(Query):
    """How long to wait for a change."""

    wait = SecondsText(LONGEST_WAIT)


class DeleteQueueQuery(Query):
    """How to delete a queue."""

    force = FlagText()


def name_cursor(name: str) -> str:
    """Return the cursor of a listing by name after this one."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def place_cursor(place: BatchCursor) -> str:
    """Return the cursor of a listing of batches from a place on."""
    return base64.urlsafe_b64encode(f"place:{place.millisecond}:{place.passed}".encode()).decode().rstrip("=")


def line_cursor(number: int) -> str:
    """Return the cursor at which the line of this number is the first."""
    return base64.urlsafe_b64encode(f"line:{number}".encode()).decode().rstrip("=")


def whole(text: str) -> int:
    """Return a whole number.

    Raises:
        ValidationError: it is none.
    """
    if not _WHOLE.fullmatch(text):
        raise ValidationError("must be a whole number")
    return int(text)


def load(schema: Query | None, given: MultiMapping[str]) -> dict[str, Any]:
    """Return what a schema makes of a query string; without a schema nothing is known.

    Raises:
        InvalidInputError: naming each unknown, doubled or unacceptable parameter.
    """
    problems: Problems = {}
    plain: dict[str, str] = {}
    gathered: list[tuple[str, str]] = []
    known = {one.data_key: one for one in schema.fields.values()} if schema else {}
    prefix = schema.prefix if schema else ""
    for name in dict.fromkeys(given):
        if name in known and isinstance(known[name], Several):
            plain[name] = ",".join(given.getall(name))
        elif len(given.getall(name)) > 1:
            problems[name] = ["is given more than once"]
        elif name in known:
            plain[name] = given[name]
        elif prefix and name.startswith(prefix):
            gathered.append((name.removeprefix(prefix), given[name]))
        else:
            problems[name] = ["is not a known parameter"]
    values = _values(schema, plain, problems) if schema else {}
    if problems:
        raise InvalidInputError(problems)
    if prefix:
        values[prefix.rstrip(".")] = tuple(gathered)
    return values


def _values(schema: Query, given: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    try:
        values: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        problems.update(flattened(error.messages))
        return {}
    return values
