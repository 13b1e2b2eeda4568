"""Look at open and ended jobs while workers die and are replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.states import UNFINISHED
from tests.support.data.scale import sized
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue import JobQueue
    from tests.support.mortals import Mortals


async def work_off(workers: Mortals, is_done: Callable[[], Any]) -> None:
    """Wait until all jobs are done, while workers die and are replaced."""

    async def look() -> bool:
        workers.look_after()
        return bool(await is_done())

    await eventually(look, within=sized(150, 800), every=0.1)


async def unfinished(queue: JobQueue) -> int:
    runtime = await queue.open()
    states = {"$in": [state.value for state in UNFINISHED]}
    left = await runtime.jobs.collection.count_documents({"state": states})
    due = await runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})
    batches = await runtime.database.collection("batches").count_documents(
        {"$or": [{"state": "open"}, {"outbox": {"$exists": True}}]}
    )
    return int(left + due + batches)


async def documents(queue: JobQueue, search: dict[str, Any]) -> list[dict[str, Any]]:
    collection = (await queue.open()).jobs.collection
    return [document async for document in collection.find(search, {"logs": 0, "data": 0})]
