"""The shell worker of the README, on a real server."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.acceptance.cli.cli_process import Cli
from tests.support.docs.readme import blocks
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


async def test_the_shell_worker_succeeds_and_fails(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "poll.sh"
    script.write_text(blocks("bash")[0])
    good = tmp_path / "good file.txt"
    good.write_bytes(b"important")
    with cli.start("serve", "--port", "0") as server:
        url = server.ready().removeprefix("listening on ").strip()
        worker = await asyncio.create_subprocess_exec(
            "bash", script, url, start_new_session=True, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            async with aiohttp.ClientSession() as session:
                ids = [await _add(session, url, path) for path in (str(good), str(tmp_path / "absent"))]
                done = [await eventually(functools.partial(_ended, session, url, one)) for one in ids]
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            await worker.wait()
    assert done[0]["state"] == "success"
    assert done[0]["result"] == hashlib.sha256(b"important").hexdigest()
    assert [line["m"] for line in done[0]["logs"]] == ["reading"]
    assert done[0]["history"][0]["worker"] == "poll.sh"
    assert done[1]["state"] == "failed"
    assert "No such file or directory" in done[1]["error"]["message"]


async def _add(session: aiohttp.ClientSession, url: str, path: str) -> str:
    body = {"type": "checksum", "queue": "files", "data": {"file": path}, "attempts": 1}
    async with session.post(f"{url}/v1/jobs", json=body) as reply:
        assert reply.status == 201, await reply.text()
        return str((await reply.json())["id"])


async def _ended(session: aiohttp.ClientSession, url: str, job_id: str) -> dict[str, Any]:
    """Return the job if it has ended, else nothing."""
    async with session.get(f"{url}/v1/jobs/{job_id}") as reply:
        job: dict[str, Any] = await reply.json()
    return job if job["endAt"] else {}
