"""Users of the limits of a queue, and jobs that wait for them, by the values of a path."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.values.iso8601 import moment
from jobqueue.store.documents import statements
from jobqueue.store.limits import group_use
from tests.support.data.factories import add, claim
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    import pytest

    from jobqueue.services.application import Runtime

ANN = Actor(name="ann", via="cli")


async def test_each_value_has_what_runs_and_what_waits(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"concurrency": 2, "rate": {"limit": 1, "per": 600}, "limitBy": "meta.customer_id"}
    await idle_runtime.queues.put("billing", config, by=ANN)
    long = "x" * 300
    await add(idle_runtime, queue="billing", meta={"customer_id": 42})
    await claim(idle_runtime, "billing")
    for customer in (42, 42, "a", long, None):
        await add(idle_runtime, queue="billing", meta={"customer_id": customer})
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        use = await (await client.get("/v1/queues/billing/groups")).json()
        assert (use["limitBy"], use["values"], use["isExact"], use["next"]) == ("meta.customer_id", 4, True, None)
        found = {str(item["value"])[:6]: (item["running"], item["waiting"], item["starts"]) for item in use["items"]}
        assert found == {"42": (1, 2, 1), "a": (0, 1, 0), "sha256": (0, 1, 0), "None": (0, 1, 0)}
        first = use["items"][0]
        assert 590 < (moment(first["nextStartAt"]) - datetime.now(UTC)).total_seconds() < 601
        assert [item["nextStartAt"] for item in use["items"][1:]] == [None] * 3
        few = await (await client.get("/v1/queues/billing/groups?limit=1")).json()
        assert ([item["value"] for item in few["items"]], few["values"]) == ([42], 4)
        monkeypatch.setattr(group_use, "MOST_LOOKED_AT", 5)
        assert (await (await client.get("/v1/queues/billing/groups")).json())["isExact"] is False
        none = await (await client.get("/v1/queues/other/groups")).json()
        assert (none["limitBy"], none["items"]) == (None, [])


async def test_only_the_jobs_that_come_first_are_looked_at(idle_runtime: Runtime) -> None:
    for number in range(30):
        await add(idle_runtime, queue="billing", meta={"customer_id": number})
    command = {
        "aggregate": "jobs",
        "pipeline": group_use.waiting("billing", 10),
        "cursor": {},
        "hint": statements.CLAIM_INDEX,
    }
    await explain(idle_runtime.database, command, keys=10)
