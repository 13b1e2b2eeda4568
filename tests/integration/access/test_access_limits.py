"""What a limited token is told of things that others have a part in."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue.api.app import make_app
from jobqueue.domain.errors import ConflictError, NotFoundError, WrongStateError
from jobqueue.domain.insight.audit import Actor, AuditQuery
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.application import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.settings import Settings

ADMIN = "the-token-of-the-settings"
BY = Actor(name="test", via="python")


class KilledMeanwhileError(ConflictError):
    """What no loop waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server, and a token for one queue and one for one user."""

    client: TestClient[web.Request, web.Application]
    runtime: Runtime
    tokens: dict[str, str]

    async def ask(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.tokens[token]}"}
        async with self.client.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.json() if answer.content_length else None


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    async with TestClient(TestServer(make_app(runtime))) as client:
        tokens = {"admin": ADMIN}
        _, tokens["queue"] = await runtime.access.create(roles=["admin"], queues=["mine"], by=BY)
        _, tokens["user"] = await runtime.access.create(roles=["admin"], meta=[("user_id", 7)], by=BY)
        yield House(client=client, runtime=runtime, tokens=tokens)
    await runtime.close()


async def batch_of(house: House, queue: str, user: int) -> str:
    job = NewJob(type="a", queue=queue, meta={"user_id": user})
    made, _ = await house.runtime.batches.create(NewBatch(members=(Member(job=job),), meta={"user_id": user}))
    return made.batch.id


@pytest.mark.parametrize("token", ["queue", "user"])
async def test_pages_of_batches_are_full_of_own_ones(house: House, token: str) -> None:
    own, foreign = [], []
    for number in range(12):
        own.append(await batch_of(house, "mine", 7))
        foreign += [await batch_of(house, "theirs", 8) for _ in range(1 + number % 3)]
    seen: list[str] = []
    cursor = ""
    while True:
        status, page = await house.ask(token, "GET", f"/v1/batches?limit=5{cursor}")
        assert status == 200
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        assert len(page["items"]) == 5
        assert not any(one in base64.b64decode(page["next"] + "===").decode() for one in own + foreign)
        cursor = f"&cursor={page['next']}"
    assert seen == own[::-1]
    for one in (foreign[0], "0" * 24, "x", "cGxhY2U6OTk5OTk5OTk5OTk5OTk5OTk6MQ"):
        assert (await house.ask(token, "GET", f"/v1/batches?cursor={one}"))[0] == 422
    assert (await house.ask("admin", "GET", f"/v1/batches?limit=5{cursor}"))[0] == 422


async def test_where_too_many_others_lie_a_page_is_short_and_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.services.workflow.batch_pages.LOOKED_AT", 10)
    monkeypatch.setattr("jobqueue.services.workflow.batch_pages.MOST_LOOKED_AT", 20)
    own = [await batch_of(house, "mine", 7)]
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(35):
        # All of the same millisecond: none may be passed over, and none looked at for ever.
        await house.runtime.database.collection("batches").insert_one({"insertAt": moment, "sealed": True, "meta": {}})
    own.append(await batch_of(house, "mine", 7))
    await house.runtime.database.collection("batches").update_one(
        {"_id": ObjectId(own[0])}, {"$set": {"insertAt": moment}}
    )
    seen: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        status, page = await house.ask("queue", "GET", f"/v1/batches?{cursor}")
        assert status == 200
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"] and f"cursor={page['next']}"
        pages += 1
    assert seen == [own[1], own[0]]
    assert pages == 2


async def test_a_batch_without_jobs_is_that_of_who_has_created_it(house: House) -> None:
    status, own = await house.ask("queue", "POST", "/v1/batches", {"sealed": False})
    assert status == 201
    _, other = await house.ask("admin", "POST", "/v1/batches", {"sealed": False})
    add = {"jobs": [{"type": "a", "queue": "mine"}]}
    for method, end, body in (
        ("GET", "", None),
        ("POST", "/jobs", add),
        ("POST", "/seal", None),
        ("POST", "/kill", {}),
    ):
        assert (await house.ask("queue", method, f"/v1/batches/{other['id']}{end}", body))[0] == 404
        assert (await house.ask("queue", method, f"/v1/batches/{own['id']}{end}", body))[0] in {200, 201}


async def test_callbacks_of_a_batch_belong_to_it(house: House) -> None:
    inner = {"type": "c", "queue": "mine", "onSuccess": {"type": "d", "queue": "theirs"}}
    for callback in ({"type": "c", "queue": "theirs"}, inner, [{"type": "c", "queue": "mine"}, inner]):
        body = {"jobs": [{"type": "a", "queue": "mine"}], "onComplete": callback}
        _, made = await house.ask("admin", "POST", "/v1/batches", body)
        assert (await house.ask("queue", "GET", f"/v1/batches/{made['id']}"))[0] == 404
    body["onComplete"] = {"type": "c", "queue": "mine"}
    _, made = await house.ask("admin", "POST", "/v1/batches", body)
    assert (await house.ask("queue", "GET", f"/v1/batches/{made['id']}"))[0] == 200
    only_later = {"sealed": False, "onComplete": {"type": "c", "queue": "mine"}}
    _, made = await house.ask("admin", "POST", "/v1/batches", only_later)
    assert (await house.ask("queue", "GET", f"/v1/batches/{made['id']}"))[0] == 200


async def test_pages_of_schedules_are_full_of_own_ones(house: House) -> None:
    for number in range(8):
        for queue in ("mine", "theirs"):
            schedule = {"every": 3600, "job": {"type": "a", "queue": queue}}
            assert (await house.ask("admin", "PUT", f"/v1/schedules/{number}-{queue}", schedule))[0] == 201
    inner = {"every": 60, "job": {"type": "a", "queue": "mine", "onSuccess": {"type": "b", "queue": "theirs"}}}
    assert (await house.ask("admin", "PUT", "/v1/schedules/mixed", inner))[0] == 201
    status, first = await house.ask("queue", "GET", "/v1/schedules?limit=5")
    assert (status, [one["name"] for one in first["items"]]) == (200, [f"{n}-mine" for n in range(5)])
    status, rest = await house.ask("queue", "GET", f"/v1/schedules?limit=5&cursor={first['next']}")
    assert ([one["name"] for one in rest["items"]], rest["next"]) == ([f"{n}-mine" for n in range(5, 8)], None)
    assert (await house.ask("queue", "GET", "/v1/schedules/mixed"))[0] == 404
    assert (
        await house.ask("queue", "PUT", "/v1/schedules/mixed", {"every": 1, "job": {"type": "x", "queue": "mine"}})
    )[0] == 403


async def test_why_tells_a_user_nothing_of_others(house: House) -> None:
    body = {"concurrency": 1, "rate": {"limit": 1, "per": 600}}
    assert (await house.ask("admin", "PUT", "/v1/queues/default", body))[0] == 200
    _, other = await house.ask("admin", "POST", "/v1/jobs", {"type": "a", "meta": {"user_id": 8}})
    await house.ask("admin", "POST", "/v1/queues/default/claim", {"worker": "w"})
    _, own = await house.ask("user", "POST", "/v1/jobs", {"type": "a"})
    _, full = await house.ask("admin", "GET", f"/v1/jobs/{own['id']}/why")
    status, seen = await house.ask("user", "GET", f"/v1/jobs/{own['id']}/why")
    kinds = [one["kind"] for one in full["reasons"]]
    assert kinds[-2:] == ["concurrency", "rate"]
    assert (status, [one["kind"] for one in seen["reasons"]]) == (200, kinds)
    of_limits = {one["kind"]: one for one in seen["reasons"]}
    assert set(of_limits["concurrency"]) == {"kind", "message"}
    assert set(of_limits["rate"]) == {"kind", "message", "nextStartAt"}
    assert not any(figure in of_limits["rate"]["message"] for figure in ("1", "600"))
    dependent = {"type": "a", "meta": {"user_id": 7}, "dependsOn": [other["id"], own["id"]]}
    _, waiting = await house.ask("admin", "POST", "/v1/jobs", dependent)
    _, seen = await house.ask("user", "GET", f"/v1/jobs/{waiting['id']}/why")
    first = seen["reasons"][0]
    assert (first["kind"], [one["id"] for one in first["jobs"]]) == ("dependency", [own["id"]])


async def test_why_tells_of_a_whole_queue_to_who_has_it(house: House) -> None:
    assert (await house.ask("admin", "PUT", "/v1/queues/mine", {"concurrency": 1}))[0] == 200
    body = {"type": "a", "queue": "mine"}
    _, running = await house.ask("queue", "POST", "/v1/jobs", body)
    await house.ask("queue", "POST", "/v1/queues/mine/claim", {"worker": "w"})
    _, waiting = await house.ask("queue", "POST", "/v1/jobs", body)
    _, seen = await house.ask("queue", "GET", f"/v1/jobs/{waiting['id']}/why")
    held = next(one for one in seen["reasons"] if one["kind"] == "concurrency")
    assert [one["id"] for one in held["holders"]] == [running["id"]]


async def test_a_key_that_an_operation_meets_names_no_foreign_job(house: House) -> None:
    _, own = await house.ask("user", "POST", "/v1/jobs", {"type": "a", "key": "k"})
    await house.ask("user", "POST", f"/v1/jobs/{own['id']}/kill")
    _, other = await house.ask("admin", "POST", "/v1/jobs", {"type": "a", "key": "k", "meta": {"user_id": 8}})
    told = {}
    for token in ("user", "admin"):
        body = {"filter": {"state": "killed"}}
        status, operation = await house.ask(token, "POST", "/v1/jobs/requeue", body)
        assert status == 202
        while await house.runtime.operations.carry_on():
            pass
        _, ended = await house.ask(token, "GET", f"/v1/operations/{operation['id']}")
        told[token] = ended["failures"][0]["reason"]
    assert other["id"] not in told["user"]
    assert "'k'" in told["user"]
    assert other["id"] in told["admin"]


async def test_what_a_person_began_stays_in_the_audit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id = await batch_of(house, "mine", 7)
    job = (await house.runtime.batches._store.unfinished(batch_id, 1))[0]

    async def refuse(*_: Any, **__: Any) -> None:
        raise KilledMeanwhileError("it does not go on from here")

    with pytest.raises(NotFoundError):
        await house.runtime.batches.requeue("f" * 24, by=BY)
    monkeypatch.setattr(house.runtime.jobs, "delete", refuse)
    with pytest.raises(ConflictError):
        await house.runtime.manager.delete(job, by=BY)
    monkeypatch.setattr(house.runtime.manager, "kill", refuse)
    other = await batch_of(house, "mine", 7)
    with pytest.raises(KilledMeanwhileError):
        await house.runtime.batches.kill(other, by=BY)
    for kind, name, actions in (("job", job, ["delete"]), ("batch", "f" * 24, []), ("batch", other, ["kill"])):
        found = await house.runtime.audit.store.find(AuditQuery(kind=kind, name=name))
        assert [(one.action, one.unconfirmed) for one in found] == [(action, True) for action in actions]


async def test_who_falls_with_a_deleted_job_is_in_the_audit_though_it_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await house.runtime.producer.add(NewJob(type="a"))
    await house.runtime.producer.add(NewJob(type="b", depends_on=(first.id,), dependency_policy="hold"))
    await house.runtime.manager.kill(first.id)

    async def gone_on(*_: Any, **__: Any) -> bool:
        return False

    monkeypatch.setattr(house.runtime.jobs, "delete", gone_on)
    with pytest.raises(WrongStateError):
        await house.runtime.manager.delete(first.id, by=BY)
    found = await house.runtime.audit.store.find(AuditQuery(kind="job", name=first.id))
    assert [(one.action, one.unconfirmed) for one in found] == [("delete", True)]
