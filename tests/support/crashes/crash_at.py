"""A process that is killed at a certain write: python -m … URL DB ROLE COMMAND PHASE [COLLECTION [NUMBER [VALUE]]].

It works (``work``), adds a batch of jobs (``add``), or makes a change as a server does (`CHANGES`). It is killed when
the command of this number and name on a collection (``jobs`` if none is named) has begun (``started``), or has been
answered and has changed something (``succeeded``). ``write`` stands for any command that writes, ``*`` for any
collection. A process that comes to its end has had fewer of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from pymongo import monitoring

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from jobqueue.domain.search.query import JobQuery
from tests.support.workers.crashing_worker import WRITES, work

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

KILLED: Final = -signal.SIGKILL
BY: Final = Actor(name="ann", via="http")
BUSY: Final = "busy"
"""The queue whose configuration is changed."""
MEMBERS: Final = 100
"""Jobs of the batch that is added."""
NAME: Final = "nightly"
"""The schedule that is changed."""
TICK_DATA: Final = {"text": "$name", "list": ["$$NOW"], "empty": {}}
"""Data that would mean something else in an update."""


class CrashAt(monitoring.CommandListener):
    """Kills the process at one command."""

    def __init__(self, command: str, phase: str, collection: str = "jobs", number: str = "1", _value: str = "") -> None:
        self._commands = WRITES if command == "write" else {command}
        self._phase = phase
        self._collection = collection
        self._left = int(number)
        self._meant: set[int] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        name = event.command_name
        if name not in self._commands:
            return
        # A commit names no collection.
        if self._collection != "*" and event.command.get(name) not in {self._collection, 1}:
            return
        self._meant.add(event.request_id)
        if self._phase == "started":
            self._count()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        changed = event.reply.get("value") is not None or event.reply.get("n", 0) > 0 or "commit" in event.command_name
        if event.request_id in self._meant and self._phase == "succeeded" and changed:
            self._count()

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Live on."""

    def _count(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


async def add(url: str, name: str, _value: str) -> None:
    async with JobQueue(mongo_url=url, db=name) as queue:
        members = [Member(job=NewJob(type="step", lease=1)) for _ in range(MEMBERS)]
        await queue.add_batch(NewBatch(members=members, on_complete=NewJob(type="after")))


async def configure(runtime: Runtime, value: str) -> None:
    await runtime.queues.put(BUSY, {"attempts": int(value)}, by=BY)


async def schedule(runtime: Runtime, value: str) -> None:
    job = NewJob(type="tick", data=TICK_DATA)
    await runtime.schedules.put(Schedule(name=NAME, job=job, recurrence=Every(seconds=int(value) * 60)), by=BY)


async def unschedule(runtime: Runtime, _value: str) -> None:
    await runtime.schedules.delete(NAME, by=BY)


async def operate(runtime: Runtime, value: str) -> None:
    await runtime.operations.create(NewOperation(action=Action.KILL, by=BY, filter={"type": value}))


async def stop(runtime: Runtime, _value: str) -> None:
    [running] = await runtime.operations.store.page(state="running")
    await runtime.operations.store.stop(running.id, by=BY)


async def seal(runtime: Runtime, _value: str) -> None:
    await runtime.batches.seal((await runtime.batches.page())[0].batch.id, by=BY)


async def extend(runtime: Runtime, value: str) -> None:
    """Add three jobs to the newest batch, with ids that follow from the value; its ``join`` waits for them."""
    batch_id = (await runtime.batches.page())[0].batch.id
    [join] = (await runtime.listing.page(JobQuery(type="join", limit=1))).items
    members = [Member(job=NewJob(type="part"), ref=f"part{n}", blocks=(join.id,)) for n in range(3)]
    await runtime.batches.add(batch_id, members, first=value)


CHANGES: Final = {role.__name__: role for role in (configure, schedule, unschedule, operate, stop, seal, extend)}


async def change(url: str, name: str, role: str, value: str) -> None:
    async with JobQueue(mongo_url=url, db=name) as queue:
        await CHANGES[role](await queue.open(), value)


def main(url: str, name: str, role: str, *how: Any) -> None:
    monitoring.register(CrashAt(*how))
    value = how[4] if len(how) > 4 else ""
    if role == "work":
        asyncio.run(work(url, name))
    else:
        asyncio.run(add(url, name, value) if role == "add" else change(url, name, role, value))


if __name__ == "__main__":
    main(*sys.argv[1:])
