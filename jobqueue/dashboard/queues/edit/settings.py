"""Fields of the form of a queue but for its processors: their texts, and the patch that was typed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.dashboard.frame.acts import json_text
from jobqueue.dashboard.frame.acts.form import Field
from jobqueue.dashboard.queues.subject import DEFAULTS
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.search.terms import AGO, UNITS
from jobqueue.domain.values.checks import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobqueue.dashboard.frame.acts.form import Kind as FieldKind

Kind = Literal["whole", "seconds", "text", "json", "flag", "choice"]
_WHOLE: Final = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_SPANS: Final = ((86_400, "d"), (3600, "h"))
_PER: Final = "breaker.per"
_BREAKER: Final = (("", "nothing: there is no breaker"), ("queue", "the whole queue"), ("type", "the type of the job"))
_LOOKS: Final[Mapping[Kind, FieldKind]] = {"flag": "flag", "choice": "choice", "text": "text", "json": "text"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of the configuration.

    Attributes:
        path: in the API, which is the name in the form.
        empty: the placeholder, if that is not the default.
        default: of a member of an object that has no default itself.
    """

    path: str
    label: str
    kind: Kind
    empty: str = ""
    help: str = ""
    default: Any = None

    @property
    def usual(self) -> Any:
        """The default."""
        return self.default if "." in self.path else DEFAULTS[self.path]

    @property
    def placeholder(self) -> str:
        """The default in words."""
        return self.empty or self.text(self.usual)

    def text(self, value: Any) -> str:
        """Return a value as the form shows it."""
        if value is None:
            return ""
        if self.kind == "flag":
            return "1" if value else ""
        if self.kind == "seconds":
            return span_text(value)
        return json.dumps(value) if self.kind == "json" else str(value)

    def shown(self, config: Mapping[str, Any]) -> str:
        """Return the value in a configuration as the form shows it; empty for the default."""
        value = _value(config, self.path)
        return "" if value == self.usual else self.text(value)

    def read(self, text: str) -> Any:
        """Return the value that was typed, ``None`` for the default.

        Raises:
            InvalidInputError: naming the field.
        """
        if self.kind == "flag":
            return bool(text)
        if not text:
            return None
        if self.kind == "json":
            return json_text.read(text, self.path)
        if self.kind == "seconds":
            return seconds(text, self.path)
        if self.kind == "whole":
            if not _WHOLE.fullmatch(text):
                raise InvalidInputError({self.path: ["must be a whole number"]})
            return int(text)
        return text


GROUPS: Final[Sequence[tuple[str, Sequence[Setting]]]] = (
    (
        "Limits",
        (
            Setting("concurrency", "At a time", "whole", "no limit", "Jobs that run at a time, over all processes."),
            Setting("rate.limit", "Starts", "whole", "no limit", "At most so many starts in any span of this length:"),
            Setting("rate.per", "In", "seconds", "none"),
            Setting("limitBy", "Each value of", "text", "the whole queue", "A path such as meta.user_id."),
        ),
    ),
    (
        "New jobs",
        (
            Setting("attempts", "Attempts", "whole"),
            Setting("backoff", "Backoff", "json", help="As 60, or [10, 60, 600]: the last one repeats."),
            Setting("lease", "Lease", "seconds", help="A claim lasts so long without a heartbeat."),
            Setting("timeout", "Timeout", "seconds", "none", "An attempt may run so long."),
            Setting("startBefore", "Start before", "seconds", "never", "After it is due; then it is killed."),
            Setting("priority", "Priority", "whole", help="The highest runs first."),
            Setting("onSuccessDelete", "Delete", "flag", help="Delete jobs when they succeed."),
            Setting("check", "Check", "flag", help="Refuse data that fits no schema of a living worker."),
        ),
    ),
    (
        "Failures",
        (
            Setting(_PER, "A breaker stops", "choice"),
            Setting("breaker.failures", "After", "whole", "no number", "Failed attempts in a row."),
            Setting("breaker.cooldown", "For", "seconds", default=60, help="Then one job is on trial."),
            Setting("maxRetries", "Retries", "whole", help="Uncounted ones in a row."),
        ),
    ),
    (
        "Retention",
        (
            Setting("retention.success", "Succeeded", "seconds", "for ever"),
            Setting("retention.failed", "Failed", "seconds", "for ever"),
            Setting("retention.killed", "Killed", "seconds", "for ever"),
        ),
    ),
    (
        "Pause",
        (
            Setting("paused", "Paused", "flag", help="Nothing is claimed."),
            Setting("pauseReason", "Reason", "text", "none", "Every page of the queue shows it."),
        ),
    ),
)
SETTINGS: Final = tuple(setting for _, group in GROUPS for setting in group)


def fields(config: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a configuration."""
    return [_field(setting, title, config) for title, group in GROUPS for setting in group]


def _field(setting: Setting, group: str, config: Mapping[str, Any]) -> Field:
    return Field(
        name=setting.path,
        label=setting.label,
        kind=_LOOKS.get(setting.kind, "number"),
        value=setting.shown(config),
        placeholder=setting.placeholder,
        help=setting.help,
        choices=_BREAKER if setting.kind == "choice" else (),
        group=group,
    )


def shown(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the fields by name."""
    return {setting.path: setting.shown(config) for setting in SETTINGS}


def patch(typed: Mapping[str, str], seen: Mapping[str, str]) -> dict[str, Any]:
    """Return the merge patch of what was typed.

    Args:
        typed: texts by name; a flag that is off is missing.
        seen: the texts that were there before. What is as before is no part of the patch.

    Raises:
        InvalidInputError: naming each field that cannot be read.
    """
    problems: Problems = {}
    touched: dict[str, Any] = {}
    for setting in SETTINGS:
        text = _typed(typed, setting)
        if text is not None and text != seen.get(setting.path, ""):
            touched[setting.path] = gather(problems, setting.read, text)
    body: dict[str, Any] = {name: value for name, value in touched.items() if "." not in name}
    for name in ("rate", "retention"):
        _add_object(body, name, touched, typed)
    problems |= _add_breaker(body, touched, typed)
    if problems:
        raise InvalidInputError(problems)
    return body


def _typed(typed: Mapping[str, str], setting: Setting) -> str | None:
    """Return what was typed; ``None`` for a field that the form did not have."""
    if setting.kind == "flag":
        return "1" if setting.path in typed else ""
    return typed[setting.path].strip() if setting.path in typed else None


def _add_object(body: dict[str, Any], name: str, touched: Mapping[str, Any], typed: Mapping[str, str]) -> None:
    """Add the changed members of an object; all of them empty mean the default of the object."""
    members = {path.partition(".")[2]: value for path, value in touched.items() if path.startswith(f"{name}.")}
    if members:
        is_empty = not any(_texts(typed, name))
        body[name] = None if is_empty else members


def _add_breaker(body: dict[str, Any], touched: Mapping[str, Any], typed: Mapping[str, str]) -> Problems:
    """Add the changed members of the breaker, which there is if something is chosen that it stops."""
    numbers = [path for path in ("breaker.failures", "breaker.cooldown") if path in touched]
    if _PER in typed and not typed[_PER]:
        if any(touched[path] is not None for path in numbers):
            return {_PER: ["choose what the breaker stops, or leave its numbers as they are"]}
        if _PER in touched:
            body["breaker"] = None
        return {}
    _add_object(body, "breaker", touched, typed)
    return {}


def _texts(typed: Mapping[str, str], name: str) -> Iterable[str]:
    return (text.strip() for path, text in typed.items() if path.startswith(f"{name}."))


def seconds(text: str, field: str) -> float:
    """Return the seconds of a number, or of a time such as ``90s``, ``12h`` or ``30d``.

    Raises:
        InvalidInputError: naming the field.
    """
    if match := AGO.fullmatch(text):
        span = float(match[1]) * UNITS[match[2]]
        return int(span) if span.is_integer() else span
    if not _NUMBER.fullmatch(text):
        raise InvalidInputError({field: ["must be a number of seconds, or a time such as 90s, 5m, 12h or 30d"]})
    number = float(text)
    return int(number) if number.is_integer() else number


def span_text(value: Any) -> str:
    """Return seconds as the form shows them: as ``30d`` if they are whole days or hours; another value as it is."""
    if not isinstance(value, int | float):
        return str(value)
    for size, unit in _SPANS:
        if value >= size and value % size == 0:
            return f"{int(value // size)}{unit}"
    return f"{value:g}" if value < 10**6 else str(value)


def _value(config: Mapping[str, Any], path: str) -> Any:
    name, _, member = path.partition(".")
    value = config.get(name)
    if not member:
        return value
    return value.get(member) if isinstance(value, dict) else None
