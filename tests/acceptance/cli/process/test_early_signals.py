"""A service that is asked to stop while it starts: as process 1 of a container it has no other way to be stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from jobqueue.store.embedded import guard
from jobqueue.store.embedded.guard import DataLayout
from tests.acceptance.cli.cli_process import LIMIT, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

# Python imports it at its start, before anything of the package: so it can stop the process at the import of a module.
_SITE = """
import os, sys, time
from pathlib import Path

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["STOP_AT"] and sys.argv[0] != "-c":
            Path("stopped").touch()
            while True:
                time.sleep(0.01)
        return None

if os.environ.get("STOP_AT"):
    sys.meta_path.insert(0, Stop())
"""
_APP = """
import subprocess, sys
from jobqueue import JobQueue

queue = JobQueue()

@queue.handler("a")
def run(job):
    return 1

import later
"""
_SERVE = ("serve", "--port", "0")
_WORKER = ("worker", "app:queue")


def _isolation() -> list[str]:
    """Return what runs a program as process 1, as a container does; nothing where that is not allowed."""
    for words in (["unshare", "--pid", "--fork"], ["unshare", "--user", "--map-root-user", "--pid", "--fork"]):
        try:
            if subprocess.run([*words, "true"], capture_output=True, check=False, timeout=LIMIT).returncode == 0:
                return words
        except FileNotFoundError:
            break
    return []


ISOLATION = _isolation()


def _heed_interrupts() -> None:
    """Undo what a shell and ``nohup`` do to programs in the background: they ignore SIGINT and SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Process:
    """A service as process 1 of its own, where that is allowed."""

    def __init__(self, directory: Path, words: tuple[str, ...], stop_at: str = "") -> None:
        (directory / "sitecustomize.py").write_text(_SITE)
        (directory / "app.py").write_text(_APP)
        (directory / "later.py").write_text("")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBQUEUE_")}
        if explicit := os.environ.get("JOBQUEUE_MONGOD"):
            kept["JOBQUEUE_MONGOD"] = explicit
        paths = os.pathsep.join([str(directory), str(Path(__file__).parents[4])])
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*ISOLATION, sys.executable, "-m", "jobqueue", *words],
                cwd=directory,
                env={**kept, "PYTHONPATH": paths, "STOP_AT": stop_at},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=_heed_interrupts,  # noqa: PLW1509 - nothing else runs in the tests' process
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._process.wait(LIMIT)

    @property
    def pid(self) -> int:
        """The pid of the service, seen from here."""
        if not ISOLATION:
            return self._process.pid
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def handles(self, number: signal.Signals) -> bool:
        """Tell whether it handles a signal, which process 1 has to."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
        return bool(caught >> (number - 1) & 1)

    def ended(self) -> tuple[int, str]:
        """Return its exit code and what it has logged."""
        return self._process.wait(LIMIT), self._log.read_text()

    def is_running(self) -> bool:
        return self._process.poll() is None


async def reaches(directory: Path, process: Process, look: Callable[[], bool]) -> None:
    async def seen() -> bool:
        assert process.is_running(), (directory / "log").read_text()
        return look()

    await eventually(seen, bool)


@pytest.mark.parametrize(
    ("words", "module", "number"),
    [
        (_SERVE, "click", signal.SIGTERM),
        (_SERVE, "marshmallow", signal.SIGINT),
        (_SERVE, "motor", signal.SIGHUP),
        (_SERVE, "aiohttp", signal.SIGTERM),
        (_WORKER, "jobqueue.cli.main", signal.SIGTERM),
        (_WORKER, "motor", signal.SIGINT),
        (_WORKER, "later", signal.SIGTERM),
    ],
    ids=str,
)
async def test_a_service_that_still_imports_is_stopped(
    words: tuple[str, ...], module: str, number: signal.Signals, tmp_path: Path
) -> None:
    with Process(tmp_path, words, module) as process:
        await reaches(tmp_path, process, (tmp_path / "stopped").exists)
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            assert process.handles(one)
        os.kill(process.pid, number)
        assert await asyncio.to_thread(process.ended) == (0, "")
    assert not (tmp_path / "jobqueue-data").exists()


def data_of(directory: Path) -> DataLayout:
    return DataLayout(directory.resolve() / "jobqueue-data")


def _has(layout: DataLayout, name: str) -> Callable[[], bool]:
    def look() -> bool:
        path = layout.root / name
        return path.exists() and path.stat().st_size > 0

    return look


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        (_SERVE, "users.lock"),
        (_SERVE, "mongod.json"),
        (_WORKER, "mongod.log"),
        (_SERVE, "db/_mdb_catalog.wt"),
    ],
    ids=str,
)
async def test_a_service_whose_mongod_starts_is_stopped_and_leaves_none(
    words: tuple[str, ...], moment: str, tmp_path: Path
) -> None:
    layout = data_of(tmp_path)
    is_there = (layout.root / moment).exists if moment.endswith(".lock") else _has(layout, moment)
    with Process(tmp_path, words) as process:
        await reaches(tmp_path, process, is_there)
        os.kill(process.pid, signal.SIGTERM)
        code, log = await asyncio.to_thread(process.ended)
    assert code == 0, log
    assert "Traceback" not in log
    assert guard.running(layout) is None


async def test_a_service_that_is_stopped_together_with_its_mongod_ends_well(tmp_path: Path) -> None:
    layout = data_of(tmp_path)
    with Process(tmp_path, _SERVE) as process:
        await reaches(tmp_path, process, _has(layout, "db/WiredTiger.wt"))
        server = guard.recorded(layout)
        assert server is not None
        os.kill(process.pid, signal.SIGTERM)
        for pid in mongods(layout):
            os.kill(pid, signal.SIGTERM)
        code, log = await asyncio.to_thread(process.ended)
    assert code == 0, log
    assert "Traceback" not in log
    assert guard.running(layout) is None


def mongods(layout: DataLayout) -> list[int]:
    """Return the pids, seen from here, of what runs on a data directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(layout.db) in words:
            found.append(int(entry.name))
    return found
