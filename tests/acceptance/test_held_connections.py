"""Connections that are only held: whoever has something to ask is still answered.

``JOBQUEUE_HELD=200,5000`` holds as many slow bodies and idle connections, which needs ``ulimit -n`` above 11,000.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from tests.acceptance.cli.cli_process import Cli

if TYPE_CHECKING:
    from pathlib import Path

SLOW, IDLE = (int(number) for number in os.environ.get("JOBQUEUE_HELD", "100,300").split(","))
_SLOW_HEAD: Final = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
)
_HALF_HEAD: Final = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
Held = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


async def hold(port: int, sent: bytes) -> Held:
    """Open a connection, send something that is not enough, and keep it open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def test_a_request_is_answered_while_others_hold_their_connections(cli: Cli) -> None:
    with cli.start("serve", "--port", "0") as service:
        url = service.ready().removeprefix("listening on ")
        port = int(url.rpartition(":")[2])
        kinds = [_SLOW_HEAD] * SLOW + [_HALF_HEAD] * (IDLE // 2) + [b""] * (IDLE - IDLE // 2)
        held: list[Held] = []
        for start in range(0, len(kinds), 500):
            held += await asyncio.gather(*(hold(port, sent) for sent in kinds[start : start + 500]))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            took = []
            for _ in range(5):
                before = time.perf_counter()
                async with session.post(f"{url}/v1/jobs", json={"type": "a"}) as answer:
                    assert answer.status == 201
                took.append(round((time.perf_counter() - before) * 1000))
        open_ones = sum(not reader.at_eof() for reader, _ in held)
        print(f"{open_ones} of {len(held)} connections held; adding a job took {took} ms")  # noqa: T201 - a figure for who runs the full form
        assert open_ones == len(held)
        for _, writer in held:
            writer.close()


def test_a_service_may_have_as_many_connections_as_the_system_allows() -> None:
    code = (
        "import resource; from jobqueue.cli.process.process import raise_file_limit\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))\n"
        "raise_file_limit(); print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    soft, hard = (int(number) for number in ran.stdout.split())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == most
    assert soft == (65_536 if most == resource.RLIM_INFINITY else min(most, 65_536))
