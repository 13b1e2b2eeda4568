"""Which fields of jobs to show."""

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
    """Some fields of a job, as paths of their JSON names, none within another; without any, all of them."""

    paths: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Any) -> Projection:
        """Return the fields in a list of names; the id is always among them.

        Raises:
            InvalidInputError: naming each that is not a field of a job.
        """
        if given is None or given == []:
            return WHOLE
        if not isinstance(given, list | tuple) or len(given) > MOST_SHOWN:
            raise InvalidInputError({"fields": [f"must be a list of at most {MOST_SHOWN} names"]})
        wrong = [f"{str(one)[:80]!a} is not a field of a job" for one in given if not _is_shown(one)]
        if wrong:
            raise InvalidInputError({"fields": wrong[:10]})
        names = sorted({"id", *("id" if one == "_id" else one for one in given)})
        return cls(tuple(one for one in names if not any(one.startswith(f"{other}.") for other in names)))

    def pick(self, shown: dict[str, Any]) -> dict[str, Any]:
        """Return only these fields of a job's JSON."""
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
        return [_picked(one, paths) for one in shown if isinstance(one, dict | list)]
    found = {}
    for name in dict.fromkeys(path[0] for path in paths):
        below = [path[1:] for path in paths if path[0] == name]
        if not isinstance(shown, dict) or name not in shown:
            continue
        if [] in below:
            found[name] = shown[name]
        elif isinstance(shown[name], dict | list):
            found[name] = _picked(shown[name], below)
    return found
