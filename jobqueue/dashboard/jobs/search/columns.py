"""The columns of the list of jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.fields import FIELDS, FREE, SORTS, Kind, check_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST: Final = 16
_HIDDEN: Final = frozenset({"logs", "history", "steps", "signals", "callbackOf", "wait"})
"""Fields with much in them, which a cell cannot show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        name: in the address of the page.
        kind: of its cells, for the template.
        fields: of the API that its cells are made of.
        sort: the field by which its head sorts; empty for none.
        width: a class of the style; empty for the column that takes what is left.
    """

    name: str
    label: str
    kind: str
    fields: tuple[str, ...] = ()
    sort: str = ""
    width: str = ""

    @property
    def is_number(self) -> bool:
        """True for cells that are aligned right."""
        return self.kind in _RIGHT


_RIGHT: Final = frozenset({"age", "attempts", "ran", "number"})
_MADE: Final = (
    Column(name="state", label="State", kind="state", sort="state", width="c4"),
    Column(name="type", label="Type", kind="type", sort="type", width="c4"),
    Column(name="id", label="Id", kind="id", sort="id", width="c2"),
    Column(name="age", label="Age", kind="age", fields=("insertAt",), sort="insertAt", width="c2"),
    Column(
        name="reason",
        label="Error or reason",
        kind="reason",
        fields=("delayTil", "progress", "error.kind", "error.message", "wait", "claim", "dependsOn"),
    ),
    Column(name="attempts", label="Attempt", kind="attempts", sort="attemptsMade", width="c2"),
    Column(name="ran", label="Ran, m:ss", kind="ran", fields=("startAt", "endAt"), sort="startAt", width="c3"),
)
MADE: Final = {column.name: column for column in _MADE}
ALWAYS: Final = ("state", "type", "queue", "attempts", "attemptsMade")
"""Fields that every row needs."""
USUAL: Final = tuple(MADE)
_LABELS: Final = {
    "insertAt": "Inserted",
    "startAt": "Started",
    "endAt": "Ended",
    "delayTil": "Due",
    "batchId": "Batch",
    "queue": "Queue",
    "priority": "Priority",
    "key": "Key",
}
_WIDE: Final = 9
"""Columns for which a table takes more than the width of a small screen."""
_KINDS: Final = {
    Kind.TEXT: ("text", "bw"),
    Kind.NUMBER: ("number", "c3"),
    Kind.DATE: ("time", "bw"),
    Kind.ID: ("job", "c2"),
    Kind.FLAG: ("text", "c2"),
    Kind.ANY: ("any", "c4"),
}
PICKED: Final = tuple(
    name
    for name, kind in FIELDS.items()
    if kind in _KINDS and kind is not Kind.ANY and name.partition(".")[0] not in _HIDDEN and name not in MADE
)
"""Names of the fields that may be columns, besides `MADE` and paths below ``meta``, ``data`` and ``result``."""


def column(name: str) -> Column | None:
    """Return a column by its name; ``None`` if there is no such field, or a cell cannot show it."""
    if name in MADE:
        return MADE[name]
    first, dot, last = name.partition(".")
    if name in PICKED:
        kind, width = ("batch", "c2") if name == "batchId" else _KINDS[FIELDS[name]]
        label = _LABELS.get(name, name)
        return Column(
            name=name, label=label, kind=kind, fields=(name,), sort=name if name in SORTS else "", width=width
        )
    if first not in FREE or not dot or first == "backoff":
        return None
    try:
        check_path(name, "cols")
    except InvalidInputError:
        return None
    kind, width = _KINDS[Kind.ANY]
    return Column(name=name, label=last, kind=kind, fields=(name,), width=width)


def read_columns(text: str) -> tuple[list[Column], list[str]]:
    """Return the columns of an address, and the names that are none; the usual columns for an empty text."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())) or list(USUAL)
    columns = [column(name) for name in names[:MOST]]
    unknown = [name for name, known in zip(names, columns, strict=False) if known is None]
    return [known for known in columns if known is not None] or list(_MADE), unknown


def joined(names: Iterable[str]) -> str:
    """Return columns as they are in an address; empty for the usual ones."""
    text = ",".join(dict.fromkeys(names))
    return "" if text == ",".join(USUAL) else text


def fields_of(columns: Sequence[Column]) -> list[str]:
    """Return the fields of the API that the cells of columns are made of."""
    return sorted({*ALWAYS, *(field for column in columns for field in column.fields)})


def are_wide(columns: Sequence[Column]) -> bool:
    """Tell whether columns need more room than a small screen has."""
    return len(columns) >= _WIDE


def aligned(columns: Sequence[Column], jobs: Iterable[dict[str, Any]]) -> list[Column]:
    """Return columns with those that have only numbers aligned right."""
    items = list(jobs)
    return [
        replace(column, kind="number") if column.kind == "any" and _are_numbers(column.name, items) else column
        for column in columns
    ]


def value_of(job: dict[str, Any], path: str) -> Any:
    """Return a value of a job by its path; ``None`` if there is none."""
    inner: Any = job
    for name in path.split("."):
        inner = inner.get(name) if isinstance(inner, dict) else None
    return inner


def _are_numbers(path: str, jobs: list[dict[str, Any]]) -> bool:
    values = [value for job in jobs if (value := value_of(job, path)) is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
