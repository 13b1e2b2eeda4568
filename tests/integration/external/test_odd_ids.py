"""Copies of jobs under ids that no job has, as `mongosh` makes them, end no background loop."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import Int64

from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services import application
from jobqueue.services.alerts import detector
from jobqueue.services.work.loops import Loop
from tests.support.data.external_documents import insert, others_go_on
from tests.support.data.factories import LONG_AGO, document, job_in
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

IDS: list[Any] = [
    {"a": 1},
    {"a": {"b": 2}},
    "one",
    "",
    5,
    5.5,
    Int64(2**60),
    None,
    True,
    datetime(2020, 1, 1, tzinfo=UTC),
    b"x",
]


RETENTION = dict.fromkeys(("success", "failed", "killed"), 60.0)


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
async def test_no_loop_fails_on_them(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, state: State) -> None:
    await idle_runtime.queues.put("default", {"limitBy": "data.tenant", "retention": RETENTION})
    await idle_runtime.configs.refresh()
    child = NewJob(type="child", queue="other")
    job = await job_in(idle_runtime, state, data={"tenant": 1}, meta={"user": 1}, on_success=child, on_failure=child)
    copied = await document(idle_runtime, job.id) | {"resetAt": LONG_AGO, "delayTil": LONG_AGO, "endAt": LONG_AGO}
    copied.pop("outbox", None)
    waiting = {"outbox": ["children"]} if state in FINAL else {}
    for place, odd in enumerate(IDS):
        await insert(idle_runtime, copied | {"_id": odd, "key": f"k{place}"})
        await insert(idle_runtime, copied | waiting | {"_id": {"of": odd}, "key": f"l{place}"})
    loops: list[Loop] = []

    class Noted(Loop):
        async def run(self) -> None:
            loops.append(self)

    for module in (application, detector):
        monkeypatch.setattr(module, "Loop", Noted)
    await idle_runtime.start()
    await eventually(lambda: len(loops) == len(idle_runtime._tasks))
    for value in range(3):
        await idle_runtime.jobs.collection.update_many({}, {"$set": {"meta.user": value}})
        for loop in loops:
            await loop.run_once()
    await others_go_on(idle_runtime)
