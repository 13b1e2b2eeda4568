"""The command line without a database: help, usage, settings, mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import jobqueue
from jobqueue.cli.main import COMMANDS, cli, main

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEAVY = ["motor", "pymongo", "bson", "aiohttp", "rich", "marshmallow"]
_LOADED = f"""
import sys
from jobqueue.cli.main import main
code = main(sys.argv[1:])
print(",".join(name for name in {_HEAVY!r} if name in sys.modules), code, file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    for name in ("MONGO_URL", "DB", "CONFIG", "PORT", "HOST", "LOG_LEVEL", "ADMIN_TOKEN", "MONGOD"):
        monkeypatch.delenv(f"JOBQUEUE_{name}", raising=False)


@pytest.mark.parametrize(
    "words", [["--help"], *([name, "--help"] for name in COMMANDS), ["queue", "set", "-h"]], ids=" ".join
)
def test_help_loads_nothing_that_takes_long(words: list[str]) -> None:
    home = Path(str(jobqueue.__file__)).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *words], cwd=home, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("Usage: jobqueue")
    assert done.stderr == " 0\n"


def test_every_command_is_there_and_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        command = cli.get_command(None, name)  # type: ignore[arg-type]  # the context is not used
        assert command is not None
        assert main([name, "--help"]) == 0
        assert "Exit codes: 0 done, 1 error, 2 wrong usage" in " ".join(capsys.readouterr().out.split())


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of all commands, nested ones too."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


def test_help_begins_with_the_options_of_the_command_and_cuts_no_summary(capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(cli):
        assert main([*words, "--help"]) == 0
        text = capsys.readouterr().out.partition("Examples:")[0]
        assert max(map(len, text.splitlines())) <= 80, words
        assert "..." not in text.partition("Commands:")[2].partition("Database options:")[0]
        own, _, shared = text.partition("Database options:")
        assert "--help" in own
        assert ("--mongo-url" in own, "--mongo-url" in shared) == (False, bool(shared)), words


def test_no_command_is_a_question_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.splitlines()[0]) == ("", "Usage: jobqueue [OPTIONS] COMMAND [ARGS]...")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ad"], "No such command 'ad'. Did you mean 'add'? (see jobqueue --help)"),
        (["add"], "say which TYPE of job to add, or --bulk FILE (see jobqueue add --help)"),
        (["add", "x", "{"], "Invalid value for '[DATA]': is not JSON: "),
        (
            ["add", "x", "yes"],
            (
                "Invalid value for '[DATA]': is not JSON: Expecting value: line 1 column 1 (char 0); "
                "a text has quotes of its own: '\"yes\"' (see jobqueue add --help)"
            ),
        ),
        (["add", "x", "NaN"], "Invalid value for '[DATA]': is not JSON: NaN is not a JSON value"),
        (["add", "x", "@nowhere.json"], "nowhere.json cannot be read: No such file or directory"),
        (["add", "x", "[" * 100_000], "Invalid value for '[DATA]': is not JSON: nested too deeply"),
        (["add", "x", "[1]"], "data: must be an object"),
        (["add", "x", "--delay", "soon"], "Invalid value for '--delay': 'soon' is not a number"),
        (["add", "x", "--delay", "nan"], "delay: must be a number of seconds"),
        (["add", "x", "--delay-til", "soon"], "delayTil: 'soon' must be an ISO 8601 date such as 2030-01-31T12:00:00Z"),
        (["add", "x", "--meta", "a"], "meta: 'a' is not KEY=VALUE"),
        (["add", "x", "--meta", "a=1", "--meta", "a.b=2"], "meta.a.b: is both a value and an object"),
        (["add", "x", "--on-failure", '{"typ": "y"}'], "onFailure.typ: is not a known field"),
        (["add", "x", "--bulk", "f"], "--bulk takes no other job or options: the lines of the file have all fields"),
        (["show", "42"], "id: must be 24 hexadecimal digits"),
        (["kill", "f" * 24, "42"], "id: must be 24 hexadecimal digits"),
        (["list", "--state", "open"], "Invalid value for '--state': 'open' is not one of 'pending', 'processing'"),
        (["list", "--since", "2y"], "since: '2y' is neither a time ago such as 2h nor a date"),
        (["list", "--limit", "201"], "limit: must be from 1 to 200"),
        (["queue", "pause", "a.b"], "queue: must be 1 to 100 letters, digits, _ : or -"),
        (["queue", "set", "a", "[]"], "config: must be an object"),
        (["settings", "--port"], "No such option '--port' (see jobqueue settings --help)"),
        (["serve", "--port", "x"], '--port (flag): "x" is not a whole number'),
        (["serve", "--tls-cert", "a.pem"], "tls_cert needs tls_key too"),
        (["serve", "--tls-cert", "a.pem", "--tls-key", "b.pem"], "there is no file"),
        (["worker", "app"], "'app' is not MODULE:QUEUE, such as app:queue"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_wrong(
    words: Sequence[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith(f"error: {told}")


def test_all_mistakes_about_a_job_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "*", '{"n": 99999999999999999999}', "--attempts", "0", "--meta", "a"]) == 2
    paths = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert sorted(paths) == ["attempts", "data.n", "meta", "type"]


def test_mistakes_in_many_lines_are_told_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['{"type": "a"}', "", "{", '{"queue": "q"}', '{"type": "a", "meta": {"x.y": 1}, "extra": 1}', "7"]
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines))
    assert main(["add", "--bulk", "jobs.jsonl"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in told] == ["line 3", "line 4.type", "line 5.extra", "line 6"]


def test_settings_are_shown_masked_with_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBQUEUE_MONGO_URL", "mongodb://me:secret@db1/?replicaSet=rs0")
    (tmp_path / "jobqueue.toml").write_text("port = 9\n")
    assert main(["settings"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["mongo_url"] == ["mongodb://me:***@db1/?replicaSet=rs0", "environment"]
    assert rows["port"] == ["9", str(tmp_path / "jobqueue.toml")]
    assert main(["settings", "--json"]) == 0
    by_name = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (by_name["db"]["value"], by_name["db"]["source"], by_name["db"]["env"]) == (
        "jobqueue",
        "default",
        "JOBQUEUE_DB",
    )


def test_every_mistake_in_the_settings_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBQUEUE_PORT", "-1")
    monkeypatch.setenv("JOBQUEUE_DB", "a/b")
    assert main(["list"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert main(["doctor"]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["FAIL", "FAIL"]


def test_without_a_mongod_the_fix_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOBQUEUE_MONGOD", "/nowhere/mongod")
    assert main(["add", "x"]) == 3
    assert capsys.readouterr().err == "error: JOBQUEUE_MONGOD is /nowhere/mongod, which is no executable file\n"
    assert main(["doctor"]) == 1
    assert "FAIL  mongod: JOBQUEUE_MONGOD is /nowhere/mongod" in capsys.readouterr().out


def test_a_database_that_is_away_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobqueue.store.mongo.connections.OPERATION_MS", 300)
    monkeypatch.setenv(
        "JOBQUEUE_MONGO_URL", "mongodb://me:secret@127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=300"
    )
    assert main(["add", "x"]) == 3
    told = capsys.readouterr()
    *notes, error = told.err.splitlines()
    assert (told.out, notes) == ("", ["no answer yet from MongoDB: trying for 10 seconds"])
    assert error.startswith("error: MongoDB cannot be reached: ")
    assert main(["doctor"]) == 1
    assert "FAIL  connection: MongoDB cannot be reached" in capsys.readouterr().out
    assert "secret" not in told.err
