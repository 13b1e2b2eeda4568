"""Every command says on one line why it cannot use its database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue import JobQueue
from jobqueue.cli.main import COMMANDS
from jobqueue.cli.render import errors
from tests.acceptance.cli.cli_process import Cli

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.new_database

ID = "0" * 24
NO_DATABASE = {"settings", "health", "step", "sleep", "wait", "call", "completion"}
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
    "decide": [[ID, "charge", "--not-happened"]],
    "logs": [[ID]],
    "failures": [[]],
    "requeue": [[ID]],
    "kill": [[ID]],
    "operations": [["list"]],
    "batch": [["show", ID]],
    "why": [[ID]],
    "workers": [[]],
    "types": [[]],
    "queues": [[]],
    "queue": [["show", "default"], ["pause", "default"]],
    "apply": [["queues.toml"]],
    "stats": [[]],
    "schedule": [["list"]],
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


@pytest.mark.parametrize("words", CASES, ids=" ".join)
async def test_a_database_of_other_case_is_one_line(
    tmp_path: Path, mongo_url: str, db_name: str, words: list[str]
) -> None:
    async with JobQueue(mongo_url=mongo_url, db=db_name):
        check(cli(tmp_path, mongo_url, db_name.upper()), words, "different case")
