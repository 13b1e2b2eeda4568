"""The operator's file of commands, which are the only programs that jobs can run.

A TOML file with one table a command::

    [commands.thumbnail]
    argv = ["/usr/local/bin/thumbnail", "--size", "320"]
    cwd = "/var/lib/thumbnails"
    env = { QUALITY = "80" }
    retry_exit = [75]
    die_exit = [65]
    retry_delay = 1.0
    kill_after = 5.0
    max_output = 67_108_864
    max_memory = 1_073_741_824
    max_cpu = 600

Only ``argv`` is required. A job is the program's input and cannot change these fields.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.durations import LONGEST
from jobqueue.domain.errors import InvalidInputError, SettingsError
from jobqueue.domain.work.processing import CommandConfig
from jobqueue.processors.commands import scripts
from jobqueue.settings.rules import shown, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MIB: Final = 1024 * 1024
_TABLE: Final = "commands"
_OWN: Final = frozenset({"JOBQUEUE_JOB_ID", "JOBQUEUE_TOKEN", "JOBQUEUE_URL", "JOBQUEUE_ATTEMPT", "JOBQUEUE_STEPS"})
_MOST_EXIT: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program that jobs may run.

    Attributes:
        argv: the program, an absolute path, and its arguments; no shell reads them.
        cwd: its absolute working directory; ``None`` for that of the server.
        env: added to its environment.
        retry_exit: exit codes that run the job again, uncounted.
        die_exit: exit codes that kill the job.
        retry_delay: seconds until the job runs again after an exit code of `retry_exit`.
        kill_after: seconds between TERM and KILL.
        max_output: bytes that are kept as log lines, each line counted with 64 more.
        max_memory: bytes of address space of each of its processes.
        max_cpu: seconds of processor time of each of its processes.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    retry_exit: frozenset[int] = frozenset({75})
    die_exit: frozenset[int] = frozenset({65})
    retry_delay: float = 1.0
    kill_after: float = 5.0
    max_output: int = 64 * _MIB
    max_memory: int | None = None
    max_cpu: int | None = None


def load_commands(path: Path) -> Mapping[str, Command]:
    """Read the commands file.

    Returns:
        The commands by name.

    Raises:
        SettingsError: with every mistake and its place.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError([f"{path}: is not TOML in UTF-8: {error}"]) from error
    mistakes = [unknown(shown(name, ""), name, [_TABLE], "a table here") for name in content if name != _TABLE]
    tables = content.get(_TABLE, {})
    commands: dict[str, Command] = {}
    if not isinstance(tables, dict):
        mistakes.append(f"{_TABLE}: must be tables such as [{_TABLE}.thumbnail]")
        tables = {}
    for name, table in tables.items():
        reading = _Reading(name)
        command = reading.command(table)
        mistakes += reading.mistakes
        if command is not None:
            commands[name] = command
    if mistakes:
        raise SettingsError([f"{path}: {mistake}" for mistake in mistakes])
    return commands


class _Reading:
    """Reads the table of one command and collects its mistakes."""

    def __init__(self, name: str) -> None:
        self.mistakes: list[str] = []
        self._name = name
        self._where = f"{_TABLE}.{shown(name, '')}"

    def command(self, table: Any) -> Command | None:
        try:
            CommandConfig(name=self._name)
        except InvalidInputError as error:
            self._wrong("", error.problems["name"][0])
        if not isinstance(table, dict):
            self._wrong("", "must be a table")
            return None
        readers: dict[str, Callable[[str, Any], Any]] = {
            "argv": self._argv,
            "cwd": self._cwd,
            "env": self._env,
            "retry_exit": self._exits,
            "die_exit": self._exits,
            "retry_delay": lambda name, value: self._number(name, value, (int, float), 0, LONGEST),
            "kill_after": lambda name, value: self._number(name, value, (int, float), 0, 3600),
            "max_output": lambda name, value: self._number(name, value, (int,), 0, 1024 * _MIB),
            "max_memory": lambda name, value: self._number(name, value, (int,), _MIB, 2**62),
            "max_cpu": lambda name, value: self._number(name, value, (int,), 1, 2**31),
        }
        values = {}
        for name, value in table.items():
            if name in readers:
                values[name] = readers[name](name, value)
            else:
                where = f"{self._where}.{shown(name, '')}"
                self.mistakes.append(unknown(where, name, readers, "a field of a command"))
        if "argv" not in table:
            self._wrong("argv", "is required")
        self._check_overlap(values)
        return None if self.mistakes else Command(name=self._name, **values)

    def _wrong(self, name: str, message: str) -> None:
        self.mistakes.append(f"{self._where}{'.' if name else ''}{name}: {message}")

    def _argv(self, name: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(_is_text(item) for item in value):
            self._wrong(name, 'must be a list of texts such as ["/usr/bin/program", "argument"]')
            return ()
        program = Path(value[0])
        if objection := _object_to_program(program):
            self._wrong(name, f"{shown(value[0])} {objection}")
        return tuple(value)

    def _cwd(self, name: str, value: Any) -> Path | None:
        if not _is_text(value) or not Path(value).is_absolute():
            self._wrong(name, "must be an absolute path")
            return None
        if not Path(value).is_dir():
            self._wrong(name, f"{shown(value)} is not a directory")
        return Path(value)

    def _env(self, name: str, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            self._wrong(name, 'must be a table such as { QUALITY = "80" }')
            return {}
        for key, text in value.items():
            where = f"{name}.{shown(key, '')}"
            if not key or "=" in key or not _is_text(key):
                self._wrong(where, "is no name of a variable")
            elif key in _OWN:
                self._wrong(where, "is set for every job and cannot be set here")
            elif not _is_text(text):
                self._wrong(where, "must be text: write it in quotes")
        return dict(value)

    def _exits(self, name: str, value: Any) -> frozenset[int]:
        if isinstance(value, list) and all(type(item) is int and 1 <= item <= _MOST_EXIT for item in value):
            return frozenset(value)
        self._wrong(name, f"must be a list of exit codes from 1 to {_MOST_EXIT}, such as [75]")
        return frozenset()

    def _number(self, name: str, value: Any, kinds: tuple[type, ...], low: float, high: float) -> Any:
        noun = "number" if float in kinds else "whole number"
        if type(value) not in kinds:
            self._wrong(name, f"must be a {noun}")
        elif not low <= value <= high:
            self._wrong(name, f"must be from {low:,} to {high:,}")
        return value

    def _check_overlap(self, values: Mapping[str, Any]) -> None:
        defaults = {item.name: item.default for item in fields(Command)}
        retry, die = (values.get(name, defaults[name]) for name in ("retry_exit", "die_exit"))
        if both := sorted(retry & die):
            self._wrong("die_exit", f"has {', '.join(map(str, both))}, which is in retry_exit as well")


def _object_to_program(program: Path) -> str:
    if not program.is_absolute():
        return "is not an absolute path"
    try:
        if not program.exists():
            return "does not exist"
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    if not program.is_file() or not os.access(program, os.X_OK):
        return "is not an executable file"
    return scripts.fault(program) or ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value
