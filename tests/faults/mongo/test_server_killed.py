"""A server that is killed with kill -9 while its commands run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.acceptance.cli.cli_process import Cli
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TREES = 10
MARK = "JOBQUEUE_TEST_TREE"
SCRIPT = """#!/bin/bash
# The first run leaves a tree behind: a child, a grandchild that ignores TERM, one in a session of its own.
echo run >>"$RUNS/$JOBQUEUE_JOB_ID"
[ "$(wc -l <"$RUNS/$JOBQUEUE_JOB_ID")" = 1 ] || exit 0
sleep 600 &
(trap '' TERM; sleep 600; sleep 600) &
setsid sleep 600 &
echo ready >>"$RUNS/ready"
wait
"""


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    script = tmp_path / "tree.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    (tmp_path / "runs").mkdir()
    commands = tmp_path / "commands.toml"
    commands.write_text(
        f'[commands.tree]\nargv = ["{script}"]\nenv = {{RUNS = "{tmp_path}/runs", {MARK} = "{tmp_path}"}}\n'
    )
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name, "JOBQUEUE_COMMANDS": str(commands)})


def alive(tmp_path: Path) -> list[str]:
    """Return the processes that carry the mark of this test in their environment."""
    wanted, found = f"{MARK}={tmp_path}".encode(), []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                found.append((directory / "cmdline").read_bytes().decode())
        except OSError:
            continue  # it has ended meanwhile
    return found


async def test_no_process_is_left_and_each_job_runs_again_once(
    cli: Cli, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with cli.start("serve", "--port", "0", "--concurrency", str(TREES)) as server:
        url = server.ready().removeprefix("listening on ").strip()
        config = {
            "lease": 3,
            "backoff": 0,
            "processors": {"tree": {"kind": "command", "name": "tree"}},
        }
        async with session.put(f"{url}/v1/queues/trees", json=config) as reply:
            assert reply.status == 200, await reply.text()
        jobs = {"jobs": [{"type": "tree", "queue": "trees"}] * TREES}
        async with session.post(f"{url}/v1/jobs/bulk", json=jobs) as reply:
            ids = [job["id"] for job in (await reply.json())["items"]]
        await eventually(lambda: (runs / "ready").exists() and len((runs / "ready").read_text().split()) == TREES)
        assert len(alive(tmp_path)) >= 4 * TREES
        server.send(signal.SIGKILL)
        # Two seconds on a machine that does nothing else.
        await eventually(lambda: not alive(tmp_path), within=30)
        server.ended()
    with cli.start("serve", "--port", "0", "--concurrency", str(TREES)) as server:
        url = server.ready().removeprefix("listening on ").strip()

        async def done() -> list[dict[str, Any]] | None:
            async with session.get(f"{url}/v1/jobs?queue=trees&state=success") as reply:
                items: list[dict[str, Any]] = (await reply.json())["items"]
            return items if len(items) == TREES else None

        ended = await eventually(done, within=40)
    assert ended is not None
    assert {job["id"] for job in ended} == set(ids)
    assert [[entry["outcome"] for entry in job["history"]] for job in ended] == [["crash", "success"]] * TREES
    assert [(runs / job_id).read_text().split() for job_id in ids] == [["run", "run"]] * TREES
