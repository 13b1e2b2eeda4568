"""Each command over HTTP with a token of each role, as the manual says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobqueue.cli.main import cli as command_line
from jobqueue.domain.access.access import ROLES
from jobqueue.domain.insight.audit import Actor
from tests.acceptance.cli.conftest import Here, serving
from tests.acceptance.cli.process.test_no_database import CREATING, OTHERS, WITHOUT_DATABASE, leaves
from tests.support.data.factories import open_runtime

if TYPE_CHECKING:
    from jobqueue.settings import Settings

MANUAL = Path(__file__).parents[3] / "docs" / "command-line.md"
WORDS = WITHOUT_DATABASE | {
    "add": ["a"],
    "apply": ["all.toml"],
    "queue set": ["q", "concurrency=5"],
    "queue pause": ["q"],
    "queue resume": ["q"],
    "alerts set": ["a", "url=https://hooks.example.com/"],
    "schedule set": ["s", '{"every": 60, "job": {"type": "a"}}'],
    "token create": ["--role", "read"],
}
PROCESSES = {"serve", "worker", "demo"}
ADMIN_ONLY = "admin"


def needed() -> dict[str, set[str]]:
    """Return the roles that are enough for each command, of the manual's table."""
    text = MANUAL.read_text().partition("<!-- roles -->")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if "`" in line]
    return {
        name: set(re.findall(r"`(\w+)`", roles))
        for commands, roles in rows
        for name in commands.strip("`").split("`, `")
    }


@pytest.fixture
def tokens(settings: Settings) -> dict[str, str]:
    async def make() -> dict[str, str]:
        async with open_runtime(settings) as runtime:
            by = Actor(name="test", via="python")
            return {role: (await runtime.access.create(roles=[role], by=by))[1] for role in ROLES}

    return asyncio.run(make())


def test_the_manual_has_every_data_command() -> None:
    data = {*WITHOUT_DATABASE, *CREATING} - PROCESSES
    assert set(needed()) == data == set(WORDS)
    assert data == set(leaves(command_line)) - PROCESSES - OTHERS


def test_each_role_may_use_the_commands_that_the_manual_says(
    settings: Settings,
    tokens: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    (tmp_path / "all.toml").write_text("[queues.media]\nconcurrency = 5\n")
    here = Here("server", monkeypatch, capsys)
    with serving(settings) as url:
        monkeypatch.setenv("JOBQUEUE_URL", url)
        for role in ROLES:
            monkeypatch.setenv("JOBQUEUE_API_TOKEN", tokens[role])
            for name, enough in needed().items():
                ran = here(*name.split(), *WORDS[name])
                refusal = re.search(r"error: this needs the role (\w+)( or \w+)?$", ran.err, re.MULTILINE)
                assert (refusal is None) is (role in enough | {ADMIN_ONLY}), (role, name, ran.code, ran.err)
                assert refusal is None or (ran.code, ran.out) == (1, ""), (role, name, ran)
