"""A worker that polls over HTTP and notes its jobs in a journal: python -m … JOURNAL QUEUE URL [URL …].

It goes on to the next server when a server does not answer, and reports until it gets an answer.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.support.faults.journals import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = 4


class Poller:
    """Some jobs at a time."""

    def __init__(self, journal: Journal, queue: str, urls: list[str], session: aiohttp.ClientSession) -> None:
        self._journal = journal
        self._queue = queue
        self._urls: Iterator[str] = itertools.cycle(urls)
        self._session = session

    async def run(self) -> None:
        while True:
            status, answer = await self._post(f"queues/{self._queue}/claim", {"worker": "poller", "wait": 2})
            if status != 200:
                continue
            job_id, token = answer["job"]["id"], answer["token"]
            self._journal.note("start", job_id, token)
            await asyncio.sleep(0.02)
            self._journal.note("end", job_id, token)
            if await self._succeed(job_id, token):
                self._journal.note("ack", job_id, token)

    async def _succeed(self, job_id: str, token: str) -> bool:
        """Report success until there is an answer; tell whether it was acknowledged."""
        status = 599
        while status >= 500:
            status, _ = await self._post(f"jobs/{job_id}/succeed", {"token": token, "result": 1})
            if status >= 500:
                await asyncio.sleep(0.1)
        return status == 200

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and answer; 599 if there is none."""
        try:
            async with self._session.post(f"{next(self._urls)}/v1/{path}", json=body) as reply:
                return reply.status, await reply.json() if reply.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.1)
            return 599, None


async def poll(path: Path, queue: str, urls: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    journal = Journal(path)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        pollers = [asyncio.create_task(Poller(journal, queue, urls, session).run()) for _ in range(PLACES)]
        journal.note("ready")
        await stop.wait()
        for poller in pollers:
            poller.cancel()
        await asyncio.gather(*pollers, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(poll(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
