"""The examples in other languages: workers that poll, and receivers of webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from typing import TYPE_CHECKING, Any

from tests.acceptance.examples.place import EXAMPLES, Place, Server, trying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def program(place: Place, *words: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program until the end of the block, in a process group of its own."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=place.home,
        env={**place.cli.environ(), "JOBQUEUE_URL": place.served.url, **environ},
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def poll(place: Place, *words: str) -> None:
    """Play the life of a polling worker: its jobs succeed, fail, are killed, and are given back."""
    queue = words[-1]

    async def add(*names: str, **data: Any) -> str:
        files = [str(place.home / name) for name in names]
        return await place.add("checksum", {"files": files, **data}, queue=queue, attempts=1)

    sums = {str(place.home / name): hashlib.sha256(name.encode()).hexdigest() for name in ("a b", "c")}
    async with program(place, *words) as first:
        good, absent, empty = await add("a b", "c"), await add("absent"), await add()
        killed = await add("a b", pause=600)
        ended = [await place.ended(job) for job in (good, absent, empty)]
        await place.until(killed, '"progress": 0,.*"state": "processing".*"sum of')
        await place.served.call("POST", f"/v1/jobs/{killed}/kill", {})
        back = await add("a b", "c", pause=600)
        await place.until(back, '"sum of .*a b"')
        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), 60) == 0
        given = await place.served.get(back)
    assert (ended[0]["state"], ended[0]["result"]) == ("success", sums)
    assert [line["m"] for line in ended[0]["logs"]] == [f"reading {path}" for path in sums]
    assert [step["name"] for step in ended[0]["steps"]] == [f"sum of {path}" for path in sums]
    assert (ended[0]["progress"], ended[1]["state"], ended[2]["state"]) == (100, "failed", "killed")
    assert "o such file" in ended[1]["error"]["message"]
    assert ended[2]["error"]["message"] == "there are no files"
    # Given back: not counted, and its finished step is kept.
    assert (given["state"], given["attemptsMade"]) in {("delayed", 0), ("pending", 0)}
    assert given["history"][0]["error"]["message"] == "the worker is stopped"
    await place.served.call("PATCH", f"/v1/jobs/{back}", {"data": {"files": [*sums], "pause": 0}})
    async with program(place, *words) as second:
        again = await place.ended(back)
        assert (again["state"], again["result"]) == ("success", sums), again
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), 60) == 0
    assert [line["m"] for line in again["logs"]] == [f"reading {path}" for path in sums]


async def test_polling_workers_in_bash_and_node_live_a_whole_life(server: Server, tmp_path: Path) -> None:
    for name in ("a b", "c"):
        (tmp_path / name).write_text(name)
    async with trying(server, tmp_path, "") as place:
        await asyncio.gather(
            poll(place, "bash", str(EXAMPLES / "poll_worker.sh"), "in-bash"),
            poll(place, "node", str(EXAMPLES / "poll_worker.mjs"), "in-node"),
        )
