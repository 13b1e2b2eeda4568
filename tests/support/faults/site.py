"""Processes of every kind on one replica set: servers, Python workers, a polling one, a webhook receiver, an adder."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.support.faults import journals
from tests.support.ports import free_ports
from tests.support.unmeasured import environment

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.faults.journals import Run

ROOT: Final = Path(__file__).parents[3]
DATABASE: Final = "faults"
QUEUES: Final = ("default", "hook", "poll", "command")
COMMAND: Final = """
import os, sys, time
def note(what):
    line = f"{what} {os.environ['JOBQUEUE_JOB_ID']} {os.environ['JOBQUEUE_TOKEN']} {time.monotonic_ns()}\\n"
    out = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(out, line.encode())
note("start")
note("end")
"""


@dataclass(frozen=True, slots=True)
class Vital:
    """The resources that a process uses."""

    memory: int
    files: int
    sockets: int
    threads: int
    tasks: int


class Site:
    """All processes, for the time of a block; killed ones are started again.

    Args:
        directory: for journals and logs.
        url: of MongoDB.
    """

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self._url = url
        self._ports = free_ports(3)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._journals: dict[Path, int | None] = {}
        self._numbers: dict[str, int] = {}
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "command.py").write_text(COMMAND)
        (directory / "commands.toml").write_text(
            f'[commands.step]\nargv = ["{sys.executable}", "-S", "-E", "{directory}/command.py"]\n'
            f'env = {{JOURNAL = "{self._journal("command")}"}}\n'
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    @property
    def urls(self) -> list[str]:
        """The addresses of the servers."""
        return [f"http://127.0.0.1:{port}" for port in self._ports[:2]]

    @property
    def configuration(self) -> dict[str, dict[str, Any]]:
        """The configurations of the queues."""
        hook = {"kind": "webhook", "url": f"http://127.0.0.1:{self._ports[2]}/", "timeout": 5}
        return {
            "hook": {"processors": {"*": hook}, "concurrency": 5},
            "command": {"processors": {"*": {"kind": "command", "name": "step"}}},
            "default": {"rate": {"limit": 200, "per": 1}},
        }

    def start(self, name: str) -> None:
        """Start the process of this name: server0, server1, worker0 …, poller, receiver."""
        number = self._numbers[name] = self._numbers.get(name, -1) + 1
        match name.rstrip("0123456789"):
            case "server":
                place = int(name.removeprefix("server"))
                arguments = ["jobqueue", "serve", "--port", str(self._ports[place]), "--concurrency", "8"]
            case "worker":
                path = str(self._journal(f"{name}-{number}"))
                arguments = ["tests.support.workers.journal_worker", path, self._url, DATABASE, "10"]
            case "poller":
                path = str(self._journal(f"{name}-{number}"))
                arguments = ["tests.support.faults.polling_worker", path, "poll", *self.urls]
            case "receiver":
                path = str(self._journal(f"{name}-{number}"))
                arguments = ["tests.support.faults.receiver", path, str(self._ports[2])]
            case _:
                raise ValueError(name)
        watched = ["-m", "tests.support.faults.watched", str(self.directory / f"{name}.tasks")]
        self._run(name, [*watched, *arguments])

    def add(self, count: int, seconds: float) -> subprocess.Popen[bytes]:
        """Begin to add so many jobs, with so many seconds between two."""
        path = str(self._journal("adder"))
        arguments = [path, str(count), str(seconds), ",".join(QUEUES), *self.urls]
        self._run("adder", ["-m", "tests.support.faults.adder", *arguments])
        return self._processes["adder"]

    def kill(self, name: str) -> None:
        """Kill a process without a chance to clean up."""
        self._processes[name].kill()
        self._processes[name].wait(10)
        path = self.directory / f"journal-{name}-{self._numbers[name]}"
        if path in self._journals:
            self._journals[path] = time.monotonic_ns()

    def send(self, name: str, what: signal.Signals) -> None:
        self._processes[name].send_signal(what)

    def dead(self) -> list[str]:
        """Return the names of processes that have ended by themselves."""
        return [name for name, process in self._processes.items() if process.poll() is not None and name != "adder"]

    @property
    def journals(self) -> dict[Path, int | None]:
        """All journals, and when their processes were killed."""
        return dict(self._journals)

    def runs(self, kind: str) -> list[Run]:
        """Return the runs of one kind of worker: ``worker``, ``poller``, ``receiver`` or ``command``."""
        return journals.runs({path: at for path, at in self._journals.items() if f"journal-{kind}" in path.name})

    def vital(self, name: str) -> Vital:
        """Return the resources that a process uses now."""
        process = Path(f"/proc/{self._processes[name].pid}")
        fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        links = []
        for link in (process / "fd").iterdir():
            # It goes on working, and may have closed this one meanwhile.
            with contextlib.suppress(FileNotFoundError):
                links.append(str(link.readlink()))
        tasks = self.directory / f"{name}.tasks"
        return Vital(
            memory=int(fields["VmRSS"].split()[0]) * 1024,
            files=len(links),
            sockets=sum(link.startswith("socket:") for link in links),
            threads=int(fields["Threads"]),
            tasks=int((tasks.read_text() if tasks.exists() else "") or 0),
        )

    def _run(self, name: str, arguments: list[str]) -> None:
        settings = {
            "JOBQUEUE_MONGO_URL": self._url,
            "JOBQUEUE_DB": DATABASE,
            "JOBQUEUE_COMMANDS": str(self.directory / "commands.toml"),
            "JOBQUEUE_WEBHOOK_ALLOW": "127.0.0.0/8",
            "JOBQUEUE_REAP_INTERVAL": "0.5",
        }
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=environment() | settings, stdout=log, stderr=log
            )

    def _journal(self, name: str) -> Path:
        path = self.directory / f"journal-{name}"
        self._journals[path] = None
        return path
