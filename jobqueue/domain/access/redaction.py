"""Redaction of a job that leaves its system: chosen values, known secrets, and texts that look like credentials."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

from jobqueue.domain.access.credentials import hidden, names_secret, names_secret_number
from jobqueue.domain.access.masking import MASK
from jobqueue.domain.errors import InvalidInputError

MOST_PATHS: Final = 100
"""Paths that a person may choose for one bundle."""
LONGEST_PATH: Final = 200
MOST_NAMED: Final = 500
"""Redacted places that a bundle names one by one."""
ROOTS: Final = (
    "data",
    "meta",
    "result",
    "steps",
    "signals",
    "parents",
    "logs",
    "error",
    "history",
    "key",
    "callbackOf",
)
"""Fields of a job in which a chosen path begins."""
SHORTEST: Final = 6
"""Characters of a redacted value that is looked for in all other texts."""
MOST_VALUES: Final = 200
"""Redacted values that are looked for in all other texts: each costs a look at every text."""
_LONGEST_VALUE: Final = 10_000
_INPUT: Final = frozenset({"data", "meta", "result", "results", "value", "callbackOf", "was", "late"})
"""Members whose content is made by programs and people: all names in it are theirs."""
_OUTPUT: Final = frozenset({"logs", "error", "history", "queue"})
"""Members that no handler reads: in them whole queries of URLs are masked."""
_FIXED: Final = frozenset(
    {"id", "queue", "type", "state", "name", "kind", "worker", "outcome", "taken", "ref", "version", "place", "level"}
    | {"batchId", "parentId", "dependsOn", "schedule", "signal", "code", "operation", "fingerprint", "revision"}
    | {"insertAt", "startAt", "endAt", "delayTil", "resetAt", "scheduledAt", "until", "at", "t", "attempt", "tries"}
)
"""Members of jobs and their parts that replay needs as they are."""
_STEPS: Final = ("results",)
_LABELS: Final = ("name", "key", "header", "variable", "field")
"""Members that name the value beside them, as in a list of headers or variables."""
_LABELLED: Final = frozenset({"value", "val", "content"})
_LONGEST_LABEL: Final = 100
CHOSEN: Final = "chosen"
NAMED: Final = "named like a secret"
KNOWN: Final = "a secret of the queue, or the same value as at another redacted place"
LOOKS: Final = "looks like a credential"


def check_paths(paths: Sequence[str], path: str = "redact") -> tuple[str, ...]:
    """Return the paths that a person has chosen.

    Raises:
        InvalidInputError: there are too many, or one begins nowhere in a job.
    """
    if len(paths) > MOST_PATHS:
        raise InvalidInputError({path: [f"takes at most {MOST_PATHS} paths"]})
    for each in paths:
        is_path = 1 <= len(each) <= LONGEST_PATH and each.isprintable()
        if not is_path or each.partition(".")[0] not in ROOTS or "" in each.split("."):
            raise InvalidInputError({path: [f"{each!a:.80} is not a path such as data.card: begin with {_or(ROOTS)}"]})
    return tuple(dict.fromkeys(paths))


class Redactor:
    """Redacts one bundle.

    Args:
        chosen: checked paths, from a job on; they hold for relatives of the job as well. A path goes through lists by
            itself, and ``*`` stands for any name.
        known: secrets that are to stand nowhere.

    Attributes:
        is_full: there are more redacted values than are looked for in other texts.
    """

    def __init__(self, chosen: Sequence[str] = (), known: Sequence[str] = ()) -> None:
        self._chosen = dict.fromkeys(chosen, 0)
        self._values = {value for value in known if len(value) >= SHORTEST}
        self._sought: list[str] = []
        self.is_full = False
        self._places: dict[str, str] = {}
        self._more = 0

    @property
    def places(self) -> list[dict[str, str]]:
        """The redacted places in their order, each with its ``path`` and the reason ``why``."""
        return [{"path": self._safe(path), "why": why} for path, why in self._places.items()]

    @property
    def unnamed(self) -> int:
        """The number of redacted places beyond those that are named."""
        return self._more

    @property
    def unused(self) -> list[str]:
        """The chosen paths at which there was nothing."""
        return [path for path, count in self._chosen.items() if not count]

    def redact(self, parts: Mapping[str, Any], jobs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the parts of a bundle without secrets.

        Args:
            parts: by name.
            jobs: which of the parts hold chosen paths: the beginning of the path by the name of the part, which is
                ``""`` for a job, or for a list of jobs.
        """
        blanked = {}
        for name, part in parts.items():
            wants = _below([(path, path) for path in self._chosen], jobs[name]) if name in jobs else []
            is_input = name in _INPUT
            if any(rest == "" for rest, _ in wants):
                self._count(wants)
                blanked[name] = self._blank(part, name, CHOSEN)
            else:
                blanked[name] = self._blanked(part, name, wants, is_input=is_input)
        # A value may be a part of another one.
        self._sought = sorted({form for value in self._values for form in _written(value)}, key=len, reverse=True)
        return {
            name: self._hidden(part, name, is_input=name in _INPUT, is_output=name in _OUTPUT)
            for name, part in blanked.items()
        }

    def _blanked(self, value: Any, path: str, wants: list[tuple[str, str]], *, is_input: bool) -> Any:
        """Return a value without those parts that are chosen, or that have the name of a secret."""
        if isinstance(value, Mapping):
            label = _label(value) if is_input else ""
            return {
                key: self._member(
                    str(key), inner, f"{path}.{key}", _below(wants, str(key)), is_input=is_input, label=label
                )
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            named = _named_places(value) if is_input else ()
            return [
                self._blank(inner, f"{path}.{place}", NAMED)
                if place in named
                else self._element(inner, f"{path}.{place}", [*wants, *_below(wants, str(place))], is_input=is_input)
                for place, inner in enumerate(value)
            ]
        return value

    def _member(
        self, key: str, value: Any, path: str, wants: list[tuple[str, str]], *, is_input: bool, label: str
    ) -> Any:
        if any(rest == "" for rest, _ in wants):
            self._count(wants)
            return self._blank(value, path, CHOSEN)
        is_input = is_input or key in _INPUT
        if is_input and any(_is_secret(name, value) for name in (key, label if key.lower() in _LABELLED else "")):
            return self._blank(value, path, NAMED)
        return self._blanked(value, path, wants, is_input=is_input)

    def _element(self, value: Any, path: str, wants: list[tuple[str, str]], *, is_input: bool) -> Any:
        if any(rest == "" for rest, _ in wants):
            self._count(wants)
            return self._blank(value, path, CHOSEN)
        if is_input and _is_pair(value):
            return [value[0], self._blank(value[1], f"{path}.1", NAMED)]
        return self._blanked(value, path, wants, is_input=is_input)

    def _blank(self, value: Any, path: str, why: str) -> Any:
        """Return an empty value of the same kind, and look for the value elsewhere."""
        self._keep(value)
        if value is None or value == MASK:
            return value
        self._note(path, why)
        if isinstance(value, bool):
            return False
        if isinstance(value, int | float):
            return type(value)(0)
        if isinstance(value, Mapping):
            return {}
        return [] if isinstance(value, list | tuple) else MASK

    def _keep(self, value: Any) -> None:
        waiting = [value]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Mapping):
                waiting += [*part.keys(), *part.values()]
            elif isinstance(part, list | tuple):
                waiting += part
            elif not isinstance(part, bool) and part is not None and part != MASK:
                text = str(part)
                if SHORTEST <= len(text) <= _LONGEST_VALUE and text not in self._values:
                    if len(self._values) == MOST_VALUES:
                        self.is_full = True
                        return
                    self._values.add(text)

    def _hidden(self, value: Any, path: str, *, is_input: bool, is_output: bool) -> Any:
        """Return a value whose texts have masks in the place of known values and of credentials."""
        if isinstance(value, str):
            return self._text(value, path, is_output=is_output)
        if isinstance(value, int) and not isinstance(value, bool) and str(value) in self._values:
            self._note(path, KNOWN)
            return 0
        if isinstance(value, Mapping):
            return self._members(value, path, is_input=is_input, is_output=is_output)
        if isinstance(value, list | tuple):
            return [
                self._hidden(inner, f"{path}.{place}", is_input=is_input, is_output=is_output)
                for place, inner in enumerate(value)
            ]
        return value

    def _members(self, value: Mapping[str, Any], path: str, *, is_input: bool, is_output: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, inner in value.items():
            if not is_input and key in _FIXED and not isinstance(inner, Mapping):
                shown[key] = inner
                continue
            # The names of steps find their results.
            is_free = is_input and path not in _STEPS
            name = self._text(str(key), f"{path}.*", is_output=False) if is_free else str(key)
            while name in shown:
                name += "*"
            shown[name] = self._hidden(
                inner,
                f"{path}.{name}",
                is_input=is_input or key in _INPUT,
                is_output=not is_input and (is_output or key in _OUTPUT),
            )
        return shown

    def _text(self, text: str, path: str, *, is_output: bool) -> str:
        if len(text) < SHORTEST:
            return text
        known = self._without_known(text)
        if known != text:
            self._note(path, KNOWN)
        safe = hidden(known, queries=is_output)
        if safe != known:
            self._note(path, LOOKS)
        return safe

    def _without_known(self, text: str) -> str:
        for value in self._sought:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def _safe(self, path: str) -> str:
        """Return a place without the names in it that are secrets themselves."""
        return hidden(self._without_known(path), queries=False)

    def _note(self, path: str, why: str) -> None:
        if path in self._places:
            return
        if len(self._places) < MOST_NAMED:
            self._places[path] = why
        else:
            self._more += 1

    def _count(self, wants: list[tuple[str, str]]) -> None:
        for rest, path in wants:
            if rest == "":
                self._chosen[path] += 1


def _below(wants: list[tuple[str, str]], key: str) -> list[tuple[str, str]]:
    """Return what remains of chosen paths below a member; each is the rest and the whole of a path."""
    if key == "":
        return wants
    below = []
    for rest, path in wants:
        for name in dict.fromkeys((key, "*")):
            if rest == name:
                below.append(("", path))
            elif rest.startswith(f"{name}."):
                below.append((rest[len(name) + 1 :], path))
    return below


def _is_secret(name: str, value: Any) -> bool:
    """Return True if a name says that a value is a secret."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return names_secret_number(name)
    return names_secret(name) and _has_text(value)


def _is_pair(value: Any) -> bool:
    """Return True for an element such as ``["Authorization", "x"]``."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)  # noqa: PLR2004
    return is_pair and len(value[0]) <= _LONGEST_LABEL and not value[0].count(" ") and _is_secret(*value)


def _label(value: Mapping[str, Any]) -> str:
    """Return the name that an object has for the value in it, as ``{"name": "password", "value": "x"}`` has."""
    texts = (inner for key, inner in value.items() if str(key).lower() in _LABELS and isinstance(inner, str))
    return next((text for text in texts if len(text) <= _LONGEST_LABEL and names_secret(text)), "")


def _named_places(values: Sequence[Any]) -> tuple[int, ...]:
    """Return the places of texts after an option that names a secret, as in ``["--password", "x"]``."""
    return tuple(
        place
        for place, (before, value) in enumerate(pairwise(values), 1)
        if isinstance(before, str) and isinstance(value, str) and before.startswith("-") and not value.startswith("-")
        if len(before) <= _LONGEST_LABEL and "=" not in before and names_secret(before)
    )


def _written(value: str) -> set[str]:
    """Return a value as URLs, JSON and headers have it."""
    in_json = {json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (False, True)}
    encoded = b64encode(value.encode("utf-8", "replace")).decode()
    return {value, quote(value, safe="", errors="replace"), encoded, encoded.rstrip("="), *in_json}


def _has_text(value: Any) -> bool:
    """Return True for a text, or for a value that has one: a number of tokens is no secret."""
    if isinstance(value, Mapping):
        return any(_has_text(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_has_text(inner) for inner in value)
    return isinstance(value, str) and value != ""


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
