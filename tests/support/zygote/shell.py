"""A program `jobqueue` for shells of tests: its short commands are copies of a process that has imported all."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from tests.support.zygote.process import address

_PROGRAM: Final = """\
#!{python} -IS
import json, os, socket, struct, sys

words = sys.argv[1:]
if words[:1] and words[0] in {short} and not {{"--follow", "-f", "--watch", "--wait"}} & set(words):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect({address!r})
    request = {{"module": "jobqueue", "arguments": words, "cwd": os.getcwd(), "env": dict(os.environ)}}
    text = json.dumps(request).encode() + b"\\n"
    sent = socket.send_fds(connection, [text], [0, 1, 2])
    connection.sendall(text[sent:])
    numbers = connection.makefile("rb")
    numbers.read(4)
    code = os.waitstatus_to_exitcode(struct.unpack("!i", numbers.read(4))[0])
    os._exit(code if code >= 0 else 128 - code)
os.execv({program!r}, [{program!r}, *words])
"""
_SHORT: Final = frozenset(
    {
        *("add", "show", "list", "why", "steps", "logs", "status", "signal", "requeue", "kill", "failures", "queue"),
        *("batch", "schedule", "audit", "stats", "search"),
    }
)


def search_path(folder: Path) -> str:
    """Return a search path on which `jobqueue` and Python are those of the tests.

    Programs that stay, such as servers and workers, are started as they are: a shell has to know their pids.

    Args:
        folder: for the program, which is made there.
    """
    folder.mkdir()
    here = Path(sys.executable).parent
    program = folder / "jobqueue"
    text = _PROGRAM.format(
        python=sys.executable, short=sorted(_SHORT), address=address(), program=str(here / "jobqueue")
    )
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return f"{folder}:{here}:{os.environ['PATH']}"
