"""Whatever is sent to whatever route: no 5xx, every refusal a problem that says what it is, and nothing foreign."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import ClientSession, TCPConnector, web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from jobqueue.api.app import make_app
from jobqueue.api.http.connection import Runner
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from tests.support.data.factories import add, claim
from tests.support.http.fuzz import Attempt, attempts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime

REQUESTS: Final = int(os.environ.get("JOBQUEUE_FUZZ", "1500"))
"""How many requests are made: 8,000 in the full form."""
TOGETHER: Final = 10
CALLERS: Final = 3
CANARY: Final = "canary-5d1f"
"""What only jobs have that the caller may not see."""
JOB_ID: Final = "a" * 24
FOREIGN_ID: Final = "f" * 24
BATCH_ID: Final = "b" * 24
TOKEN: Final = "c" * 24
REAL: Final = {
    "id": [JOB_ID, BATCH_ID, FOREIGN_ID],
    "queue": ["default", "media", "theirs"],
    "name": ["nightly"],
    "type": ["work", "thumbnail"],
    "state": ["pending", "success"],
    "token": [TOKEN],
    "worker": ["w"],
    "parentId": [JOB_ID],
    "batchId": [BATCH_ID],
    "cron": ["@daily"],
    "timezone": ["Europe/Berlin"],
}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[ClientSession]:
    """Give a server on which all that `REAL` names exists."""
    await idle_runtime.producer.add(NewJob(type="work", meta={"a": 1}), job_id=JOB_ID)
    claimed = await claim(idle_runtime)
    forged = {"claim.token": TOKEN, "history.0.token": TOKEN}
    await idle_runtime.jobs.collection.update_one({"claim.token": claimed.token}, {"$set": forged})
    await add(idle_runtime, "thumbnail", queue="media", meta={"user": 7})
    secret = NewJob(type="work", queue="theirs", data={"text": CANARY}, meta={"user": 8, "text": CANARY})
    await idle_runtime.producer.add(secret, job_id=FOREIGN_ID)
    await idle_runtime.claims.note(FOREIGN_ID, CANARY)
    await idle_runtime.batches.create(NewBatch(members=[Member(job=NewJob(type="b"))], sealed=False), batch_id=BATCH_ID)
    runner = Runner(make_app(idle_runtime), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    # A connection that the server closes after a broken body may not be taken for the next request.
    fresh = TCPConnector(force_close=True)
    async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}", connector=fresh) as session:
        nightly = {"cron": "@daily", "job": {"type": "a"}}
        async with session.put("/v1/schedules/nightly", json=nightly) as answer:
            assert answer.status == 201
        yield session
    await runner.cleanup()


@pytest.fixture(params=[{}, {"queues": ["default", "med*"]}, {"meta": [("user", 7)]}], ids=str)
async def allowed(idle_runtime: Runtime, request: pytest.FixtureRequest) -> dict[str, str]:
    """Give the headers of callers that may do anything, to all jobs or to a part of them."""
    if not request.param:
        return {}
    by = Actor(name="test", via="python")
    _, token = await idle_runtime.access.create(roles=["admin"], by=by, **request.param)
    return {"Authorization": f"Bearer {token}"}


@settings(
    max_examples=max(REQUESTS // TOGETHER // CALLERS, 1),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(attempts(REAL), min_size=TOGETHER, max_size=TOGETHER))
async def test_nothing_that_is_sent_is_the_servers_mistake_nor_shows_what_is_foreign(
    client: ClientSession, allowed: dict[str, str], sent: list[Attempt]
) -> None:
    await asyncio.gather(*(answered(client, allowed, one) for one in sent))


async def answered(client: ClientSession, allowed: dict[str, str], attempt: Attempt) -> None:
    """Send a request and check the answer."""
    url = URL(attempt.path, encoded=True)
    async with client.request(
        attempt.route.method,
        url,
        data=attempt.body,
        headers={**attempt.headers, **allowed},
        skip_auto_headers=["Content-Type"],
    ) as answer:
        assert answer.status < 500, attempt
        if answer.content_type != "text/event-stream":
            assert not allowed or CANARY not in await answer.text(), attempt
        # A person reads the page of a question.
        is_page = attempt.route.path.startswith("/answer/") and answer.content_type == "text/html"
        if answer.status >= 400 and not is_page:
            assert answer.content_type == "application/problem+json", attempt
            problem: dict[str, Any] = json.loads(await answer.read())
            assert problem["status"] == answer.status, attempt
            assert problem["type"].startswith("/problems/"), attempt
            assert problem["title"], attempt
            assert problem["detail"], attempt
