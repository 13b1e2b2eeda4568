from __future__ import annotations

from pathlib import Path

import pytest

from jobqueue.domain.errors import SettingsError
from jobqueue.processors.commands.commands_file import Command, load_commands


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "commands.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(tmp_path: Path, text: str) -> list[str]:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_commands(path)
    assert all(mistake.startswith(f"{path}: ") for mistake in caught.value.mistakes)
    return [mistake.removeprefix(f"{path}: ") for mistake in caught.value.mistakes]


def test_only_the_program_is_required(tmp_path: Path) -> None:
    commands = load_commands(written(tmp_path, '[commands.hello]\nargv = ["/bin/echo", "hello"]\n'))

    assert commands == {"hello": Command(name="hello", argv=("/bin/echo", "hello"))}
    assert commands["hello"].retry_exit == {75}
    assert commands["hello"].die_exit == {65}


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = f"""
        [commands."a.b-c"]
        argv = ["/bin/sh", "-c", "echo $1; exit 3", "", "é"]
        cwd = "{tmp_path}"
        env = {{ QUALITY = "80", JOBQUEUE_OTHER = "" }}
        retry_exit = [1, 2]
        die_exit = []
        retry_delay = 30
        kill_after = 0.5
        max_output = 0
        max_memory = 1_073_741_824
        max_cpu = 60
    """

    assert load_commands(written(tmp_path, text))["a.b-c"] == Command(
        name="a.b-c",
        argv=("/bin/sh", "-c", "echo $1; exit 3", "", "é"),
        cwd=tmp_path,
        env={"QUALITY": "80", "JOBQUEUE_OTHER": ""},
        retry_exit=frozenset({1, 2}),
        die_exit=frozenset(),
        retry_delay=30,
        kill_after=0.5,
        max_output=0,
        max_memory=1_073_741_824,
        max_cpu=60,
    )


@pytest.mark.parametrize("text", ["", "[commands]\n"])
def test_there_may_be_no_commands(tmp_path: Path, text: str) -> None:
    assert load_commands(written(tmp_path, text)) == {}


def test_every_mistake_is_told_at_once_with_where_it_is(tmp_path: Path) -> None:
    text = """
        [commands.one]
        argv = ["sh"]
        retry_exits = [1]
        kill_after = "soon"
        [commands.two]
        env = { JOBQUEUE_TOKEN = "x", "A=B" = "x", N = 1 }
        cwd = "here"
        [command.three]
        argv = ["/bin/true"]
    """

    assert mistakes(tmp_path, text) == [
        "command: is not a table here; did you mean commands?",
        'commands.one.argv: "sh" is not an absolute path',
        "commands.one.retry_exits: is not a field of a command; did you mean retry_exit?",
        "commands.one.kill_after: must be a number",
        "commands.two.env.JOBQUEUE_TOKEN: is set for every job and cannot be set here",
        "commands.two.env.A=B: is no name of a variable",
        "commands.two.env.N: must be text: write it in quotes",
        "commands.two.cwd: must be an absolute path",
        "commands.two.argv: is required",
    ]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("argv", "[]", 'must be a list of texts such as ["/usr/bin/program", "argument"]'),
        ("argv", '"/bin/sh -c x"', 'must be a list of texts such as ["/usr/bin/program", "argument"]'),
        ("argv", '["/bin/sh", 1]', 'must be a list of texts such as ["/usr/bin/program", "argument"]'),
        ("argv", '["/bin/sh", "\\u0000"]', 'must be a list of texts such as ["/usr/bin/program", "argument"]'),
        ("argv", '["/no/such/program"]', '"/no/such/program" does not exist'),
        ("argv", '["/tmp"]', '"/tmp" is not an executable file'),
        ("argv", '["/etc/passwd"]', '"/etc/passwd" is not an executable file'),
        ("argv", '["/etc/passwd/x"]', '"/etc/passwd/x" does not exist'),
        ("cwd", '"/no/such/place"', '"/no/such/place" is not a directory'),
        ("cwd", "1", "must be an absolute path"),
        ("env", '["A=1"]', 'must be a table such as { QUALITY = "80" }'),
        ("retry_exit", "75", "must be a list of exit codes from 1 to 255, such as [75]"),
        ("retry_exit", "[0]", "must be a list of exit codes from 1 to 255, such as [75]"),
        ("die_exit", "[256]", "must be a list of exit codes from 1 to 255, such as [75]"),
        ("die_exit", "[true]", "must be a list of exit codes from 1 to 255, such as [75]"),
        ("die_exit", "[75]", "has 75, which is in retry_exit as well"),
        ("kill_after", "-1", "must be from 0 to 3,600"),
        ("kill_after", "nan", "must be from 0 to 3,600"),
        ("kill_after", "true", "must be a number"),
        ("max_output", "1.5", "must be a whole number"),
        ("max_output", "1" + "0" * 400, "must be from 0 to 1,073,741,824"),
        ("max_memory", "1000", "must be from 1,048,576 to 4,611,686,018,427,387,904"),
        ("max_cpu", "0", "must be from 1 to 2,147,483,648"),
        ("retry_delay", "inf", "must be from 0 to 315,360,000.0"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(tmp_path: Path, field: str, value: str, message: str) -> None:
    argv = "" if field == "argv" else 'argv = ["/bin/true"]\n'

    assert mistakes(tmp_path, f"[commands.x]\n{argv}{field} = {value}\n") == [f"commands.x.{field}: {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("commands = 1", "commands: must be tables such as [commands.thumbnail]"),
        ("[commands]\nx = 1", "commands.x: must be a table"),
        ('[commands."a b"]\nargv = ["/bin/true"]', "commands.a b: must be 1 to 100 letters, digits, _ . or -"),
    ],
)
def test_a_wrong_table_is_told(tmp_path: Path, text: str, message: str) -> None:
    assert mistakes(tmp_path, text) == [message]


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(SettingsError, match="cannot be read: No such file or directory"):
        load_commands(missing)
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load_commands(tmp_path)
    for content in (b"[commands", b"\xff", b"a = " + b"[" * 5000):
        missing.write_bytes(content)
        with pytest.raises(SettingsError, match="is not TOML in UTF-8"):
            load_commands(missing)


def test_the_file_of_the_documentation_is_right_but_for_its_program(tmp_path: Path) -> None:
    text = (Path(load_commands.__code__.co_filename)).read_text(encoding="utf-8")
    example = text.partition("::\n\n")[2].partition("\n\nOnly")[0]

    assert mistakes(tmp_path, example) == [
        'commands.thumbnail.argv: "/usr/local/bin/thumbnail" does not exist',
        'commands.thumbnail.cwd: "/var/lib/thumbnails" is not a directory',
    ]


@pytest.mark.parametrize(
    ("first", "objection"),
    [
        (b"#!/usr/bin/env bash\r\n", "has a carriage return (\\r) in its first line"),
        (b"#!/bin/sh\r\n", "has a carriage return (\\r) in its first line"),
        (b"#!/bin/sh\r", "has a carriage return (\\r) in its first line"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "begins with a byte order mark in front of #!"),
        (
            b"#! /no/such/interpreter -x\n",
            "names an interpreter in its first line that does not exist: /no/such/interp",
        ),
    ],
)
def test_a_script_that_cannot_run_because_of_its_first_line_is_named(
    first: bytes, objection: str, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_bytes(first + b"echo hello\n")
    script.chmod(0o755)
    [told] = mistakes(tmp_path, f'[commands.a]\nargv = ["{script}"]\n')
    assert told.startswith(f'commands.a.argv: "{script}" {objection}')


@pytest.mark.parametrize("first", [b"#!/bin/sh\n", b"#!/usr/bin/env bash\n", b"#!sh\n", b"#!\n", b"", b"\x7fELF\r\n"])
def test_other_first_lines_are_left_to_the_system(first: bytes, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(first)
    script.chmod(0o755)
    assert load_commands(written(tmp_path, f'[commands.a]\nargv = ["{script}"]\n'))


@pytest.mark.parametrize(
    "text",
    ['[commands.a]\r\nargv = ["/bin/true"]\r\n', '\ufeff[commands.a]\nargv = ["/bin/true"]\n'],
    ids=["CRLF", "BOM"],
)
def test_files_of_editors_on_windows_are_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "commands.toml"
    path.write_bytes(text.encode())
    assert load_commands(path) == {"a": Command(name="a", argv=("/bin/true",))}
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(SettingsError, match="is not TOML in UTF-8"):
        load_commands(path)
