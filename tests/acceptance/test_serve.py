"""A real server process: it serves, runs webhooks, and stops as it should."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from jobqueue import JobQueue, State
from tests.acceptance.cli.cli_process import Cli, Service, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue import Job


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
async def jobs(mongo_url: str, db_name: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(mongo_url=mongo_url, db=db_name) as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[str]:
    """The URL of a webhook that answers with the type of the job."""

    async def answer(request: web.Request) -> web.Response:
        sent: dict[str, Any] = await request.json()
        return web.json_response({"was": sent["job"]["type"]})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


def served(service: Service) -> str:
    line = service.ready()
    assert line.startswith("listening on http://127.0.0.1:")
    return line.removeprefix("listening on ")


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def ended(jobs: JobQueue, job_id: str) -> Job:
    return await eventually(lambda: jobs.get(job_id), lambda job: job.end_at is not None)


async def test_a_server_serves_runs_webhooks_and_stops(cli: Cli, jobs: JobQueue, receiver: str) -> None:
    with cli.start("serve", "--port", "0", "--webhook-allow", "127.0.0.0/8") as server:
        url = served(server)
        assert await status(f"{url}/healthz") == 200
        assert await status(f"{url}/readyz") == 200
        config = {"processors": {"*": {"kind": "webhook", "url": receiver}}}
        await (await jobs.open()).queues.put("hooks", config)
        job = await ended(jobs, (await jobs.add("ping", queue="hooks")).id)
        assert (job.state, job.result) == (State.SUCCESS, {"was": "ping"})
        port = url.rpartition(":")[2]
        second = await asyncio.to_thread(cli.run, "serve", "--port", port)
        assert (second.code, second.out) == (1, "")
        assert second.err.startswith(f"error: port {port} of 127.0.0.1 is in use")
        server.send()
        assert await asyncio.to_thread(server.ended) == (0, "")
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0
        for line in server.log.splitlines():
            assert json.loads(line)["level"] == "info"


def mongod_of(data_dir: Path) -> int:
    pid: int = json.loads((data_dir / "mongod.json").read_text())["pid"]
    return pid


def lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def test_an_embedded_mongodb_is_started_kept_alive_and_stopped(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with cli.start("serve", "--port", "0") as server:
        url = served(server)
        job_id = (await asyncio.to_thread(cli.run, "add", "resize")).out.strip()
        first = mongod_of(tmp_path / "jobqueue-data")
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: status(f"{url}/readyz"), lambda answer: answer == 200 and not lives(first))
        second = mongod_of(tmp_path / "jobqueue-data")
        assert first != second
        assert await status(f"{url}/v1/jobs/{job_id}") == 200
        server.send()
        assert await asyncio.to_thread(server.ended) == (0, "")
        assert not lives(second)
