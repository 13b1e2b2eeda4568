"""A real server with a commands file, a receiver of webhooks, and jobs that they process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiohttp import ClientSession, web

from tests.acceptance.cli.cli_process import Cli, Service, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

FINAL = frozenset({"success", "failed", "killed"})
Json = dict[str, Any]


@dataclass
class Served:
    """A server on a database, started anew as often as a test likes."""

    cli: Cli
    session: ClientSession
    service: Service | None = None
    url: str = ""
    scripts: dict[str, str] = field(default_factory=dict)

    def start(self) -> Self:
        """Start the server on what scripts there are."""
        commands = self.cli.cwd / "commands.toml"
        commands.write_text("\n".join(self._command(name, text) for name, text in self.scripts.items()))
        words = ("--port", "0", "--webhook-allow", "127.0.0.0/8", "--commands", str(commands))
        self.service = self.cli.start("serve", *words)
        self.url = self.service.ready().removeprefix("listening on ")
        return self

    def kill(self) -> None:
        """Kill the server with KILL."""
        if self.service is not None:
            self.service.__exit__(None, None, None)

    def _command(self, name: str, text: str) -> str:
        path = self.cli.cwd / f"{name}.sh"
        path.write_text(f"#!/usr/bin/env bash\n{text}")
        path.chmod(0o755)
        program, cwd, paths = map(json.dumps, (str(path), str(self.cli.cwd), self.cli.environ()["PYTHONPATH"]))
        return f"[commands.{name}]\nargv = [{program}]\ncwd = {cwd}\nenv = {{ PYTHONPATH = {paths} }}"

    async def call(self, method: str, path: str, body: Json | None = None) -> Any:
        async with self.session.request(method, self.url + path, json=body) as answer:
            assert answer.status < 400, await answer.text()
            return await answer.json()

    async def configure(self, **queue: Any) -> None:
        await self.call("PUT", "/v1/queues/default", queue)

    async def add(self, kind: str, **job: Any) -> str:
        made: Json = await self.call("POST", "/v1/jobs", {"type": kind, **job})
        return str(made["id"])

    async def get(self, job_id: str) -> Json:
        job: Json = await self.call("GET", f"/v1/jobs/{job_id}")
        return job

    async def ended(self, job_id: str) -> Json:
        return await eventually(lambda: self.get(job_id), lambda job: job["state"] in FINAL)

    async def run(self, script: str, **job: Any) -> Json:
        """Run a script as the command of a job to its end."""
        return await self.ended(await self.add(script, **job))


@contextlib.asynccontextmanager
async def serving(home: Path, settings: dict[str, str], **scripts: str) -> AsyncIterator[Served]:
    """Serve jobs whose types are the names of bash scripts."""
    async with ClientSession() as session:
        served = Served(Cli(home, settings), session, scripts=scripts).start()
        try:
            await served.configure(processors={name: {"kind": "command", "name": name} for name in scripts})
            yield served
        finally:
            served.kill()


@contextlib.asynccontextmanager
async def receiving(answer: Callable[[Json], tuple[int, Any]]) -> AsyncIterator[tuple[str, list[Any]]]:
    """Receive webhooks: yield their URL and the requests that came, each with its ``webhook-id``."""
    requests: list[Any] = []

    async def receive(request: web.Request) -> web.Response:
        body = await request.json()
        requests.append((request.headers["webhook-id"], body))
        status, reply = answer(body)
        return web.json_response(reply, status=status)

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", requests
    finally:
        await asyncio.shield(runner.cleanup())
