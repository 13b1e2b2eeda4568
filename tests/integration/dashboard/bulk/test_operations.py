"""The pages of operations: what was done to many jobs, by whom, and how far it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.dashboard.frame.texts import short
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.html import first, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import job_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client

ANN = Actor(name="ann", via="http", address="10.0.0.7")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


def terms(page: object) -> dict[str, str]:
    return {words(entry.dt): words(entry.dd) for entry in page.select("dl div")}  # type: ignore[attr-defined]


async def test_an_operation_tells_what_who_why_and_how_far(client: Client, idle_runtime: Runtime) -> None:
    assert "Nothing was done to many jobs at once yet" in words(await main_of(client, "/operations"))
    for _ in range(3):
        await job_in(idle_runtime, State.PENDING, kind="render")
    new = NewOperation(
        action=Action.KILL,
        by=ANN,
        filter={"type": "render", "state": {"$in": ["pending", "delayed"]}},
        reason="a wrong import",
    )
    operation = await idle_runtime.operations.create(new)
    path = f"/operations/{operation.id}"
    page = await main_of(client, path)
    assert words(first(page, "h1")) == "Kill jobs with type=render state=pending,delayed"
    assert words(first(page, "#progress small")) == "0 of 3 that matched when it began"
    while await idle_runtime.operations.run_once() is not None:
        pass
    refused = {"failed": 1, "failures": [{"id": "0" * 24, "reason": "an unfinished job has the key 'a'"}]}
    await idle_runtime.operations.store.collection.update_one({"_id": ObjectId(operation.id)}, {"$set": refused})

    page = await main_of(client, f"{path}?x")
    told = terms(page)
    assert (told["Done"], told["Failed"], told["Why"]) == ("3", "1", "a wrong import")
    assert told["Who"] == "ann http from 10.0.0.7"
    assert "1 job could not be changed" in words(first(page, ".why"))
    assert words(first(page, "#failures tbody tr")) == f"{short('0' * 24)} an unfinished job has the key 'a'"

    row = words(first(await main_of(client, "/operations?state=finished"), "tbody tr"))
    assert row.startswith("finished Kill jobs with type=render state=pending,delayed a wrong import ann http 3 3")
    assert "No operation is running" in words(await main_of(client, "/operations?state=running"))
