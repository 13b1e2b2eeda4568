"""Entries of the audit that wait in the document whose change they note."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.insight.audit import AuditQuery
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from jobqueue.store.insight.audit_outbox import AuditOutbox
from jobqueue.store.insight.audit_statements import MOST_ENTRIES
from tests.support.data.factories import open_runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.domain.insight.audit import Entry
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


async def entries(runtime: Runtime) -> list[Entry]:
    return await runtime.audit.store.find(AuditQuery(limit=1000))


async def let_audit_take(runtime: Runtime, validator: dict[str, Any]) -> None:
    await runtime.database.raw.command({"collMod": "audit", "validator": validator})


def entry(action: str) -> dict[str, Any]:
    """Return an entry of long ago."""
    made_id = ObjectId(action.encode().hex().zfill(24))
    by = {"name": "ann", "via": "cli"}
    target = {"kind": "queue", "name": "q"}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return {"_id": made_id, "at": at, "by": by, "action": action, "target": target, "before": None, "after": None}


async def test_a_queue_is_paused_though_the_audit_takes_no_entries(idle_runtime: Runtime) -> None:
    await let_audit_take(idle_runtime, {"_id": None})
    for number in range(MOST_ENTRIES):
        await idle_runtime.queues.set_paused("q", paused=number % 2 == 0)
    with pytest.raises(DatabaseUnavailableError, match="wait for the audit"):
        await idle_runtime.queues.set_paused("q", paused=True)
    assert (await idle_runtime.queues.tagged("q"))[0].paused is False
    await let_audit_take(idle_runtime, {})
    await idle_runtime.queues.set_paused("q", paused=True)
    assert [one.action for one in await entries(idle_runtime)] == ["pause", *["resume", "pause"] * (MOST_ENTRIES // 2)]


@pytest.mark.parametrize("spoilt", ["text", [5, "a", {"_id": 3}, {"_id": ObjectId(), "action": "odd"}]])
async def test_what_another_tool_has_put_in_place_of_the_entries_breaks_nothing(
    idle_runtime: Runtime, spoilt: object
) -> None:
    await idle_runtime.queues.put("q", {"attempts": 7})
    collection = idle_runtime.database.collection("config")
    await collection.update_one({"_id": "config"}, {"$set": {"audit": spoilt}})
    await idle_runtime.queues.set_paused("q", paused=True)
    assert [one.action for one in await entries(idle_runtime)] == ["pause", "put"]
    assert "audit" not in (await collection.find_one({"_id": "config"}) or {})


async def test_changes_of_servers_of_version_0_3_0_keep_the_entries_that_wait(idle_runtime: Runtime) -> None:
    config = idle_runtime.database.collection("config")
    waiting = entry("pause")
    await config.insert_one({"_id": "config", "queues": {"q": {"paused": True}}, "revision": 4, "audit": [waiting]})
    await config.update_one({"_id": "config"}, {"$set": {"queues.r": {"attempts": 9}}, "$inc": {"revision": 1}})
    assert (await idle_runtime.queues.tagged("r"))[0].attempts == 9
    assert [one.id for one in await entries(idle_runtime)] == [str(waiting["_id"])]
    # One whose process was killed after the first half of the move.
    await config.update_one({"_id": "config"}, {"$set": {"audit": [waiting]}})
    await idle_runtime.queues.put("r", {"attempts": 8})
    assert [one.action for one in await entries(idle_runtime)] == ["put", "pause"]


async def test_entries_come_into_the_audit_by_themselves(settings: Settings, idle_runtime: Runtime) -> None:
    database = idle_runtime.database
    await database.collection("config").insert_one({"_id": "config", "queues": {}, "audit": [entry("a")]})
    await database.collection("operations").insert_one({"state": "stopped", "audit": [entry("b")]})
    await database.collection("schedules").insert_one({"_id": "s", "gone": True, "audit": [entry("c")]})
    assert await idle_runtime.schedules.store.page("", 10) == []
    async with open_runtime(settings, started=True):
        await eventually(lambda: database.collection("audit").count_documents({"action": {"$in": ["a", "b", "c"]}}))
        await eventually(lambda: _is_clean(idle_runtime))
    assert await database.collection("audit").count_documents({}) == 3
    assert await database.collection("schedules").count_documents({}) == 0


async def _is_clean(runtime: Runtime) -> bool:
    names = ("config", "operations", "schedules")
    left = [await runtime.database.collection(name).count_documents({"audit": {"$exists": True}}) for name in names]
    return not any(left)


async def test_the_size_of_an_entry_is_bounded(idle_runtime: Runtime) -> None:
    hook = {"url": "https://example.org/", "headers": {"X-Long": "x"}}
    large = {f"type{number}": hook | {"url": f"https://example.org/{'a' * 1000}"} for number in range(100)}
    await idle_runtime.queues.put(
        "q", {"processors": {name: {"kind": "webhook", **one} for name, one in large.items()}}
    )
    [found] = await entries(idle_runtime)
    assert found.after is not None
    assert list(found.after) == ["omitted"]


async def test_a_schedule_that_was_deleted_may_be_made_anew_before_the_entry_has_come_into_the_audit(
    idle_runtime: Runtime,
) -> None:
    schedules = idle_runtime.database.collection("schedules")
    await schedules.insert_one({"_id": "s", "gone": True, "audit": [entry("delete")]})
    await let_audit_take(idle_runtime, {"_id": None})
    made, is_new = await idle_runtime.schedules.put(
        Schedule(name="s", job=NewJob(type="a"), recurrence=Every(seconds=60))
    )
    assert (made.name, is_new) == ("s", True)
    await let_audit_take(idle_runtime, {})
    await AuditOutbox(idle_runtime.database).run_once()
    assert [one.action for one in await entries(idle_runtime)] == ["put", "delete"]
    found = await schedules.find_one({"_id": "s"})
    assert found is not None
    assert ("gone" in found, "audit" in found) == (False, False)
