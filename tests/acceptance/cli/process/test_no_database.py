"""Commands that only read or change make no database; every command tells in a line what keeps it from its work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from pymongo import MongoClient

from jobqueue.cli.main import cli as command_line
from jobqueue.cli.main import main
from tests.acceptance.cli.cli_process import Cli, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.new_database

ID = "f" * 24
PRINT = "0" * 16
WITHOUT_DATABASE = {
    "list": [],
    "search": [],
    "status": [],
    "show": [ID],
    "logs": [ID],
    "failures": [],
    "failures show": [PRINT],
    "failures compare": [PRINT],
    "failures requeue": [PRINT, "--yes"],
    "requeue": [ID],
    "kill": [ID],
    "erase": ["--meta", "user_id=42", "--yes"],
    "operations list": [],
    "operations show": [ID],
    "operations stop": [ID],
    "operations resume": [ID],
    "batch list": [],
    "batch show": [ID],
    "batch requeue": [ID],
    "batch seal": [ID],
    "batch kill": [ID],
    "batch wait": [ID],
    "steps": [ID],
    "signal": [ID, "approved"],
    "decide": [ID, "charge", "--not-happened"],
    "bundle": [ID],
    "why": [ID],
    "workers": [],
    "export": [],
    "drain": ["w1"],
    "types": [],
    "queues": [],
    "queue show": ["q"],
    "queue rotate-secret": ["q", "a"],
    "queue test-webhook": ["q", "a"],
    "queue delete": ["q"],
    "queue changes": ["q"],
    "stats": [],
    "schedule list": [],
    "schedule show": ["s"],
    "schedule run": ["s"],
    "schedule pause": ["s"],
    "schedule resume": ["s"],
    "schedule delete": ["s"],
    "alerts list": [],
    "alerts show": ["a"],
    "alerts mute": ["a"],
    "alerts unmute": ["a"],
    "alerts test": ["a"],
    "alerts delete": ["a"],
    "token list": [],
    "token revoke": ["abcd1234"],
    "audit": [],
}
"""What reads, or changes what is there."""
CREATING = {
    "apply",
    "serve",
    "worker",
    "demo",
    "add",
    "queue set",
    "queue pause",
    "queue resume",
    "schedule set",
    "alerts set",
    "token create",
}
OTHERS = {"replay", "settings", "health", "doctor", "schedule next", "step", "sleep", "wait", "call", "completion"}
"""What needs no database, or looks for everything at once."""


def leaves(group: click.Group, above: str = "") -> Iterator[str]:
    """Yield the names of all commands that do something."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        full = f"{above} {name}".strip()
        if isinstance(command, click.Group):
            yield from leaves(command, full)
            if command.invoke_without_command:
                yield full
        else:
            yield full


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    for name in ("MONGO_URL", "DB", "CONFIG", "DATA_DIR"):
        monkeypatch.delenv(f"JOBQUEUE_{name}", raising=False)


def test_every_command_is_in_a_table_here() -> None:
    assert set(leaves(command_line)) == {*WITHOUT_DATABASE, *CREATING, *OTHERS}


@pytest.mark.parametrize("name", WITHOUT_DATABASE)
def test_without_a_data_directory_none_is_made(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*name.split(), *WITHOUT_DATABASE[name]]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [printed.err.rstrip("\n")]
    assert printed.err.startswith(
        f"error: there is no database in {tmp_path}/jobqueue-data: name another by --mongo-url"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WITHOUT_DATABASE)
def test_without_a_database_on_a_server_none_is_made(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mongo_url: str, db_name: str
) -> None:
    monkeypatch.setenv("JOBQUEUE_MONGO_URL", mongo_url)
    monkeypatch.setenv("JOBQUEUE_DB", db_name)
    assert main([*name.split(), *WITHOUT_DATABASE[name]]) == 3
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert printed.err.startswith(f"error: there is no database {db_name} on this MongoDB: correct --db")
    with MongoClient(mongo_url) as driver:  # type: ignore[var-annotated]  # no document is read
        assert driver[db_name].list_collection_names() == []


def test_an_empty_data_directory_is_left_empty(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "jobqueue-data" / "db").mkdir(parents=True)
    assert main(["list"]) == 3
    assert "there is no database in " in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "jobqueue-data").iterdir()] == ["db"]


def test_the_doctor_makes_no_database_and_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith(f"FAIL  data directory: there is no database in {tmp_path}/jobqueue-data: name another")
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_database_makes_none(tmp_path: Path) -> None:
    assert main(["settings"]) == 0
    assert main(["schedule", "next", "@daily"]) == 0
    assert main(["health", "--port", "1"]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["list", "--json"], ["list"], ["settings", "--json"], ["queues"], ["schedule", "next", "@daily"], ["--help"]],
    ids=" ".join,
)
def test_a_full_disk_under_the_output_is_a_line(words: list[str], tmp_path: Path, mongo_url: str, db_name: str) -> None:
    cli = Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})
    assert cli.run("add", "a").code == 0
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "jobqueue", *words],
            cwd=tmp_path,
            env=cli.environ(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("words", ["list --json", "settings", "--help", "stats"])
def test_a_reader_that_has_gone_is_no_reason_to_complain(
    words: str, tmp_path: Path, mongo_url: str, db_name: str
) -> None:
    cli = Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})
    assert cli.run("add", "a", '{"text": "' + "x" * 90_000 + '"}').code == 0
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m jobqueue {words} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env=cli.environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip() in {"0", "1"}, done.stderr) == (True, "")


def started(cli: Cli, broken: str) -> subprocess.Popen[bytes]:
    """Start a server whose output nobody can take."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with Path("/dev/full").open("wb") as full, (cli.cwd / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jobqueue", "serve", "--port", "0"],
                cwd=cli.cwd,
                env=cli.environ(),
                stdout=full if broken == "full disk" else writer,
                stderr=log,
            )
    finally:
        os.close(writer)


@pytest.mark.parametrize("broken", ["full disk", "closed pipe"])
async def test_a_service_goes_on_when_nobody_can_take_the_line_that_it_is_ready(
    broken: str, tmp_path: Path, mongo_url: str, db_name: str
) -> None:
    service = started(Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name}), broken)

    async def look() -> str:
        return (tmp_path / "log").read_text()

    try:
        await eventually(look, lambda told: '"server started"' in told)
        service.terminate()
        assert await asyncio.to_thread(service.wait, 60) == 0
        assert "Traceback" not in await look()
    finally:
        service.kill()
        service.wait()
