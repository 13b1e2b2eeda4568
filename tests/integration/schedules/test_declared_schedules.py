"""Schedules in code, beside other code and people: nobody undoes what another one did."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.declaration import Declaration
from jobqueue.domain.schedules.schedule import Schedule
from jobqueue.services.schedules.declared import DeclaredSchedules
from jobqueue.services.work.worker_registry import WorkerRegistry
from jobqueue.store.work.workers import Registration, WorkerStore
from tests.support.data.factories import LONG_AGO
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import pytest

    from jobqueue import JobQueue
    from jobqueue.services.application import Runtime

POST = [Registration(queue="default", types=("tick",))]


def declaration(seconds: float = 60, *, by: str = "shop.tasks", **fields: Any) -> Declaration:
    job = NewJob(type="tick", data=fields.pop("data", {}))
    schedule = Schedule(name=fields.pop("name", "s"), job=job, recurrence=Every(seconds=seconds), **fields)
    return Declaration(schedule=schedule, by=by)


class Deployed:
    """A worker with certain code."""

    def __init__(self, runtime: Runtime, name: str, *declarations: Declaration) -> None:
        self._workers, self._name = WorkerStore(runtime.database), name
        self._registry = WorkerRegistry(self._workers, name, {})
        self._registry.is_signed = True
        self.service = DeclaredSchedules(runtime.schedules, self._workers, self._registry, name)
        self.mine = {each.name: each for each in declarations}
        self.service.hold(self.mine, self.is_dropped)

    def is_dropped(self, module: str, name: str) -> bool:
        return module.startswith("shop.") and name not in self.mine

    async def turn(self) -> None:
        await self._workers.sign({self._name: POST}, process=self._name, schedules=self._registry.schedules)
        await self.service.run_once()

    async def leave(self) -> None:
        await self._workers.leave([self._name])

    async def die(self) -> None:
        await self._workers.collection.update_one({"_id": self._name}, {"$set": {"at": LONG_AGO}})


async def seconds(runtime: Runtime) -> float:
    schedule = (await runtime.schedules.get("s")).schedule
    assert schedule is not None
    assert isinstance(schedule.recurrence, Every)
    return schedule.recurrence.seconds


async def test_old_and_new_code_side_by_side_do_not_fight(idle_runtime: Runtime) -> None:
    old, new = Deployed(idle_runtime, "old", declaration(60)), Deployed(idle_runtime, "new", declaration(90))
    await old.turn()
    before = await idle_runtime.schedules.get("s")
    for _ in range(3):
        await new.turn()
        await Deployed(idle_runtime, "old too", declaration(60)).turn()
    assert await idle_runtime.schedules.get("s") == before
    await old.leave()
    await new.turn()
    assert await seconds(idle_runtime) == 60
    await Deployed(idle_runtime, "old too", declaration(60)).die()
    await new.turn()
    assert await seconds(idle_runtime) == 90
    # A rollback is a new version like any other.
    back = Deployed(idle_runtime, "back", declaration(60))
    await back.turn()
    assert await seconds(idle_runtime) == 90
    await new.leave()
    await back.turn()
    assert await seconds(idle_runtime) == 60


async def test_of_many_that_start_at_once_one_version_has_its_way(idle_runtime: Runtime) -> None:
    fleet = [Deployed(idle_runtime, f"w{number}", declaration(60 + number % 2)) for number in range(12)]
    await asyncio.gather(*(each.turn() for each in fleet))
    first = await idle_runtime.schedules.get("s")
    await asyncio.gather(*(each.turn() for each in fleet))
    assert await idle_runtime.schedules.get("s") == first
    entries = [entry async for entry in idle_runtime.database.collection("audit").find({"action": "declare"})]
    assert [entry["by"] for entry in entries] == [{"name": "shop.tasks", "via": "python"}]


async def test_the_edit_and_the_pause_of_a_person_stay(idle_runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    await Deployed(idle_runtime, "a", declaration(60)).turn()
    stored = await idle_runtime.schedules.get("s")
    assert stored.schedule is not None
    await idle_runtime.schedules.put(replace(stored.schedule, recurrence=Every(seconds=7)))
    await idle_runtime.schedules.set_paused("s", paused=True)
    await Deployed(idle_runtime, "a", declaration(90, data={"n": 1}, missed="skip")).turn()
    view = await idle_runtime.schedules.view(await idle_runtime.schedules.get("s"))
    assert (view["every"], view["job"]["data"], view["missed"], view["paused"]) == (7, {"n": 1}, "skip", True)
    assert (view["declared"]["by"], view["declared"]["edited"]) == ("shop.tasks", ["every"])
    assert "schedule edited" in caplog.text
    await idle_runtime.schedules.delete("s")
    await Deployed(idle_runtime, "a", declaration(90)).turn()
    view = await idle_runtime.schedules.view(await idle_runtime.schedules.get("s"))
    assert (view["every"], view["paused"], view["declared"]["edited"]) == (90, False, [])


async def test_a_schedule_that_a_person_has_made_is_not_replaced(idle_runtime: Runtime) -> None:
    await idle_runtime.schedules.put(replace(declaration(7).schedule, paused=True))
    await Deployed(idle_runtime, "a", declaration(60)).turn()
    view = await idle_runtime.schedules.view(await idle_runtime.schedules.get("s"))
    assert (view["every"], view["paused"], view["declared"]["edited"]) == (7, True, ["every"])


async def test_a_schedule_of_another_application_is_not_replaced(
    idle_runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    await Deployed(idle_runtime, "a", declaration(60)).turn()
    before = await idle_runtime.schedules.get("s")
    await Deployed(idle_runtime, "b", declaration(90, by="bank.tasks")).turn()
    assert await idle_runtime.schedules.get("s") == before
    assert "schedule name taken" in caplog.text
    await Deployed(idle_runtime, "a", declaration(60, by="shop.other")).turn()
    view = await idle_runtime.schedules.view(await idle_runtime.schedules.get("s"))
    assert view["declared"]["by"] == "shop.other"


async def test_what_is_in_the_code_no_more_is_reported_and_goes_on(
    idle_runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    other = declaration(60, name="other", by="bank.tasks")
    old = Deployed(idle_runtime, "old", declaration(60), declaration(60, name="kept"))
    await Deployed(idle_runtime, "bank", other).turn()
    await old.turn()
    new = Deployed(idle_runtime, "new", declaration(60, name="kept"))
    await new.turn()
    assert "schedule not in the code" not in caplog.text
    await old.leave()
    await new.turn()
    assert [record.msg for record in caplog.records if "not in the code" in str(record.msg)] != []
    views = {}
    for name in ("s", "kept", "other"):
        views[name] = await idle_runtime.schedules.view(await idle_runtime.schedules.get(name))
    assert views["s"]["declared"]["missingSince"] is not None
    assert views["s"]["nextAt"] is not None
    assert [views[name]["declared"]["missingSince"] for name in ("kept", "other")] == [None, None]
    await Deployed(idle_runtime, "back", declaration(60)).turn()
    view = await idle_runtime.schedules.view(await idle_runtime.schedules.get("s"))
    assert view["declared"]["missingSince"] is None


async def test_a_working_queue_stores_its_schedules(queue: JobQueue) -> None:
    @queue.cron("@daily", timezone="Europe/Berlin")
    @queue.task()
    async def tidy() -> None: ...

    async def found() -> bool:
        return await (await queue.open()).schedules.store.find("tidy") is not None

    async with queue.working():
        await eventually(found)
    view = await queue.schedule("tidy")
    assert (view["cron"], view["declared"]["by"], view["job"]["type"]) == ("@daily", __name__, "tidy")
    assert view["nextAt"] is not None
