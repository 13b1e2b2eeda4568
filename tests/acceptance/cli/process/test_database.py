"""Every command says on one line why it cannot use its database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue.cli.main import COMMANDS
from jobqueue.cli.render import errors
from tests.acceptance.cli.cli_process import Cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue.store.mongo.scratch import ScratchDatabases

ID = "0" * 24
NO_DATABASE = {"replay", "settings", "health", "step", "sleep", "wait", "call", "completion"}
WORDS: dict[str, list[list[str]]] = {
    "serve": [["--port", "0"]],
    "worker": [["app:queue"]],
    "add": [["work"]],
    "status": [[]],
    "list": [[]],
    "search": [["{}"]],
    "show": [[ID]],
    "steps": [[ID]],
    "signal": [[ID, "approved"]],
    "bundle": [[ID]],
    "decide": [[ID, "charge", "--not-happened"]],
    "logs": [[ID]],
    "failures": [[]],
    "requeue": [[ID]],
    "kill": [[ID]],
    "erase": [["--meta", "user_id=42"]],
    "operations": [["list"]],
    "batch": [["show", ID]],
    "why": [[ID]],
    "workers": [[]],
    "export": [[]],
    "drain": [["w1"]],
    "types": [[]],
    "queues": [[]],
    "queue": [["show", "default"], ["pause", "default"]],
    "apply": [["queues.toml"]],
    "stats": [[]],
    "schedule": [["list"]],
    "alerts": [["list"]],
    "token": [["list"], ["create", "--role", "read"]],
    "audit": [[]],
    "doctor": [[]],
    "demo": [[]],
}
CASES = [[name, *words] for name, all_words in WORDS.items() for words in all_words]
HANDLERS = """
from jobqueue import JobQueue

queue = JobQueue()


@queue.handler("work")
async def work(job):
    return None
"""


def cli(directory: Path, url: str, db: str) -> Cli:
    (directory / "app.py").write_text(HANDLERS)
    (directory / "queues.toml").write_text("[queues.media]\nconcurrency = 5\n")
    return Cli(directory, {"JOBQUEUE_MONGO_URL": url, "JOBQUEUE_DB": db})


def check(cli: Cli, words: list[str], said: str) -> None:
    ran = cli.run(*words)
    assert "Traceback" not in ran.out + ran.err
    assert "hunter2" not in ran.out + ran.err
    if words[0] == "doctor":
        (line,) = [line for line in ran.out.splitlines() if line.startswith("FAIL")]
        assert (ran.code, said in line) == (errors.ERROR, True), ran.out
        return
    (line,) = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert (ran.code, said in line) == (errors.DATABASE, True), ran.err


def test_the_table_has_every_command() -> None:
    assert set(WORDS) | NO_DATABASE == set(COMMANDS)


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_a_name_that_does_not_resolve_is_one_line(tmp_path: Path, words: list[str]) -> None:
    url = "mongodb+srv://user:hunter2@nowhere.invalid/?connectTimeoutMS=500&serverSelectionTimeoutMS=500"
    check(cli(tmp_path, url, "test_none"), words, "nowhere.invalid")


@pytest.fixture(scope="module")
def lower_case(databases: ScratchDatabases) -> Iterator[str]:
    name = databases.ready()
    yield name
    databases.put_back(name)


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_a_database_of_other_case_is_one_line(
    tmp_path: Path, mongo_url: str, lower_case: str, words: list[str]
) -> None:
    check(cli(tmp_path, mongo_url, lower_case.upper()), words, "different case")
