"""Options of ``jobqueue add`` that a task has: ``--src a.png --width 64``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.domain.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read(words: Sequence[str], kind: str, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the data of a job.

    Args:
        words: ``--name value`` or ``--name=value``; ``--name`` and ``--no-name`` for flags.
        kind: the type of the job, for messages.
        schema: the JSON Schema of its data; ``None`` if none is known.

    Raises:
        UsageError: there is no such option, its value is missing, or no worker has published arguments of the type.
    """
    if schema is None:
        raise click.UsageError(
            f"{words[0]} is no option of add, and no living worker has published the arguments of {kind}: "
            "give them as JSON, or see jobqueue types"
        )
    plain = schema.get("anyOf", [schema])[0]
    known = {name.replace("_", "-"): (name, each) for name, each in plain.get("properties", {}).items()}
    data: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, has_value, value = word.removeprefix("--").partition("=")
        option = option.replace("_", "-")
        flag = option.removeprefix("no-")
        if word.startswith("--") and flag in known and known[flag][1].get("type") == "boolean" and not has_value:
            data[known[flag][0]] = option == flag
            continue
        if not word.startswith("--") or option not in known:
            options = ", ".join(f"--{name}" for name in known) or "none"
            raise click.UsageError(f"{word} is no option of add, and no argument of {kind}: it has {options}")
        if not has_value and not rest:
            raise click.UsageError(f"{word} needs a value")
        name, each = known[option]
        data[name] = _value(value if has_value else rest.pop(0), each)
    return data


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    """Return a value as the schema has it: text where text is meant, JSON elsewhere."""
    if schema.get("type") == "string":
        return text
    try:
        return parse_json(text)
    except ValueError:
        return text
