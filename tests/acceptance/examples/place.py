"""A server for all examples, and a folder of its own for each, as a user has them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession

from tests.acceptance.cli.cli_process import Cli, Ran, Service, eventually
from tests.acceptance.steps.served import Served
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
LEASE = 3
"""Seconds until the death of a worker is noticed."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """A server and the database that it works on."""

    url: str
    settings: dict[str, str]


@dataclass
class Place:
    """A folder in which a user tries an example."""

    home: Path
    example: Path
    served: Served
    cli: Cli

    async def apply(self, **changes: Mapping[str, Any]) -> None:
        """Configure the queues as the file of the example says, and change some of them for the test."""
        ran = self.run("apply", str(self.example / "queues.toml"))
        assert ran.code == 0, ran.err
        for queue, change in changes.items():
            await self.served.call("PATCH", f"/v1/queues/{queue}", dict(change))

    def run(self, *words: str) -> Ran:
        return self.cli.run(*words)

    def worker(self, target: str, **environ: str) -> Service:
        return Service("jobqueue", "worker", target, cwd=self.home, environ={**self.cli.environ(), **environ})

    @contextlib.contextmanager
    def program(self, module: str, *words: str, **environ: str) -> Iterator[str]:
        """Run a program of the example until the end of the block; give the first line that it prints."""
        with (self.home / f"{module}.log").open("w") as log:
            process = ModuleProcess(
                module, *words, cwd=self.home, env={**self.cli.environ(), **environ}, stdout=-1, stderr=log, text=True
            )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().rstrip("\n")
        finally:
            process.kill()
            process.communicate()

    async def add(self, kind: str, data: Json, **job: Any) -> str:
        return await self.served.add(kind, data=data, **job)

    async def ended(self, job_id: str) -> Json:
        return await self.served.ended(job_id)

    async def until(self, job_id: str, text: str) -> Json:
        """Wait until a job, as JSON, has a text that a pattern describes."""
        return await eventually(
            lambda: self.served.get(job_id), lambda job: re.search(text, json.dumps(job, sort_keys=True)) is not None
        )

    async def jobs(self, **query: str) -> list[Json]:
        options = "&".join(f"{name}={value}" for name, value in {"limit": "200", "sort": "insertAt", **query}.items())
        found: list[Json] = (await self.served.call("GET", f"/v1/jobs?{options}"))["items"]
        return found


@contextlib.asynccontextmanager
async def trying(server: Server, home: Path, example: str) -> AsyncIterator[Place]:
    folder = EXAMPLES / example
    paths = os.pathsep.join((str(folder), str(ROOT)))
    cli = Cli(home, {**server.settings, "PYTHONPATH": paths})
    async with ClientSession() as session:
        yield Place(home, folder, Served(cli, session, url=server.url), cli)


async def beside(server: Server, home: Path, *parts: Callable[[Server, Path], Awaitable[None]]) -> None:
    """Run parts of a test side by side, each in a folder of its own."""

    async def run(part: Callable[[Server, Path], Awaitable[None]]) -> None:
        folder = home / part.__name__
        folder.mkdir()
        await part(server, folder)

    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(run(part))
