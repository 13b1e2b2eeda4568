"""Projections: the fields of jobs to show."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import Job
from jobqueue.domain.search.fields import FIELDS, FREE, check_path

MOST_SHOWN: Final = 50
SHOWN: Final = frozenset(json_form.camel(item.name) for item in fields(Job) if item.name not in json_form.INTERNAL)


@dataclass(frozen=True, slots=True)
class Projection:
    """Paths of a job's fields in JSON, none within another; no paths stand for all fields."""

    paths: tuple[str, ...] = ()

    @classmethod
    def read(cls, names: Any) -> Projection:
        """Read a list of names; the id is always among the fields.

        Raises:
            InvalidInputError: naming each unknown field.
        """
        if names is None or names == []:
            return WHOLE
        if not isinstance(names, list | tuple) or len(names) > MOST_SHOWN:
            raise InvalidInputError({"fields": [f"must be a list of at most {MOST_SHOWN} names"]})
        if problems := [f"{str(name)[:80]!a} is not a field of a job" for name in names if not _is_shown(name)]:
            raise InvalidInputError({"fields": problems[:10]})
        paths = sorted({"id", *("id" if name == "_id" else name for name in names)})
        return cls(tuple(path for path in paths if not any(path.startswith(f"{other}.") for other in paths)))

    def pick(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a job's JSON."""
        return shown if not self.paths else _picked(shown, [path.split(".") for path in self.paths])


WHOLE: Final = Projection()


def _is_shown(name: object) -> bool:
    try:
        path = check_path(name, "fields")
    except InvalidInputError:
        return False
    first, dot, _ = path.partition(".")
    return first in SHOWN | {"_id"} if not dot else path in FIELDS or first in FREE


def _picked(shown: Any, paths: list[list[str]]) -> Any:
    if isinstance(shown, list):
        return [_picked(item, paths) for item in shown if isinstance(item, dict | list)]
    picked = {}
    for name in dict.fromkeys(path[0] for path in paths):
        below = [path[1:] for path in paths if path[0] == name]
        if not isinstance(shown, dict) or name not in shown:
            continue
        if [] in below:
            picked[name] = shown[name]
        elif isinstance(shown[name], dict | list):
            picked[name] = _picked(shown[name], below)
    return picked
