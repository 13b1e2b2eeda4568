"""The README says what the code does."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from jobqueue.api.route_table import ROUTES
from jobqueue.cli.main import COMMANDS
from jobqueue.domain.attempts.states import LEGAL, Outcome
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.json_form import job as wire_job
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.queues.queue_form import queue as wire_queue
from jobqueue.settings import describe
from jobqueue.store.documents.documents import job as read
from jobqueue.store.documents.documents import new_document
from tests.support.docs.readme import PAGES, ROOT, TEXT, blocks, names, table

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")


def test_the_two_commands_come_first() -> None:
    first = blocks("console")[0]
    assert "scripts/run" in first
    assert "scripts/test" in first
    assert all((ROOT / "scripts" / name).stat().st_mode & 0o100 for name in ("run", "test", "check", "bench"))


def test_states_are_as_in_the_code() -> None:
    shown = {names(state)[0]: names(after) for state, _, after in table("states")}
    assert shown == {state.value: sorted(one.value for one in after) for state, after in LEGAL.items()}


def test_every_field_of_a_job_is_explained() -> None:
    filled = QueueConfig().fill(NewJob(type="a"))
    fields = wire_job(read(new_document(filled, job_id="0" * 24, now=datetime.now(UTC))))
    shown = [name for cell, _ in table("fields") for name in names(cell)]
    assert sorted(shown) == sorted(fields)


def test_every_field_of_a_queue_is_explained_with_its_default() -> None:
    shown = {names(field)[0]: json.loads(names(default)[0]) for field, default, _ in table("queue")}
    assert shown == wire_queue(QueueConfig())


def test_every_outcome_is_named() -> None:
    sentence = TEXT.partition("The history's `outcome` is one of")[2].partition(".\n")[0]
    assert sorted(names(sentence)) == sorted(Outcome)


def test_routes_commands_and_settings_are_as_in_the_code() -> None:
    assert [names(route)[0] for route, _ in table("routes")] == [f"{one.method} {one.path}" for one in ROUTES]
    assert {names(name)[0]: text for name, text in table("commands")} == {
        name: entry.summary for name, entry in COMMANDS.items()
    }
    assert [[names(cell)[0] for cell in row[:3]] + row[3:] for row in table("settings")] == [
        [one.name, one.env, one.default, one.help] for one in describe()
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_compile(code: str) -> None:
    compile(code, "README.md", "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_json_and_toml_examples_can_be_read() -> None:
    bodies = re.findall(r"-d '(\{.*?\})'", TEXT, re.DOTALL)
    assert len(bodies) >= 3
    for body in bodies:
        json.loads(body)
    for text in blocks("toml"):
        tomllib.loads(text)


def test_the_shell_worker_is_short() -> None:
    assert len(blocks("bash")[0].splitlines()) < 40


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for name, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / name if name else page
        assert target.exists(), name
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings]
