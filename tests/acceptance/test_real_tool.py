"""A real tool as a command: tar, on real files, one of them broken."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.acceptance.cli.cli_process import Cli
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
LIBRARY = Path(tarfile.__file__).parent


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    commands = tmp_path / "commands.toml"
    commands.write_text(f'[commands.untar]\nargv = ["{sys.executable}", "-m", "tests.support.untar"]\ncwd = "{ROOT}"\n')
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name, "JOBQUEUE_COMMANDS": str(commands)})


async def test_tar_reports_progress_and_says_why_it_failed(
    cli: Cli, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.tar", tmp_path / "bad.tar"
    with tarfile.open(good, "w") as archive:
        for source in sorted(LIBRARY.glob("*.py")):
            archive.add(source, source.name)
    whole = good.read_bytes()
    # In the middle a header begins that is none.
    bad.write_bytes(whole[: len(whole) // 2 // 512 * 512] + b"\xff" * (len(whole) // 2))
    with cli.start("serve", "--port", "0") as server:
        url = server.ready().removeprefix("listening on ").strip()
        config = {"attempts": 1, "processors": {"untar": {"kind": "command", "name": "untar"}}}
        async with session.put(f"{url}/v1/queues/archives", json=config) as reply:
            assert reply.status == 200, await reply.text()
        jobs = [await _run(session, url, archive) for archive in (good, bad)]
    assert jobs[0]["state"] == "success"
    assert jobs[0]["result"] == {"records": len(whole) // 10_240}
    assert jobs[0]["history"][0]["code"] == 0
    assert jobs[1]["state"] == "failed"
    assert 0 < jobs[1]["progress"] < 100
    assert jobs[1]["history"][0]["code"] == 2
    assert "tar: " in jobs[1]["error"]["message"]
    assert [line["m"] for line in jobs[1]["logs"] if line.get("level") == "stderr"]


async def _run(session: aiohttp.ClientSession, url: str, archive: Path) -> dict[str, Any]:
    body = {"type": "untar", "queue": "archives", "data": {"archive": str(archive)}}
    async with session.post(f"{url}/v1/jobs", json=body) as reply:
        job_id = str((await reply.json())["id"])

    async def ended() -> dict[str, Any]:
        async with session.get(f"{url}/v1/jobs/{job_id}") as reply:
            job: dict[str, Any] = await reply.json()
        return job if job["endAt"] else {}

    return await eventually(ended)
