"""Docstrings and log events are plain English."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from tests.support.docs.readme import ROOT, names, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADLESS: Final = re.compile(
    r"(What|Who|Whoever|Whatever|Whether|Whose|How|Which|Where|Wherever|Do|Let|Those|All that|All of what)\b"
)
"""Openings of a sentence without a subject, or with a verb that says nothing."""
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_MOST_WORDS: Final = 7


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "jobqueue").rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def _events() -> dict[str, set[str]]:
    """Return the names of all log events, each with the names of its fields."""
    events: dict[str, set[str]] = {}
    for path, tree in _modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of_log = isinstance(node.func.value, ast.Name) and node.func.value.id == "log"
            if of_log and node.func.attr in _LEVELS:
                name = node.args[0]
                literal = name.value if isinstance(name, ast.Constant) else None
                assert isinstance(literal, str), f"{path}:{node.lineno}: the name of a log event is a literal"
                fields = {keyword.arg for keyword in node.keywords if keyword.arg and keyword.arg != "exc_info"}
                events.setdefault(literal, set()).update(fields)
    return events


def test_no_docstring_opens_without_a_subject() -> None:
    found = [
        f"{path}:{node.body[0].lineno}: {text.splitlines()[0]}"
        for path, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node)) is not None
        and _HEADLESS.match(text)
    ]
    assert found == []


def test_log_events_are_short_names_without_articles() -> None:
    assert [event for event in _events() if re.match(r"(a|an|the)\b", event) or event.endswith(".")] == []
    assert [event for event in _events() if len(event.split()) > _MOST_WORDS] == []


def test_the_documentation_lists_each_log_event_with_its_fields() -> None:
    listed = {names(event)[0]: set(names(fields)) for event, fields, _ in table("log events")}
    assert listed == _events()
