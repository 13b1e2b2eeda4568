"""Documents of other collections than `jobs` that another tool has spoilt: every page and every reply still comes."""

from __future__ import annotations

import contextlib
import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId, Regex

from jobqueue.dashboard.app import make_app
from jobqueue.domain.bulk.operation import Action, Stage
from jobqueue.domain.insight.audit import PYTHON
from jobqueue.store.bulk.operation_documents import UNREADABLE
from jobqueue.store.mongo.driver import WriteError
from tests.support.data import night
from tests.support.data.factories import claim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]
    Document = dict[str, Any]
    Place = tuple[str | int, ...]

GONE: Final = object()
FAR: Final = datetime(9999, 12, 31, tzinfo=UTC)
ODD: Final[tuple[Any, ...]] = (5, "odd", [1], {"a": 1}, None, GONE, -1.5, FAR, [{"a": None}], True)
SHOWN: Final[dict[str, tuple[str, ...]]] = {
    "audit": ("/v1/audit", "/audit", "/v1/queues/billing/changes", "/queues/billing"),
    "operations": ("/v1/operations", "/v1/operations/{id}", "/operations", "/operations/{id}", "/"),
    "batches": ("/v1/batches", "/v1/batches/{id}", "/v1/batches/{id}/graph", "/batches", "/batches/{id}"),
    "limits": ("/v1/queues/billing", "/v1/queues/billing/groups", "/queues/billing", "/metrics"),
    "statMinutes": ("/v1/stats", "/v1/stats/series?step=5m"),
    "statHours": ("/v1/stats?window=7d", "/v1/stats/series?step=1h"),
    "tokens": ("/v1/tokens", "/tokens"),
    "workers": ("/v1/workers", "/workers", "/v1/types", "/v1/status"),
    "schedules": ("/v1/schedules", "/schedules", "/v1/status"),
    "config": ("/v1/queues", "/queues", "/queues/billing", "/v1/status"),
    "alerts": ("/v1/alerts", "/alerts"),
}
"""The replies and pages with the documents of each collection."""
LIMITS: Final = {"concurrency": 5, "breaker": {"failures": 1}, "limitBy": "meta.user", "rate": {"limit": 9, "per": 60}}
MEMBER: Final = {"type": "a", "queue": "billing", "priority": 9, "meta": {"user": 1}}
CHANGES: Final[tuple[tuple[str, str, Document], ...]] = (
    ("PATCH", "/v1/queues/billing", LIMITS),
    ("POST", "/v1/queues/billing/pause", {"reason": "broken"}),
    ("POST", "/v1/queues/billing/resume", {}),
    ("PUT", "/v1/alerts/a", {"url": "https://hooks.example/x", "kinds": ["queue"], "queues": ["billing"]}),
    ("PUT", "/v1/schedules/s", {"every": 3600, "job": {"type": "a"}}),
    ("POST", "/v1/batches", {"jobs": [MEMBER], "onSuccess": [{"type": "b"}]}),
    ("POST", "/v1/tokens", {"roles": ["read"], "queues": ["q"]}),
    ("POST", "/v1/jobs/requeue", {"filter": {"queue": "billing"}, "trial": 1, "pace": 5, "stopAfter": 3}),
)


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
async def test_a_spoilt_document_stops_no_page(idle_runtime: Runtime, client: Client, *, whole: bool) -> None:
    await write(idle_runtime, client)
    bad = []
    number = 0
    for name, paths in SHOWN.items():
        collection = idle_runtime.database.collection(name)
        document = await collection.find_one({}, sort=[("_id", -1)])
        assert document is not None, name
        for place in places(document):
            number += 1
            for odd in ODD if whole else (ODD[number % len(ODD)],):
                with contextlib.suppress(WriteError):  # An index refuses the value.
                    await collection.replace_one({"_id": document["_id"]}, spoilt(document, place, odd))
                await idle_runtime.configs.refresh()
                for path in paths:
                    headers = {} if path.startswith(("/v1", "/metrics")) else {"Accept": "text/html"}
                    reply = await client.get(path.format(id=document["_id"]), headers=headers)
                    if reply.status >= 500:
                        bad.append((name, place, odd, path))
        await collection.replace_one({"_id": document["_id"]}, document)
    assert not bad


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        *(
            ("filter", "{}x"),
            ("filter", "[]"),
            ("filter", "{}"),
            ("scope", {}),
            ("all", 1),
            ("changes", 5),
            ("pace", "x"),
        ),
        *(("scope.meta", [["user", Regex(".*")]]), ("scope.meta", {}), ("position", 5), ("position", GONE)),
        *(("insertAt", FAR), ("insertAt", GONE)),
    ],
)
async def test_a_spoilt_operation_changes_no_job_and_fails(
    idle_runtime: Runtime, client: Client, field: str, odd: Any
) -> None:
    await send(client, "POST", "/v1/jobs", {"type": "a", "queue": "q"})
    begun = await send(client, "POST", "/v1/jobs/kill", {"filter": {"queue": "q"}})
    operations = idle_runtime.database.collection("operations")
    await operations.update_one({}, change(field, odd))
    assert await idle_runtime.operations.carry_on()
    shown = await send(client, "GET", f"/v1/operations/{begun['id']}")
    assert (shown["state"], shown["action"]) == (Stage.FAILED, Action.UNKNOWN)
    assert shown["error"] == UNREADABLE
    assert await idle_runtime.jobs.collection.count_documents({"state": "killed"}) == 0


@pytest.mark.parametrize(
    ("body", "field", "odd"),
    [({"trial": 1}, "trial", GONE), ({"trial": 1}, "done", "odd"), ({"dataPatch": {"a": 1}}, "dataPatch", None)],
)
async def test_a_careful_requeue_without_its_rules_requeues_no_job(
    idle_runtime: Runtime, client: Client, body: Document, field: str, odd: Any
) -> None:
    job = await send(client, "POST", "/v1/jobs", {"type": "a", "queue": "q"})
    await send(client, "POST", f"/v1/jobs/{job['id']}/kill", {})
    begun = await send(client, "POST", "/v1/jobs/requeue", {"filter": {"queue": "q"}, **body})
    await idle_runtime.database.collection("operations").update_one({}, change(field, odd))
    assert await idle_runtime.operations.carry_on()
    shown = await send(client, "GET", f"/v1/operations/{begun['id']}")
    assert (shown["state"], shown["action"]) == (Stage.FAILED, Action.UNKNOWN)
    assert await idle_runtime.jobs.collection.count_documents({"state": "killed"}) == 1


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        *(("ending", odd) for odd in (5, {}, {"state": "running"})),
        *((name, odd) for name in ("done", "skipped", "failed", "failures") for odd in ("odd", {"a": 1})),
    ],
)
async def test_an_operation_with_a_spoilt_end_or_number_changes_no_job_and_fails(
    idle_runtime: Runtime, client: Client, field: str, odd: Any
) -> None:
    job = await send(client, "POST", "/v1/jobs", {"type": "a", "queue": "q"})
    begun = await send(client, "POST", "/v1/jobs/kill", {"filter": {"queue": "q"}})
    operations = idle_runtime.database.collection("operations")
    # One job was chosen when its holder died.
    await operations.update_one({}, {"$set": {"chosen": [ObjectId(job["id"])], field: odd}})
    while await idle_runtime.operations.carry_on():
        pass
    [stored] = [stored async for stored in operations.find()]
    assert not {"ending", "lease"} & stored.keys()
    assert (stored["state"], stored["error"]) == ("failed", UNREADABLE)
    assert (await send(client, "GET", f"/v1/operations/{begun['id']}"))["state"] == "failed"
    assert await idle_runtime.jobs.collection.count_documents({"state": "killed"}) == 0


async def test_a_spoilt_operation_is_not_resumed(idle_runtime: Runtime, client: Client) -> None:
    await send(client, "POST", "/v1/jobs", {"type": "a", "queue": "q"})
    begun = await send(client, "POST", "/v1/jobs/requeue", {"filter": {"queue": "q"}, "stopAfter": 1})
    await send(client, "POST", f"/v1/operations/{begun['id']}/stop", {})
    await idle_runtime.database.collection("operations").update_one({}, change("stopAfter", GONE))
    reply = await client.post(f"/v1/operations/{begun['id']}/resume", json={})
    assert (reply.status, UNREADABLE in await reply.text()) == (409, True)


async def test_a_spoilt_operation_holds_up_no_erasure(idle_runtime: Runtime, client: Client) -> None:
    await send(client, "POST", "/v1/jobs/kill", {"filter": {"meta.user": 1}})
    await idle_runtime.operations.carry_on()
    operations = idle_runtime.database.collection("operations")
    await operations.update_one({}, {"$set": {"failures": [5, {"id": None}], "failedAgain": "odd"}})
    erasure = await send(client, "POST", "/v1/erase", {"meta": {"user": 1}})
    while await idle_runtime.operations.carry_on():
        pass
    assert (await send(client, "GET", f"/v1/operations/{erasure['id']}"))["state"] == "finished"


async def test_an_operation_of_a_newer_version_waits_for_it(idle_runtime: Runtime, client: Client) -> None:
    await send(client, "POST", "/v1/jobs", {"type": "a", "queue": "q"})
    await send(client, "POST", "/v1/jobs/kill", {"filter": {"queue": "q"}})
    operations = idle_runtime.database.collection("operations")
    await operations.update_one({}, {"$set": {"action": "newAction"}})
    assert not await idle_runtime.operations.carry_on()
    assert [stored["state"] async for stored in operations.find()] == ["running"]


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        *(("queues", "q"), ("queues", None), ("queues", GONE), ("meta", {}), ("meta", [{"path": 5}]), ("meta", GONE)),
        *(("meta.0.value", Regex(".*")), ("meta.0.value", {"$exists": True}), ("meta.0.value", GONE)),
        *(("meta.0.path", path) for path in ("", "$where", "a.$b", "x" * 300)),
        *(("expiresAt", "never"), ("expiresAt", GONE), ("revokedAt", GONE)),
    ],
)
async def test_a_spoilt_token_may_do_nothing(idle_runtime: Runtime, field: str, odd: Any) -> None:
    await idle_runtime.access.create(roles=["admin"], queues=["q"], meta=[("user", 1)], by=PYTHON)
    tokens = idle_runtime.database.collection("tokens")
    await tokens.update_one({}, change(field, odd))
    [token] = await idle_runtime.access.store.all()
    assert token.roles == frozenset()


async def test_a_token_with_a_spoilt_digest_has_no_secret(idle_runtime: Runtime) -> None:
    await idle_runtime.access.create(roles=["admin"], queues=[], meta=[], by=PYTHON)
    await idle_runtime.database.collection("tokens").update_one({}, change("digest", "\u00fc"))
    [token] = await idle_runtime.access.store.all()
    assert not token.has_secret("x")


async def write(runtime: Runtime, client: Client) -> None:
    """Write documents of each collection."""
    await night.fall(runtime)
    for method, path, body in CHANGES:
        await send(client, method, path, body)
    await claim(runtime, "billing")
    assert await runtime.operations.carry_on()
    await runtime.roller.catch_up(await runtime.database.clock.now() - timedelta(hours=2), 60)


async def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    reply = await client.request(method, path, json=body)
    assert reply.status < 300, (path, await reply.text())
    return await reply.json()


def change(field: str, odd: Any) -> Document:
    """Return the update of another tool that spoils a field."""
    return {"$unset": {field: ""}} if odd is GONE else {"$set": {field: odd}}


def places(document: Document) -> Iterator[Place]:
    """Yield the places of all values but the id, four levels deep."""
    for name, value in document.items():
        if name != "_id":
            yield from within(value, (name,))


def within(value: Any, place: Place) -> Iterator[Place]:
    yield place
    if len(place) < 4:
        inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
        for name, each in inner:
            yield from within(each, (*place, name))


def spoilt(document: Document, place: Place, odd: Any) -> Document:
    """Return a copy of a document with another value at a place."""
    copied = copy.deepcopy(document)
    holder: Any = copied
    for name in place[:-1]:
        holder = holder[name]
    if odd is GONE:
        del holder[place[-1]]
    else:
        holder[place[-1]] = odd
    return copied
