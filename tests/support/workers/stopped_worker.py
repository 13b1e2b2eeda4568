"""A worker that is stopped between reading the configuration and its first claim: python -m … URL DB.

It stops itself, notes whether that claim has found a job, and claims until it has one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from jobqueue.settings import Settings
from tests.support.data.factories import open_runtime

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.claim_search import ClaimPermit, ClaimSearch
    from jobqueue.store.work.claims import ClaimStore


class Stopping:
    """Hands claims on; the first one waits until the process is continued."""

    def __init__(self, claims: ClaimStore) -> None:
        self._claims = claims
        self._claim = claims.claim
        self._stopped = False

    async def claim(self, search: ClaimSearch, permit: ClaimPermit | None = None) -> Job | None:
        if not self._stopped:
            self._stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return await self._claim(search, permit)


async def work(url: str, name: str) -> None:
    async with open_runtime(Settings.load({"mongo_url": url, "db": name}, environ={})) as runtime:
        runtime.claims.claim = Stopping(runtime.claims).claim  # type: ignore[method-assign]
        while True:
            claimed = await runtime.work.claim("default", None, worker="stopped")
            print(None if claimed is None else claimed.job.id, flush=True)
            if claimed is not None:
                return
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2]))
