"""The examples for web frameworks, under their real servers with processes and threads.

The frameworks are installed for it: ``scripts/test -m full tests/acceptance/test_frameworks.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from jobqueue import JobQueue, State
from tests.acceptance.cli.cli_process import Cli
from tests.support.ports import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.settings import Settings

pytestmark = pytest.mark.full

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = 120


@pytest.fixture(scope="session")
def frameworks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the frameworks, beside what the environment has."""
    target = tmp_path_factory.mktemp("frameworks")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    subprocess.run([*command, "--requirement", str(EXAMPLES / "requirements.txt")], check=True)
    return target


@contextlib.contextmanager
def _served(cli: Cli, *command: str) -> Iterator[str]:
    """Run a server of the framework on a free port; give its address, and stop it."""
    port = free_port()
    words = [part.format(port=port) for part in command]
    with (cli.cwd / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=EXAMPLES, env=cli.environ(), stderr=log, stdout=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


GUNICORN = ("gunicorn", "--workers", "2", "--threads", "4", "--bind", "127.0.0.1:{port}")
UVICORN = ("uvicorn", "--workers", "2", "--port", "{port}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("module", "server"),
    [("flask_app", GUNICORN), ("fastapi_app", UVICORN), ("django_app", GUNICORN)],
)
async def test_an_example_adds_a_job_for_each_request(
    module: str, server: tuple[str, ...], frameworks: Path, tmp_path: Path, settings: Settings
) -> None:
    paths = os.pathsep.join(map(str, (EXAMPLES, frameworks)))
    cli = Cli(
        tmp_path,
        {
            "JOBQUEUE_MONGO_URL": str(settings.mongo_url),
            "JOBQUEUE_DB": settings.db,
            "ORDERS": str(tmp_path / "orders.db"),
            "PYTHONPATH": os.pathsep.join((paths, str(EXAMPLES.parent))),
        },
    )
    orders = [f"order-{number}" for number in range(1000)]
    with _served(cli, *server, f"{module}:app") as url, cli.start("worker", f"{module}:queue"):
        async with aiohttp.ClientSession(url) as session, JobQueue(settings) as queue:
            await eventually(lambda: _answers(session), within=LONG)
            slots = asyncio.Semaphore(8)

            async def place(order: str) -> dict[str, Any]:
                async with slots, session.post(f"/orders/{order}") as reply:
                    assert reply.status == 202, await reply.text()
                    body: dict[str, Any] = await reply.json()
                    return body

            placed = await asyncio.gather(*map(place, orders))

            async def ended() -> bool:
                [row] = await queue.aggregate([{"$match": {"state": "success"}}, {"$count": "count"}]) or [{"count": 0}]
                return bool(row["count"] >= len(orders))

            await eventually(ended, within=LONG, every=0.2)
            jobs = [job async for job in queue.search({"type": "pack"})]
            assert sorted(job.data["order"] for job in jobs) == sorted(orders)
            assert {len(job.history) for job in jobs} == {1}
            assert {(job.state, job.result == f"packed {job.data['order']}") for job in jobs} == {(State.SUCCESS, True)}
            shown = placed[0].get("job", "order-0")
            async with session.get(f"/jobs/{shown}") as reply:
                assert "packed order-0" in await reply.text()
            async with session.get("/jobs/nothing") as reply:
                assert reply.status == 404


async def _answers(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/jobs/nothing") as reply:
            return reply.status == 404
    except aiohttp.ClientConnectionError:
        return False
