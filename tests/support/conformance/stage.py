"""Real servers, workers, pollers and a receiver of webhooks on one database, and the ways they process jobs."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from tests.acceptance.cli.cli_process import Cli, Service
from tests.support.conformance.calls import Answer, Api
from tests.support.conformance.play import DIRECTORY, Ground

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

WAYS: Final = ("callback", "thread", "webhook", "accepted", "command", "polling", "http")
"""Functions of both kinds, async ones also in a worker over HTTP, and webhooks of both kinds: one that answers in the
end, and one that answers 202."""
FINAL: Final = frozenset({"success", "failed", "killed"})
RETRY_DELAY: Final = 0.4
"""A command cannot choose the delay of a retry: it is the operator's, so all programs ask for the same."""
_LIMIT: Final = 30
_HOME: Final = Path(__file__).parents[3]
_SECRET: Final = "whsec_" + base64.b64encode(b"conformance of webhooks " * 2).decode()

_WORKER: Final = ("worker", "tests.support.conformance.callbacks:queue")

T = TypeVar("T")
Job = dict[str, Any]


def until(look: Callable[[], T], accept: Callable[[T], object]) -> T:
    """Return the value of a look as soon as it is acceptable."""
    deadline = time.monotonic() + _LIMIT
    pause = 0.02
    while True:
        seen = look()
        if accept(seen):
            return seen
        assert time.monotonic() < deadline, f"still not: {str(seen)[:3000]}"
        time.sleep(pause)
        pause = min(pause * 1.2, 0.15)


class Stage:
    """All processes of jobs, one or several for each way, on a fresh database.

    Args:
        home: a directory of its own.
        settings: MongoDB's URL and the database.
        copies: servers, workers and pollers.
        concurrency: jobs at a time in each of them.
    """

    def __init__(self, home: Path, settings: dict[str, str], *, copies: int, concurrency: int) -> None:
        self.ground = Ground(home / "ground")
        self.ground.path.mkdir()
        self._home = home
        self._copies = copies
        self._settings = {**settings, DIRECTORY: str(self.ground.path), "JOBQUEUE_CONCURRENCY": str(concurrency)}
        self._words: dict[str, tuple[str, ...]] = {"polling": (), "http_worker": (str(concurrency),)}
        self._stack = contextlib.ExitStack()
        self._servers: dict[int, Api] = {}
        self._services: list[Service] = []
        self._frozen: set[int] = set()
        self._others: dict[str, Service] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            starting.callback(self._stack.close)
            self._start()
            starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            for pid in self._frozen:
                os.kill(pid, signal.SIGCONT)
            for service in self._services:
                service.send()
            codes = [service.ended()[0] for service in self._services]
        assert set(codes) == {0}
        logged = [json.loads(line) for service in self._services for line in service.log.splitlines()]
        assert [line for line in logged if line["level"] not in {"info", "warning"}] == []

    @property
    def api(self) -> Api:
        """The API of a server that is not frozen."""
        return next(api for pid, api in self._servers.items() if pid not in self._frozen)

    def freeze(self, pid: int) -> None:
        self._frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        os.kill(pid, signal.SIGCONT)
        self._frozen.discard(pid)

    def replace(self, pid: int) -> None:
        """Kill a server, a worker or a poller with KILL, and start another."""
        os.kill(pid, signal.SIGKILL)
        place, killed = next((place, one) for place, one in enumerate(self._services) if one.process.pid == pid)
        killed.__exit__(None, None, None)
        server = self._servers.pop(pid, None)
        words = _WORKER if server is None else self._serving(server.port)
        new = self._services[place] = self._stack.enter_context(self._cli(f"new{pid}", 0).start(*words))
        new.ready()
        if server is not None:
            self._servers[new.process.pid] = server

    def replace_poller(self, pid: int) -> None:
        """Do the same to a poller or a worker over HTTP."""
        name, killed = next((name, one) for name, one in self._others.items() if one.process.pid == pid)
        killed.__exit__(None, None, None)
        module = name.rstrip("0123456789")
        self._other(module, pid, self.api.url, *self._words[module]).ready()

    def replace_receiver(self) -> None:
        """Do the same to the receiver of webhooks."""
        self._others["receiver"].__exit__(None, None, None)
        self._receive()

    def _start(self) -> None:
        self._write_commands()
        servers = [self._cli("server", number).start(*self._serving(0)) for number in range(self._copies)]
        workers = [self._cli("worker", number).start(*_WORKER) for number in range(self._copies)]
        self._services = [self._stack.enter_context(service) for service in servers + workers]
        for server in servers:
            self._servers[server.process.pid] = Api(server.ready().removeprefix("listening on "))
        url = self.api.url
        others = [
            self._other(module, number, url, *words)
            for module, words in self._words.items()
            for number in range(self._copies)
        ]
        for service in workers + others:
            service.ready()
        self._receive()
        self._configure("command", {"kind": "command", "name": "play"})

    def _receive(self) -> None:
        receiver = self._other("receiver", len(self._others), self.api.url, _SECRET).ready()
        self._configure("webhook", {"kind": "webhook", "url": f"{receiver}/held", "secret": _SECRET})
        self._configure("accepted", {"kind": "webhook", "url": f"{receiver}/accepted", "secret": _SECRET})

    def _configure(self, queue: str, processor: dict[str, str]) -> None:
        answer = self.api.call("PUT", f"/v1/queues/{queue}", {"processors": {"*": processor}})
        assert answer.status == 200, answer.body

    def _cli(self, kind: str, number: int) -> Cli:
        directory = self._home / f"{kind}{number}"
        directory.mkdir()
        return Cli(directory, self._settings)

    def _other(self, module: str, number: int, *words: str) -> Service:
        cli = self._cli(module, number)
        environ = {**os.environ, "PYTHONPATH": str(_HOME), **self._settings}
        service = Service(f"tests.support.conformance.{module}", module, *words, cwd=cli.cwd, environ=environ)
        self._others[module if module == "receiver" else f"{module}{number}"] = service
        return self._stack.enter_context(service)

    def _serving(self, port: int) -> tuple[str, ...]:
        commands = str(self._home / "commands.toml")
        return "serve", "--port", str(port), "--webhook-allow", "127.0.0.0/8", "--commands", commands

    def _write_commands(self) -> None:
        argv = [sys.executable, "-m", "tests.support.conformance.command"]
        (self._home / "commands.toml").write_text(f"""
[commands.play]
argv = {json.dumps(argv)}
env = {{ PYTHONPATH = {json.dumps(str(_HOME))}, {DIRECTORY} = {json.dumps(str(self.ground.path))} }}
retry_delay = {RETRY_DELAY}
""")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to process jobs, as seen over the API."""

    name: str
    stage: Stage

    def new(self, *do: Any, data: dict[str, Any] | None = None, **fields: Any) -> Job:
        """Return a new job with these steps."""
        return {"type": "play", "queue": self.name, "data": {"do": list(do), **(data or {})}, **fields}

    def add(self, *do: Any, data: dict[str, Any] | None = None, **fields: Any) -> str:
        answer = self.stage.api.post("/v1/jobs", self.new(*do, data=data, **fields))
        assert answer.status == 201, answer.body
        job_id: str = answer.body["id"]
        return job_id

    def get(self, job_id: str) -> Job:
        answer = self.stage.api.get(f"/v1/jobs/{job_id}")
        assert answer.status == 200, answer.body
        job: Job = answer.body
        return job

    def post(self, job_id: str, verb: str, **body: Any) -> Answer:
        return self.stage.api.post(f"/v1/jobs/{job_id}/{verb}", body)

    def reached(self, job_id: str, *states: str) -> Job:
        return until(lambda: self.get(job_id), lambda job: job["state"] in states)

    def ended(self, job_id: str) -> Job:
        return self.reached(job_id, *FINAL)

    def done(self, *do: Any, **fields: Any) -> Job:
        """Add a job and return it when it has ended."""
        return self.ended(self.add(*do, **fields))

    def held(self, job_id: str) -> Job:
        """Return the job when its program waits at ``hold``."""
        until(lambda: self.stage.ground.has(job_id, "held"), bool)
        return self.get(job_id)

    def go(self, job_id: str) -> None:
        """Resume the program of a job."""
        self.stage.ground.mark(job_id, "go")

    def stopped(self, job_id: str) -> None:
        """Wait until the process of the job is told to stop."""
        until(lambda: self.stage.ground.has(job_id, "stopped"), bool)

    def lines(self, job_id: str) -> list[Job]:
        """Return all log lines."""
        lines: list[Job] = []
        path = f"/v1/jobs/{job_id}/logs?limit=1000"
        page = self.stage.api.get(path).body
        while True:
            lines += page["items"]
            if page["next"] is None:
                return lines
            page = self.stage.api.get(f"{path}&cursor={page['next']}").body

    def children(self, job_id: str) -> list[Job]:
        items: list[Job] = self.stage.api.get(f"/v1/jobs?parentId={job_id}").body["items"]
        return items

    def noted(self, job_id: str) -> list[str]:
        """Return the steps of a job that have run, in their order and as often as they have."""
        return self.stage.ground.noted(job_id)

    def finished(self, job_id: str) -> list[str]:
        """Return the names of the finished steps of a job."""
        return [step["name"] for step in self.get(job_id).get("steps", []) if step["endAt"] is not None]

    def kill_process(self, job: Job) -> None:
        """Kill the process of a job with KILL, and start another in its place."""
        if self.name == "accepted":
            self.stage.replace_receiver()
        elif self.name in {"polling", "http"}:
            self.stage.replace_poller(_pid(job))
        else:
            self.stage.replace(_pid(job))

    def freeze(self, job: Job) -> None:
        """Stop the process of a job or, for an accepted webhook, the receiver's heartbeats for it."""
        if self.name == "accepted":
            self.stage.ground.mark(job["claim"]["token"], "frozen")
        else:
            self.stage.freeze(_pid(job))

    def thaw(self, job: Job) -> None:
        """Resume the process that `freeze` has stopped; takes the job as it was then."""
        if self.name == "accepted":
            self.stage.ground.clear(job["claim"]["token"], "frozen")
        else:
            self.stage.thaw(_pid(job))


def _pid(job: Job) -> int:
    return int(job["claim"]["worker"].split(":")[1])
