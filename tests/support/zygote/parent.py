"""The process that has imported everything, and whose copies run modules; it ends with the tests.

It takes a listening socket as its standard input. Each connection asks for one process: a line of JSON with `module`,
`arguments`, `cwd` and `env`, together with the three standard files. The reply is the pid, and at its end the status
of `waitpid`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import pkgutil
import random
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import time
from typing import Any, Final, Literal, NoReturn

from aiohttp.web import UrlDispatcher

import jobqueue
from jobqueue.api.app import PARAMETER

NUMBER: Final = struct.Struct("!i")
LONGEST: Final = 1024 * 1024
_WITHOUT: Final = ("__main__", "supervisor")


def main() -> None:
    """Answer until the tests have ended."""
    _import_all()
    listener = socket.socket(fileno=os.dup(0))
    parent = os.getppid()
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    watched: list[Any] = [listener, wake_reader]
    while os.getppid() == parent:
        readable, _, _ = select.select(watched, [], [], 1.0)
        if wake_reader in readable:
            os.read(wake_reader, 4096)
            _reap(running)
        if listener in readable:
            connection, _ = listener.accept()
            request, files = _received(connection)
            # What a copy collects and writes to is its own.
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for mine in (listener, connection, *running.values()):
                    mine.close()
                os.close(wake_reader)
                os.close(wake_writer)
                _run(request, files)
            for file in files:
                os.close(file)
            running[pid] = connection
            connection.sendall(NUMBER.pack(pid))


def _import_all() -> None:
    for module in pkgutil.walk_packages(jobqueue.__path__, "jobqueue."):
        if module.name.rsplit(".", 1)[-1] not in _WITHOUT:
            importlib.import_module(module.name)
    for route in importlib.import_module("jobqueue.api.route_table").ROUTES:
        # The patterns of paths are compiled once, and kept by `re`.
        UrlDispatcher().add_resource(PARAMETER.sub(r"{\1:[^/]+}", route.path))
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()


def _received(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    start, files, _, _ = socket.recv_fds(connection, LONGEST, 3)
    text = bytearray(start)
    while not text.endswith(b"\n"):
        text += connection.recv(LONGEST)
    return json.loads(text), files


def _reap(running: dict[int, socket.socket]) -> None:
    for pid in list(running):
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            with running.pop(pid) as connection:
                try:
                    connection.sendall(NUMBER.pack(status))
                except OSError:
                    # The test does not look any more.
                    continue


def _run(request: dict[str, Any], files: list[int]) -> None:
    """Run a module as ``python -m`` does, in the place of this copy."""
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.closerange(3, max(files) + 1)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    random.seed()
    at_once = bool(request["env"].get("PYTHONUNBUFFERED"))
    streams = {
        "stdin": _stream(0, "rb"),
        "stdout": _stream(1, "wb", at_once=at_once),
        "stderr": _stream(2, "wb", at_once=at_once, errors="backslashreplace", by_line=True),
    }
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    importlib.invalidate_caches()
    sys.path[:] = [request["cwd"], *_paths(request["env"]), *sys.path[1:]]
    sys.argv = [request["module"], *request["arguments"]]
    status = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = _status(ended.code)
    _end(status)


def _status(code: object) -> int:
    if isinstance(code, int):
        return code & 0xFF
    if code is not None:
        print(code, file=sys.stderr)
    return 0 if code is None else 1


def _end(status: int) -> NoReturn:
    """End as Python does, but leave the memory to the system: to free it, every page would be copied first."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = 120
    os._exit(status)


def _stream(
    file: int, mode: Literal["rb", "wb"], *, at_once: bool = False, by_line: bool = False, errors: str = "strict"
) -> io.TextIOWrapper:
    """Open a standard file as Python does at its start."""
    binary: Any = open(file, mode, 0 if at_once else -1, closefd=False)  # noqa: SIM115
    by_line = by_line or os.isatty(file)
    return io.TextIOWrapper(binary, "utf-8", errors, line_buffering=by_line, write_through=at_once)


def _paths(env: dict[str, str]) -> list[str]:
    return [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]


if __name__ == "__main__":
    main()
