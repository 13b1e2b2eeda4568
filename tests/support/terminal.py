"""Run the command line on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from typing import TYPE_CHECKING, Final

from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")


def run(*words: str, cwd: Path, env: Mapping[str, str], columns: int = 80, module: str = "jobqueue") -> tuple[int, str]:
    """Return the exit code of a module, and what its terminal shows, with its styles."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    sizes = {"COLUMNS", "LINES"}
    environ = {name: value for name, value in env.items() if name not in sizes} | {"TERM": "xterm-256color"}
    process = ModuleProcess(module, *words, cwd=cwd, env=environ, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 65_536):
            shown += part
    except OSError:
        # The last process has closed its side.
        pass
    finally:
        os.close(leader)
    return process.wait(timeout=60), shown.decode().replace("\r\n", "\n")


def unstyled(text: str) -> str:
    """Return a text without colours and weights."""
    return _STYLE.sub("", text)
