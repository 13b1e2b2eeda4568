"""Servers that are killed with all their jobs again and again, and a polling worker that dies with what it holds."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from tests.acceptance.cli.cli_process import Cli
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

JOBS = 10
SCRIPT = """#!/bin/bash
echo "$JOBQUEUE_JOB_ID" >>"$RUNS/started"
until [ -e "$RUNS/go" ]; do sleep 0.1; done
"""


class Site:
    """Servers that follow each other on one database, and the requests that a test makes of the present one."""

    def __init__(self, cli: Cli, session: aiohttp.ClientSession) -> None:
        self._cli = cli
        self._session = session
        self._url = ""

    @contextlib.contextmanager
    def server(self) -> Iterator[Any]:
        with self._cli.start("serve", "--port", "0", "--concurrency", str(JOBS)) as server:
            self._url = server.ready().removeprefix("listening on ").strip()
            yield server

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, f"{self._url}/v1/{path}", json=body) as reply:
            assert reply.status < 300, await reply.text()
            return None if reply.status == 204 else await reply.json()

    async def jobs(self, state: str | None = None) -> list[dict[str, Any]]:
        found = await self.call("GET", "jobs?queue=work&limit=100" + (f"&state={state}" if state else ""))
        items: list[dict[str, Any]] = found["items"]
        return items

    async def add(self, count: int, **fields: Any) -> list[str]:
        new = {"jobs": [{"type": "work", "queue": "work"} | fields] * count}
        return [job["id"] for job in (await self.call("POST", "jobs/bulk", new))["items"]]


@pytest.fixture
async def site(tmp_path: Path, mongo_url: str, db_name: str) -> AsyncIterator[Site]:
    script = tmp_path / "hold.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    commands = tmp_path / "commands.toml"
    commands.write_text(f'[commands.hold]\nargv = ["{script}"]\nenv = {{RUNS = "{tmp_path}"}}\n')
    environment = {
        "JOBQUEUE_MONGO_URL": mongo_url,
        "JOBQUEUE_DB": db_name,
        "JOBQUEUE_COMMANDS": str(commands),
        "JOBQUEUE_WEBHOOK_ALLOW": "127.0.0.0/8",
        "JOBQUEUE_REAP_INTERVAL": "0.2",
    }
    async with aiohttp.ClientSession() as session:
        yield Site(Cli(tmp_path, environment), session)


class Receiver:
    """Takes webhooks, writes down which, and answers when a file exists."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path

    async def answer(self, request: web.Request) -> web.Response:
        job_id = (await request.json())["job"]["id"]
        with (self._tmp_path / "started").open("a") as file:
            file.write(f"{job_id}\n")
        await eventually((self._tmp_path / "go").exists, within=600)
        return web.json_response({})


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", Receiver(tmp_path).answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def outcomes(job: dict[str, Any]) -> list[str]:
    return [entry["outcome"] for entry in job["history"]]


@pytest.mark.parametrize("kind", ["command", "webhook"])
async def test_jobs_whose_server_is_killed_three_times_are_not_failed(
    site: Site, receiver: str, tmp_path: Path, kind: str
) -> None:
    processor = {"kind": "command", "name": "hold"} if kind == "command" else {"kind": "webhook", "url": receiver}
    config = {"lease": 2, "backoff": 0, "timeout": None, "processors": {"work": processor}}
    started = tmp_path / "started"

    def count() -> int:
        return len(started.read_text().split()) if started.exists() else 0

    for death, together in enumerate([JOBS, JOBS, 1]):
        with site.server() as server:
            if not death:
                await site.call("PUT", "queues/work", config)
                await site.add(JOBS, attempts=2)
            before = JOBS * death
            await eventually(lambda before=before, together=together: count() == before + together, within=60)  # type: ignore[misc]
            server.send(signal.SIGKILL)
            server.ended()
    (tmp_path / "go").touch()
    with site.server():

        async def done() -> list[dict[str, Any]] | None:
            found = await site.jobs()
            return None if any(job["state"] in {"pending", "delayed", "processing"} for job in found) else found

        ended = await eventually(done, within=60)
    assert ended is not None
    assert [job["state"] for job in ended] == ["success"] * JOBS
    assert [job["crashes"] for job in ended] == [2] * JOBS
    again = sorted(outcomes(job) for job in ended)
    assert again == [["crash", "crash", "hanging", "success"], *[["crash", "crash", "success"]] * (JOBS - 1)]


async def test_a_polling_worker_that_dies_with_its_jobs_fails_none_and_then_gets_one_suspect_at_a_time(
    site: Site,
) -> None:
    wanted = {"worker": "poller", "lease": 1}

    async def rested() -> bool:
        return not await site.jobs("processing")

    with site.server():
        await site.add(5, backoff=0, attempts=2)
        for _ in range(2):
            claimed = [await site.call("POST", "queues/work/claim", wanted | {"wait": 30}) for _ in range(5)]
            assert len({one["job"]["id"] for one in claimed}) == 5
            await eventually(rested, within=60)
        assert [(job["attemptsMade"], job["crashes"]) for job in await site.jobs()] == [(0, 2)] * 5

        suspect = await site.call("POST", "queues/work/claim", {"worker": "poller", "wait": 30})
        assert suspect["job"]["crashes"] == 2
        assert await site.call("POST", "queues/work/claim", {"worker": "poller"}) is None
        healthy = await site.add(1)
        beside = await site.call("POST", "queues/work/claim", {"worker": "poller", "wait": 30})
        assert beside["job"]["id"] == healthy[0]
        await site.call("POST", f"jobs/{suspect['job']['id']}/fail", {"token": suspect["token"], "reason": "as told"})
        following = await site.call("POST", "queues/work/claim", wanted | {"wait": 30})
        assert following["job"]["crashes"] == 2
