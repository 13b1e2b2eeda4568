"""Every route with every kind of caller; a route that is added is tried too, by what its path names."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.route_table import ROUTES
from jobqueue.api.work.long_poll import LONG_POLL
from jobqueue.domain.access.access import ROLES
from jobqueue.domain.attempts.states import State
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.application import Runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.api.http.route_spec import Route
    from jobqueue.api.work.long_poll import LongPoll
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN = "the-token-of-the-settings"
BY = Actor(name="test", via="python")
FOREIGN = {"parent": "0" * 24, "step": "fetch", "queue": "theirs", "name": "theirs", "fingerprint": "0" * 16}
# What a path can name, and where a caller of another queue or value finds nothing.
BY_ID = ("/v1/jobs/{id}", "/v1/batches/{id}", "/v1/operations/{id}", "/v1/workers/{name}")
BY_KEY = "/v1/queues/{queue}/keys/{key}"
BY_QUEUE = ("/v1/queues/{queue}", "/v1/schedules/{name}")
SHARED = ("/v1/queues", "/v1/schedules", "/v1/audit", "/v1/stats", "/v1/erase", "/metrics")
GLOBAL = ("/v1/audit", "/v1/erase", "/metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server with a foreign job, batch and schedule, and tokens of every kind."""

    client: Client
    runtime: Runtime
    ids: dict[str, str]
    tokens: dict[str, str]

    async def ask(self, route: Route, token: str | None) -> ClientResponse:
        kind = next((kind for kind in ("jobs", "batches", "operations") if f"/v1/{kind}/{{id}}" in route.path), "jobs")
        path = route.path.replace("{id}", self.ids.get(kind, self.ids["jobs"]))
        for name, value in FOREIGN.items():
            path = path.replace(f"{{{name}}}", value)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        body = route.body
        # Nothing that any route accepts: only who may come so far is looked at.
        sent = None if body is None else {"no such field": 1}
        return await self.client.request(route.method, path, headers=headers, json=sent)


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    return [route for route in ROUTES if route.role is not None and "events" not in route.path]


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    app = make_app(runtime)
    async with TestClient(TestServer(app)) as client:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        job = NewJob(type="a", queue="theirs", meta={"user_id": 8})
        ids = {"jobs": (await runtime.producer.add(job)).id}
        body = {"jobs": [{"type": "a", "queue": "theirs"}], "meta": {"user_id": 8}}
        ids["batches"] = (await (await client.post("/v1/batches", json=body, headers=headers)).json())["id"]
        body = {"filter": {"queue": "theirs"}}
        ids["operations"] = (await (await client.post("/v1/jobs/delete", json=body, headers=headers)).json())["id"]
        schedule = {"every": 3600, "job": {"type": "a", "queue": "theirs"}}
        assert (await client.put("/v1/schedules/theirs", json=schedule, headers=headers)).status == 201
        tokens: dict[str, str] = {}
        for role in ROLES:
            _, tokens[role] = await runtime.access.create(roles=[role], by=BY)
        _, tokens["queue"] = await runtime.access.create(roles=["admin"], queues=["mine", "ours*"], by=BY)
        _, tokens["meta"] = await runtime.access.create(roles=["admin"], meta=[("user_id", 7)], by=BY)
        revoked, tokens["revoked"] = await runtime.access.create(roles=["admin"], by=BY)
        await runtime.access.revoke(revoked.id, by=BY)
        _, tokens["expired"] = await runtime.access.create(roles=["admin"], expires=1e-6, by=BY)
        tokens["wrong"] = tokens["admin"][:-4] + "aaaa"
        yield House(client=client, runtime=runtime, ids=ids, tokens=tokens)
    await runtime.close()


async def test_without_a_valid_token_nothing_is_told(house: House, routes: list[Route]) -> None:
    for kind in (None, "revoked", "expired", "wrong"):
        token = None if kind is None else house.tokens[kind]
        for route in routes:
            answer = await house.ask(route, token)
            # After some attempts this address is slowed; either way nothing is told.
            assert answer.status in {401, 429}, (kind, route.method, route.path, answer.status)
            assert answer.content_type == "application/problem+json"
            if kind is None:
                assert answer.status == 401


async def test_each_role_may_do_what_the_table_says(house: House, routes: list[Route]) -> None:
    for role in ROLES:
        for route in routes:
            if role == "admin" and (route.method == "DELETE" or (route.body is None and route.method == "POST")):
                # It would be done.
                continue
            answer = await house.ask(route, house.tokens[role])
            allowed = role in {route.role, route.or_role, "admin"}
            assert (answer.status == 403) is not allowed, (role, route.method, route.path, answer.status)
            assert answer.status < 500, (role, route.method, route.path)


async def test_what_is_in_other_queues_is_not_there(house: House, routes: list[Route]) -> None:
    for route in routes:
        answer = await house.ask(route, house.tokens["queue"])
        named = route.path.startswith(BY_ID + BY_QUEUE)
        if route.path.startswith(GLOBAL):
            assert answer.status == 403, (route.method, route.path, answer.status)
        elif named and not (route.method == "PUT" and "schedules" in route.path):
            assert answer.status == 404, (route.method, route.path, answer.status)
        elif route.method == "GET":
            await nothing_foreign(house, answer, route)


async def test_what_belongs_to_another_user_is_not_there(house: House, routes: list[Route]) -> None:
    for route in routes:
        answer = await house.ask(route, house.tokens["meta"])
        if route.path.startswith(SHARED) and not route.path.startswith(BY_KEY):
            assert answer.status == 403, (route.method, route.path, answer.status)
        elif route.path.startswith((*BY_ID, BY_KEY)):
            assert answer.status == 404, (route.method, route.path, answer.status)
        elif route.method == "GET":
            await nothing_foreign(house, answer, route)


async def nothing_foreign(house: House, answer: ClientResponse, route: Route) -> None:
    told = await answer.text()
    assert not any(one in told for one in (*house.ids.values(), "theirs")), (route.method, route.path, told[:300])


async def ask(house: House, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {house.tokens[token]}"}
    answer = await house.client.request(method, path, json=body, headers=headers)
    return answer.status, json.loads(await answer.text() or "null")


async def test_jobs_added_with_a_limited_token_belong_to_its_user(house: House) -> None:
    status, made = await ask(house, "meta", "POST", "/v1/jobs", {"type": "a", "onSuccess": {"type": "b"}})
    assert status == 201
    assert made["meta"] == made["onSuccess"]["meta"] == {"user_id": 7}
    assert (await ask(house, "meta", "POST", "/v1/jobs", {"type": "a", "meta": {"user_id": 8}}))[0] == 403
    assert (await ask(house, "meta", "POST", "/v1/jobs", {"type": "a", "meta": {"user_id": [7, 8]}}))[0] == 403
    for patch in ({"user_id": 8}, {"user_id": {"a": 7}}):
        assert (await ask(house, "meta", "PATCH", f"/v1/jobs/{made['id']}", {"meta": patch}))[0] == 403
    status, page = await ask(house, "meta", "GET", "/v1/jobs")
    assert (status, [one["id"] for one in page["items"]]) == (200, [made["id"]])
    status, bulk = await ask(house, "meta", "POST", "/v1/jobs/bulk", {"jobs": [{"type": "a"}, {"type": "a"}]})
    assert [one["meta"] for one in bulk["items"]] == [{"user_id": 7}] * 2
    batch = {"jobs": [{"type": "a"}], "onComplete": {"type": "c"}}
    status, created = await ask(house, "meta", "POST", "/v1/batches", batch)
    assert (status, created["meta"], created["onComplete"]["meta"]) == (201, {"user_id": 7}, {"user_id": 7})
    assert (await ask(house, "meta", "GET", f"/v1/batches/{created['id']}"))[0] == 200


async def test_a_job_cannot_depend_on_one_that_is_not_there_for_its_creator(house: House) -> None:
    foreign = house.ids["jobs"]
    for token in ("queue", "meta"):
        body = {"type": "a", "queue": "mine", "dependsOn": [foreign]}
        status, problem = await ask(house, token, "POST", "/v1/jobs", body)
        assert (status, list(problem["errors"])) == (422, ["dependsOn"])
        batch = {"jobs": [{"type": "a", "queue": "mine", "dependsOn": [foreign]}]}
        assert (await ask(house, token, "POST", "/v1/batches", batch))[0] == 422


async def test_jobs_for_other_queues_cannot_be_added(house: House) -> None:
    assert (await ask(house, "queue", "POST", "/v1/jobs", {"type": "a", "queue": "mine"}))[0] == 201
    assert (await ask(house, "queue", "POST", "/v1/jobs", {"type": "a", "queue": "ours-too"}))[0] == 201
    for body in ({"type": "a"}, {"type": "a", "queue": "mine", "onFailure": [{"type": "b", "queue": "theirs"}]}):
        assert (await ask(house, "queue", "POST", "/v1/jobs", body))[0] == 403
    schedule = {"every": 3600, "job": {"type": "a", "queue": "mine"}}
    assert (await ask(house, "queue", "PUT", "/v1/schedules/theirs", schedule))[0] == 403
    assert (await ask(house, "queue", "PUT", "/v1/schedules/own", schedule))[0] == 201


async def test_children_lie_within_the_scope_of_the_worker(house: House) -> None:
    assert (await ask(house, "queue", "POST", "/v1/jobs", {"type": "parent", "queue": "mine", "priority": 9}))[0] == 201
    status, claimed = await ask(house, "queue", "POST", "/v1/queues/mine/claim", {"worker": "w", "types": ["parent"]})
    assert status == 200
    path, body = f"/v1/jobs/{claimed['job']['id']}/calls", {"token": claimed["token"], "name": "many"}
    for child in ({"type": "a"}, {"type": "a", "queue": "mine", "onFailure": [{"type": "b", "queue": "theirs"}]}):
        assert (await ask(house, "queue", "POST", path, {**body, "jobs": [child]}))[0] == 403
    assert (await ask(house, "queue", "POST", path, {**body, "jobs": [{"type": "a", "queue": "mine"}]}))[0] == 200


async def test_a_taken_key_does_not_tell_of_a_foreign_job(house: House) -> None:
    status, own = await ask(house, "admin", "POST", "/v1/jobs", {"type": "a", "key": "k", "meta": {"user_id": 8}})
    status, problem = await ask(house, "meta", "POST", "/v1/jobs", {"type": "a", "key": "k"})
    assert (status, problem["jobId"]) == (409, None)
    assert own["id"] not in json.dumps(problem)
    assert (await ask(house, "admin", "POST", "/v1/jobs", {"type": "a", "key": "k"}))[1]["jobId"] == own["id"]


async def test_who_may_only_read_sees_no_token_of_a_claim(house: House) -> None:
    _, claimed = await ask(house, "work", "POST", "/v1/queues/theirs/claim", {"worker": "w"})
    path = f"/v1/jobs/{claimed['job']['id']}"
    for url in (path, "/v1/jobs?queue=theirs"):
        _, seen = await ask(house, "read", "GET", url)
        assert claimed["token"] not in json.dumps(seen)
    _, seen = await ask(house, "work", "POST", f"{path}/succeed", {"token": claimed["token"]})
    assert seen["state"] == "success"


async def test_changes_by_people_are_in_the_audit(house: House) -> None:
    job_id = house.ids["jobs"]
    await ask(house, "admin", "PATCH", f"/v1/jobs/{job_id}", {"priority": 5})
    await ask(house, "admin", "POST", f"/v1/jobs/{job_id}/kill", {"reason": "enough"})
    await ask(house, "admin", "POST", f"/v1/jobs/{job_id}/kill")
    await ask(house, "admin", "POST", f"/v1/jobs/{job_id}/requeue", {"attempts": 9})
    await ask(house, "admin", "POST", f"/v1/jobs/{job_id}/kill")
    await ask(house, "admin", "DELETE", f"/v1/jobs/{job_id}")
    await ask(house, "admin", "POST", f"/v1/batches/{house.ids['batches']}/kill")
    status, page = await ask(house, "admin", "GET", f"/v1/audit?kind=job&name={job_id}")
    assert status == 200
    found = [(one["action"], one["before"], one["after"]) for one in reversed(page["items"])]
    assert [action for action, *_ in found] == ["patch", "kill", "requeue", "kill", "delete"]
    assert found[0][1:] == ({"priority": 0}, {"priority": 5})
    assert found[2][2] == {"state": "pending", "attemptsMade": 0, "attempts": 9}
    assert found[4][1]["queue"] == "theirs"
    assert not any(one["unconfirmed"] for one in page["items"])
    assert {one["by"]["via"] for one in page["items"]} == {"http"}
    _, page = await ask(house, "admin", "GET", "/v1/audit?kind=token&action=revoke&limit=1")
    assert [one["target"]["kind"] for one in page["items"]] == ["token"]
    _, page = await ask(house, "admin", "GET", "/v1/audit?kind=batch")
    assert page["items"][0]["after"] == {"killed": 1}
    told = json.dumps((await ask(house, "admin", "GET", "/v1/audit"))[1])
    assert not any(token in told for token in house.tokens.values())


async def test_a_revoked_token_is_known_no_longer_than_a_moment(house: House) -> None:
    made, text = await house.runtime.access.create(roles=["read"], by=BY)
    assert await house.runtime.access.caller(text) is not None
    await house.runtime.access.revoke(made.id, by=BY)
    assert await house.runtime.access.caller(text) is None
    listed = next(one for one in await house.runtime.access.store.all() if one.id == made.id)
    assert listed.revoked_at is not None
    await house.runtime.access.drain()
    listed = next(one for one in await house.runtime.access.store.all() if one.id == made.id)
    assert listed.last_used_at is not None


def desk_of(house: House) -> LongPoll:
    server = house.client.server
    assert isinstance(server, TestServer)
    return server.app[LONG_POLL]


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_what_lasts_ends_when_the_token_does(house: House, how: str) -> None:
    made, text = await house.runtime.access.create(roles=["read", "work"], by=BY)
    headers = {"Authorization": f"Bearer {text}"}
    job_id = house.ids["jobs"]
    stream = await house.client.get("/v1/events", headers=headers)
    assert stream.status == 200
    waits = [
        asyncio.create_task(house.client.request(method, path, json=body, headers=headers))
        for method, path, body in (
            ("GET", f"/v1/jobs/{job_id}?wait=60", None),
            ("GET", f"/v1/jobs/{job_id}/logs?wait=60", None),
            ("POST", "/v1/queues/empty/claim", {"worker": "w", "wait": 60}),
        )
    ]
    await eventually(lambda: desk_of(house).waiting == 1 and house.runtime.events.readers == 2)
    await eventually(lambda: house.runtime.logs._waiting)
    if how == "revoked":
        await house.runtime.access.revoke(made.id, by=BY)
    else:
        over = {"$set": {"expiresAt": datetime(2020, 1, 1, tzinfo=UTC)}}
        await house.runtime.database.collection("tokens").update_one({"_id": made.id}, over)
    # Long before the minute that they may wait, and although nothing is to be told.
    async with asyncio.timeout(20):
        assert {answer.status for answer in await asyncio.gather(*waits)} == {401}
        await stream.content.read()
    assert stream.content.at_eof()


async def test_a_look_at_a_token_that_fails_is_not_the_last(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.api.security.token_watch._CHECK_SECONDS", 0.05)
    monkeypatch.setattr("jobqueue.loop_errors.FIRST_PAUSE", 0.05)
    _, text = await house.runtime.access.create(roles=["work"], by=BY)
    headers = {"Authorization": f"Bearer {text}"}
    wait = {"worker": "w", "wait": 60}
    claim = asyncio.create_task(house.client.post("/v1/queues/empty/claim", json=wait, headers=headers))
    await eventually(lambda: desk_of(house).waiting == 1)
    broken = True

    async def caller(_: str) -> None:
        nonlocal broken
        if broken:
            broken = False
            raise RuntimeError("unforeseen")

    monkeypatch.setattr(house.runtime.access, "caller", caller)
    async with asyncio.timeout(20):
        assert (await claim).status == 401
    assert not broken
    counted = {"loop": "tokens of waiting requests"}
    assert house.runtime.metrics.registry.get_sample_value("jobqueue_loop_errors_total", counted) == 1


async def test_a_job_that_is_found_too_late_is_given_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.api.security.token_watch._CHECK_SECONDS", 3600)
    made, text = await house.runtime.access.create(roles=["work"], by=BY)
    claim = asyncio.create_task(
        house.client.post(
            "/v1/queues/late/claim", json={"worker": "w", "wait": 60}, headers={"Authorization": f"Bearer {text}"}
        )
    )
    await eventually(lambda: desk_of(house).waiting == 1)
    # Another process revokes it, and this one gets a job before it has looked.
    given_back: list[str] = []
    give_back = desk_of(house).give_back

    def noted(claimed: ClaimedJob) -> None:
        given_back.append(claimed.job.id)
        give_back(claimed)

    monkeypatch.setattr(desk_of(house), "give_back", noted)
    await house.runtime.access.store.revoke(made.id)
    house.runtime.access._known.clear()
    added = await house.runtime.producer.add(NewJob(type="a", queue="late"))
    assert (await claim).status == 401
    assert given_back == [added.id]

    async def is_pending() -> bool:
        job = await house.runtime.jobs.get(added.id)
        return job.state is State.PENDING and job.attempts_made == 0

    await eventually(is_pending)


async def test_a_job_that_is_given_to_another_user_is_not_told_of_any_more(house: House) -> None:
    _, own = await ask(house, "meta", "POST", "/v1/jobs", {"type": "a"})
    wait = asyncio.create_task(ask(house, "meta", "GET", f"/v1/jobs/{own['id']}?wait=60"))
    await eventually(lambda: house.runtime.events.readers == 1)
    await ask(house, "admin", "PATCH", f"/v1/jobs/{own['id']}", {"meta": {"user_id": 8}})
    await ask(house, "admin", "POST", f"/v1/jobs/{own['id']}/kill")
    assert (await wait)[0] == 404


async def test_many_that_wait_with_one_token_read_it_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = await house.runtime.access.create(roles=["read"], by=BY)
    find, reads = house.runtime.access.store.find, 0

    async def counted(token_id: str) -> Any:
        nonlocal reads
        reads += 1
        return await find(token_id)

    monkeypatch.setattr(house.runtime.access.store, "find", counted)
    callers = await asyncio.gather(*(house.runtime.access.caller(text) for _ in range(50)))
    assert reads == 1
    assert {one is not None for one in callers} == {True}
    # One that gives up takes nothing from the others.
    house.runtime.access._known.clear()
    first, second = (asyncio.create_task(house.runtime.access.caller(text)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
