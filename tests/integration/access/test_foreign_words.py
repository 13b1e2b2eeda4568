"""Every reply and page that a limited token can get: none has a word of other queues, or of other values of meta."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.route_table import ROUTES
from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.table import TABLE
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.application import Runtime
from jobqueue.services.runs.suspending import suspend_for_signal
from jobqueue.store.work.workers import Registration
from tests.support.data.factories import add, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp import web

    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN: Final = "the-token-of-the-settings"
BY: Final = Actor(name="test", via="python")
OURS: Final = "ours"
HTML: Final = {"Accept": "text/html"}
OWNERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "zebra": ("zebra", {"user": 7}),
    "okapi": (OURS, {"user": 8}),
    "own": (OURS, {"user": 7}),
}
"""Words, each with the queue and the meta of all things that have it; both limited tokens may see the last ones."""
LIMITED: Final = {"queue": "zebra", "meta": "okapi"}
"""Limited tokens, each with the word that it must not see."""
WORKER: Final = "both:1:a"
"""It runs jobs of all owners."""
OWN: Final = ("own-failed", "own-done", "own-asks", "own-runs", "child", "dependent")
"""The types of own jobs whose pages are looked at; the last two have a foreign parent, or wait for a foreign job."""
FIELDS: Final = ("type", "queue", "meta.note", "error.kind")
LISTS: Final = (
    "/v1/jobs",
    "/v1/failures",
    "/v1/status",
    "/v1/workers",
    "/jobs",
    "/failures",
    "/inbox",
    "/workers",
    "/",
)
"""Lists with words of all owners."""
EVERYTHING: Final = ["data", "meta", "error", "result", "type", "queue", "key"]
SEARCHES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("search", {"filter": {}, "fields": EVERYTHING, "limit": 500}),
    ("search", {"filter": {"type": {"$regex": "^(zebra|okapi)"}}}),
    ("export", {"filter": {}}),
    ("aggregate", {"pipeline": [{"$group": {"_id": "$type", "queues": {"$addToSet": "$queue"}}}]}),
    ("aggregate", {"pipeline": [{"$sortByCount": "$meta.note"}]}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server with things of three owners, and tokens that are limited to those of one."""

    client: Client
    runtime: Runtime
    tokens: dict[str, str]

    async def told(self, token: str, method: str, path: str, body: Any = None, **headers: str) -> str:
        headers |= {"Authorization": f"Bearer {self.tokens[token]}"}
        async with self.client.request(method, path, json=body, headers=headers, allow_redirects=False) as reply:
            assert reply.status < 500, path
            return await reply.text()

    async def do(self, method: str, path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with self.client.request(method, path, json=body, headers=headers) as reply:
            assert reply.status < 300, await reply.text()
            return await reply.json()


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    async with TestClient(TestServer(make_app(runtime))) as client:
        made = House(client=client, runtime=runtime, tokens={"admin": ADMIN})
        # An administrator is shown all that a reader is, and more.
        limits: dict[str, dict[str, Any]] = {"queue": {"queues": [OURS]}, "meta": {"meta": [("user", 7)]}}
        for kind, limit in limits.items():
            _, made.tokens[kind] = await runtime.access.create(roles=["admin"], by=BY, **limit)
        for word in OWNERS:
            await _fill(made, word)
        await runtime.queues.patch("zebra", {"paused": True, "pauseReason": "zebra reason"})
        posts = [Registration(queue=queue, types=(f"{queue}-type",)) for queue in ("zebra", OURS)]
        for worker in (WORKER, *(f"{word}-host:1:a" for word in OWNERS)):
            served = OWNERS[worker.partition("-")[0]][0] if worker != WORKER else None
            signed = {worker: [post for post in posts if served in {None, post.queue}]}
            await runtime.registry._store.sign(signed, process=worker, about={"host": worker, "pid": 1})
        while await runtime.operations.carry_on():
            pass
        await runtime.outboxes.run_once()
        await runtime.configs.refresh()
        yield made
    await runtime.close()


async def _fill(house: House, word: str) -> None:
    """Make things of all kinds that have a word, some of which are beside own things."""
    runtime, (queue, meta) = house.runtime, OWNERS[word]
    about: dict[str, Any] = {"queue": queue, "meta": {**meta, "note": f"{word} note"}, "data": {"text": f"{word} data"}}
    hook = {"kind": "webhook", "url": f"https://{queue}.example.com/"}
    limits = {"limitBy": "meta.user", "concurrency": 99, "breaker": {"failures": 99}}
    await house.do("PATCH", f"/v1/queues/{queue}", {**limits, "processors": {f"{queue}-hooked": hook}})
    for kind, message in (("alike", "broken"), (f"{word}-failed", f"{word} message")):
        failed = await _claimed(runtime, kind, **about, attempts=1)
        await house.do("POST", f"/v1/jobs/{failed.job.id}/heartbeat", {"token": failed.token, "logs": [f"{word} line"]})
        await fail(runtime, failed, JobError(kind="Boom", message=message, trace=f"{word} trace"))
    asks = await _claimed(runtime, f"{word}-asks", **about)
    await suspend_for_signal(runtime.work, asks.job, asks.token, f"{word}-signal")
    for worker in (WORKER, f"{word}-host:1:a"):
        await _claimed(runtime, f"{word}-runs", worker, **about)
    own_queue, own_meta = OWNERS["own"]
    child = NewJob(type="child", queue=own_queue, meta=own_meta)
    done = await _claimed(runtime, f"{word}-done", **about, on_success=child)
    await succeed(runtime, done, f"{word} result")
    waits = await add(runtime, f"{word}-waits", **about, delay=3600, key=f"{word} key")
    await add(runtime, "dependent", queue=own_queue, meta=own_meta, depends_on=(waits.id,))
    member = {"type": f"{word}-member", "queue": queue, "meta": meta}
    mixed = [member, {"type": "mixed", "queue": own_queue, "meta": own_meta}]
    await house.do("POST", "/v1/batches", {"jobs": mixed, "meta": {"note": f"{word} note"}})
    await house.do("PUT", f"/v1/schedules/{word}-schedule", {"every": 3600, "job": member})
    await house.do("PUT", f"/v1/alerts/{word}-alert", {"url": f"https://{word}.example.com/x"})
    await house.do("POST", "/v1/jobs/requeue", {"filter": {"type": f"{word}-x"}})
    await runtime.access.create(roles=["read"], name=f"{word}-token", by=BY)


async def _claimed(runtime: Runtime, kind: str, worker: str = WORKER, **fields: Any) -> ClaimedJob:
    """Add a job of a type, of which none waits, and claim it."""
    added = await add(runtime, kind, **fields)
    claimed = await runtime.work.claim(added.queue, [kind], worker=worker)
    assert claimed is not None
    assert claimed.job.id == added.id
    return claimed


async def test_a_limited_token_reads_no_word_of_others(house: House) -> None:
    paths = [path async for path in _paths(house)]
    for token, word in LIMITED.items():
        told = {path: await _read(house, token, path) for path in paths}
        for name, body in SEARCHES:
            told[f"{name} {body}"] = await house.told(token, "POST", f"/v1/jobs/{name}", body)
        found = {path: text[max(text.find(word) - 80, 0) :][:160] for path, text in told.items() if word in text}
        assert not found, (token, word, found)
        assert all("own" in told[path] for path in LISTS), "a walk that reads nothing finds nothing"
    for path in LISTS:
        text = await _read(house, "admin", path)
        assert all(word in text for word in LIMITED.values()), path


async def _read(house: House, token: str, path: str) -> str:
    return await house.told(token, "GET", path, **({} if path.startswith("/v1") else HTML))


async def _paths(house: House) -> AsyncIterator[str]:
    """Yield each path of a reply or a page that a reader of own things may ask for."""
    jobs = [
        job async for job in house.runtime.jobs.collection.find({"queue": OURS, "meta.user": 7, "type": {"$in": OWN}})
    ]
    # One of each type, but all with a relative or a dependency.
    ids = list({job["type"] if job["type"].startswith("own") else job["_id"]: str(job["_id"]) for job in jobs}.values())
    alike = await house.runtime.jobs.collection.find_one({"queue": OURS, "meta.user": 7, "type": "alike"})
    assert alike is not None
    names = {
        "queue": [OURS],
        "fingerprint": [alike["fingerprint"]],
        "fp": [alike["fingerprint"]],
        "step": ["own-signal"],
    }
    names |= {"name": [OURS, WORKER, "own-schedule", "own-alert"], "parent": ids[:1]}
    routes = [route.path for route in ROUTES if route.method == "GET" and route.role is not None]
    for route in [*routes, *(page.path for page in TABLE)]:
        # Of events there are tests of their own.
        for path in _filled(route, names | {"id": ids}) if route != "/v1/events" else ():
            yield path
    for field in FIELDS:
        yield f"/v1/jobs/suggestions?field={field}"
    for by in ("queue", "type"):
        yield f"/v1/stats/series?step=1h&by={by}"
    for job_id in ids:
        yield f"/inbox?n={job_id}"
        yield f"/jobs/{job_id}/value?field=result"
    yield f"/v1/jobs?fields={','.join(EVERYTHING)},logs,history"
    yield "/jobs/export?q="


def _filled(path: str, names: dict[str, list[str]]) -> Iterator[str]:
    part = re.search(r"{(\w+)}", path)
    if part is None:
        yield path
        return
    for value in names.get(part[1], ["0" * 24]):
        yield from _filled(path.replace(part[0], value), names)
