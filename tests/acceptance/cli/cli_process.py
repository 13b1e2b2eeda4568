"""Run the real command line, and services that a test stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import jobqueue
from tests.support.zygote.process import ModuleProcess, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

LIMIT = 60
_HOME = Path(str(jobqueue.__file__)).parents[1]


T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], accept: Callable[[T], bool]) -> T:
    """Return what is seen as soon as it is acceptable."""
    async with asyncio.timeout(LIMIT):
        while True:
            seen = await look()
            if accept(seen):
                return seen
            await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Cli:
    """The command line in a directory, under the settings of a test only."""

    cwd: Path
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, stdin: str = "") -> Ran:
        code, out, err = run("jobqueue", *words, cwd=self.cwd, env=self.environ(), stdin=stdin, timeout=LIMIT)
        return Ran(code=code, out=out, err=err)

    def start(self, *words: str) -> Service:
        return Service("jobqueue", *words, cwd=self.cwd, environ=self.environ())

    def environ(self) -> dict[str, str]:
        # Unbuffered, Python does not notice that a pipe took only a part.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBQUEUE_")}
        kept.pop("PYTHONUNBUFFERED", None)
        mongod = {"JOBQUEUE_MONGOD": os.environ["JOBQUEUE_MONGOD"]} if os.environ.get("JOBQUEUE_MONGOD") else {}
        paths = os.pathsep.join(path for path in (str(_HOME), kept.get("PYTHONPATH")) if path)
        return {**kept, **mongod, "PYTHONPATH": paths, **self.settings}


class Service:
    """A process that runs until it is stopped; ended at the end of the block in any case."""

    def __init__(self, module: str, *words: str, cwd: Path, environ: dict[str, str]) -> None:
        self._log = cwd / f"{words[0]}.log"
        files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        with self._log.open("w") as log:
            self.process = ModuleProcess(module, *words, cwd=cwd, env=environ, stderr=log, text=True, **files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def logged(self, text: str) -> None:
        """Wait until the service has logged something."""

        async def look() -> str:
            return self.log

        await eventually(look, lambda log: text in log)

    def ready(self) -> str:
        """Return the line the service prints when it is ready."""
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        assert line, self.log
        return line.rstrip("\n")

    def send(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Return the exit code and what it has printed since `ready`."""
        printed, _ = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, printed
