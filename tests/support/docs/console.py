"""Run the blocks of a page as a reader does: save files, type commands into one shell, compare what they print."""

from __future__ import annotations

import re
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BLOCK: Final = re.compile(r"^```(python|bash|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"# (\S+\.py)(?:, (.*))?\n")
_SCRIPT: Final = re.compile(r"#!.*\n# (\S+\.sh)\b")
_ANY: Final = "…"


@dataclass(frozen=True)
class Command:
    """A command, and the lines that it prints; `…` stands for any text, alone on a line for any lines."""

    text: str
    output: list[str]

    def matches(self, printed: str) -> bool:
        """Return True if this is what was printed."""
        pattern = "".join(
            r"(?:.*\n)*" if line == _ANY else re.escape(line).replace(re.escape(_ANY), ".*") + r"\n"
            for line in self.output
        )
        return re.fullmatch(pattern, printed) is not None


def commands(block: str) -> Iterator[Command]:
    """Return the commands of a block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        # A backslash at the end of a line goes on with the command.
        length = next(number for number, line in enumerate(lines, start=1) if not line.endswith("\\"))
        yield Command("\n".join(lines[:length]), lines[length:])


def file_name(block: str) -> str | None:
    """Return the name of the file that a block is, or changes."""
    named = _FILE.match(block) or _SCRIPT.match(block)
    return None if named is None else named[1]


def edited(text: str, block: str) -> str:
    """Return a file after a block: the block is the file, or stands at its end, or in place of its last function."""
    named = _FILE.match(block)
    how = None if named is None else named[2]
    if how is None:
        return block
    return text + block if how == "at its end" else f"{text.rpartition(chr(10) + 'def ')[0]}\n{block}"


class Reader:
    """A reader of a page, in an empty folder with one shell.

    Args:
        folder: where files are saved.
        environment: of the shell.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._shell = subprocess.Popen(
            ["bash", "--norc", "-m"],
            cwd=folder,
            env=dict(environment),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def read(self, page: str) -> None:
        """Carry out a page, block after block.

        Raises:
            AssertionError: a command printed something else.
        """
        for kind, block in _BLOCK.findall(page):
            if kind != "console":
                self._save(block)
                continue
            for command in commands(block):
                printed = self.type(command.text)
                assert command.matches(printed), f"$ {command.text}\n{printed}\n--- the page says\n" + "\n".join(
                    command.output
                )

    def type(self, text: str) -> str:
        """Type a command; return what it prints."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        mark = secrets.token_hex(8)
        self._shell.stdin.write(f"{text}\necho {mark}\n")
        self._shell.stdin.flush()
        printed = ""
        for line in self._shell.stdout:
            before, found, _ = line.partition(mark)
            printed += before
            if found:
                return printed if printed.endswith("\n") or not printed else f"{printed}\n"
        raise AssertionError(f"the shell ended in: {text}")

    def close(self) -> None:
        """End the shell and all that it has started."""
        self.type("kill -9 $(jobs -p) 2>/dev/null")
        self._shell.communicate()

    def _save(self, block: str) -> None:
        name = file_name(block)
        assert name, block
        path = self._folder / name
        path.write_text(edited(path.read_text() if path.exists() else "", block))
