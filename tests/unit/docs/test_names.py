"""Commands, options, routes, settings and problems on all pages are those of this version."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

import click
import pytest

from jobqueue.api.route_table import ROUTES
from jobqueue.cli.main import cli
from jobqueue.dashboard.table import TABLE
from jobqueue.settings import describe
from tests.support.docs.readme import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALL: Final = (
    *PAGES,
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "examples").rglob("*.md")),
    *sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file()),
)
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TYPED: Final = re.compile(r"(?:^\$ |\$\(|; |&& |\| )jobqueue ([^\n|>;&)`]*)", re.MULTILINE)
_ROUTE: Final = re.compile(r"(?:(GET|POST|PUT|PATCH|DELETE) )(/[\w{}/.:-]*)")
_CALL: Final = re.compile(r"localhost:8080(/[\w{}/.:$-]*)")
_OTHERS: Final = frozenset(
    {
        *("JOBQUEUE_JOB_ID", "JOBQUEUE_TOKEN", "JOBQUEUE_ATTEMPT", "JOBQUEUE_URL", "JOBQUEUE_STEPS"),
        *("JOBQUEUE_API_TOKEN", "JOBQUEUE_API_TOKEN_FILE", "JOBQUEUE_REPLAY_SECRET"),
        *("JOBQUEUE_TEST_MONGODB_URI", "JOBQUEUE_TEST_CHROMIUM"),
        "JOBQUEUE_MONGO_URI",  # a mistake, on the page of common mistakes
    }
)


def inline(text: str) -> list[str]:
    """Return the pieces of code in sentences and tables."""
    return re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))


def commands(text: str) -> Iterator[str]:
    """Yield what follows `jobqueue` in blocks of a shell and in pieces of code."""
    for language, block in _BLOCK.findall(text):
        if language in {"console", "bash", "sh"}:
            yield from _TYPED.findall(block.replace("\\\n", " "))
            yield from re.findall(r"^jobqueue ([^\n|>;&]*)", block, re.MULTILINE)
    for code in inline(text):
        if code.startswith("jobqueue "):
            yield code.removeprefix("jobqueue ")


def objection(typed: str) -> str | None:
    """Return what is wrong with a command; `--` ends its options, and `add TYPE` has those of the type's schema."""
    command: click.Command = cli
    words = typed.partition(" -- ")[0].split()
    while isinstance(command, click.Group) and words and re.fullmatch("[a-z][a-z-]*", words[0]):
        below = command.get_command(click.Context(command), words[0])
        if below is None:
            return f"jobqueue {typed}: there is no command {words[0]}"
        command = below
        del words[0]
    known = {"--help", "-h", "--version"}.union(*((*one.opts, *one.secondary_opts) for one in command.params))
    given = {word.split("=")[0].strip("[],.") for word in words if re.match("-{1,2}[a-z]", word)}
    if command.context_settings.get("ignore_unknown_options"):
        return None
    return f"jobqueue {typed}: no {', '.join(sorted(given - known))}" if given - known else None


@cache
def paths() -> list[tuple[str, re.Pattern[str]]]:
    """Return the paths of the API and the dashboard, each with its method."""
    pairs = [(route.method, route.path) for route in ROUTES] + [("GET", page.path) for page in TABLE]
    return [(method, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path))) for method, path in pairs]


def is_served(path: str, method: str | None) -> bool:
    return any(form.fullmatch(path) and method in {None, served} for served, form in paths())


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_names_on_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    is_text = page.suffix == ".md"
    assert [said for said in map(objection, commands(text) if is_text else ()) if said] == []
    routes = [found for code in (inline(text) if is_text else ()) for found in _ROUTE.findall(code)]
    assert [(method, path) for method, path in routes if not is_served(path, method)] == []
    assert [path for path in _CALL.findall(text) if not is_served(path, None)] == []
    known = {one.env for one in describe()} | {f"{one.env}_FILE" for one in describe()} | _OTHERS
    assert set(re.findall(r"\bJOBQUEUE_[A-Z_]*[A-Z]\b", text)) - known == set()
    slugs = {path.stem for path in (ROOT / "docs" / "problems").glob("*.md")}
    assert set(re.findall(r"(?<!docs)/problems/([a-z-]+)", text)) - slugs == set()


@pytest.mark.parametrize("typed", ["lst", "queue sett media", "list --stat failed", "show ID -z", "queue pause --al"])
def test_what_does_not_exist_is_found(typed: str) -> None:
    assert objection(typed) is not None
    assert not is_served("/v1/job", None)
    assert not is_served("/v1/tokens", "DELETE")
