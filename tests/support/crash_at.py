"""A process that ends without any farewell at a certain write: python -m … URL DB ROLE COMMAND PHASE.

It works (``work``), or adds a batch of jobs (``add``); it ends when the first command of this name on jobs that changes
something has begun (``started``) or has been answered (``succeeded``).
"""

from __future__ import annotations

import asyncio
import os
import sys

from pymongo import monitoring

from jobqueue import JobQueue, Member, NewBatch, NewJob
from tests.support.crashing_worker import CRASHED, work


class CrashAt(monitoring.CommandListener):
    """Ends the process at one command."""

    def __init__(self, command: str, phase: str) -> None:
        self._command = command
        self._phase = phase
        self._on_jobs: set[int] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name != self._command or event.command.get(self._command) not in {"jobs", 1}:
            return
        self._on_jobs.add(event.request_id)
        if self._phase == "started":
            os._exit(CRASHED)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        changed = event.reply.get("value") is not None or event.reply.get("n", 0) > 0 or "commit" in event.command_name
        if event.request_id in self._on_jobs and self._phase == "succeeded" and changed:
            os._exit(CRASHED)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Live on."""


async def add(url: str, name: str) -> None:
    async with JobQueue(mongo_url=url, db=name) as queue:
        members = [Member(job=NewJob(type="step", lease=1)) for _ in range(500)]
        await queue.add_batch(NewBatch(members=members, on_complete=NewJob(type="after")))


if __name__ == "__main__":
    monitoring.register(CrashAt(sys.argv[4], sys.argv[5]))
    asyncio.run({"work": work, "add": add}[sys.argv[3]](sys.argv[1], sys.argv[2]))
