"""Queues over HTTP: listed, changed by whoever has seen the present configuration, noted in the audit, and deleted."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from jobqueue.api.app import make_app
from jobqueue.domain.access.masking import MASK
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.work.processing import WebhookConfig
from jobqueue.processors.webhooks import signing
from jobqueue.store.queues.config import NOTHING
from tests.support.data.factories import LONG_AGO, add, claim, claimed_job, fail, job_in, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

Q = "/v1/queues/q"
HOOK = {"kind": "webhook", "url": "https://example.com/hook", "headers": {"Authorization": "Bearer x", "X-A": "1"}}
COMMAND = {"kind": "command", "name": "report"}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def ask(client: Client, method: str, path: str, *, status: int = 200, tag: str | None = None, **how: Any) -> Any:
    """Return the body of an answer that must have a status."""
    headers = {} if tag is None else {"If-Match": tag}
    answer = await client.request(method, path, headers=headers, **how)
    body = await answer.json(content_type=None)
    assert answer.status == status, body
    return body


async def all_pages(client: Client, path: str) -> list[Any]:
    page = await ask(client, "GET", path)
    found = list(page["items"])
    while page["next"] is not None:
        page = await ask(client, "GET", f"{path}&cursor={page['next']}")
        found += page["items"]
    return found


async def tag_of(client: Client, path: str = Q) -> str:
    return (await client.get(path)).headers["ETag"]


async def stored(runtime: Runtime, name: str = "q") -> Any:
    return await runtime.config_store.stored(name)


async def test_queues_that_are_configured_or_have_jobs_are_listed_by_name_a_page_at_a_time(
    client: Client, idle_runtime: Runtime
) -> None:
    for name in ("b", "Z", "a:1", "b"):
        await add(idle_runtime, queue=name)
    for name in ("c", "b"):
        await ask(client, "PUT", f"/v1/queues/{name}", json={"attempts": 7})
    seen = await all_pages(client, "/v1/queues?limit=1")
    expected = [("Z", 3, 1), ("a:1", 3, 1), ("b", 7, 2), ("c", 7, 0)]
    assert [(one["name"], one["attempts"], one["counts"]["pending"]) for one in seen] == expected
    assert [one["name"] for one in await all_pages(client, "/v1/queues")] == ["Z", "a:1", "b", "c"]
    assert (await ask(client, "GET", "/v1/queues?limit=4"))["next"] is None


@pytest.mark.parametrize("query", ["cursor=%20", "cursor=é", "cursor=YSBi", "limit=0", "limit=201", "sort=name"])
async def test_a_wrong_parameter_of_the_list_is_named(client: Client, query: str) -> None:
    problem = await ask(client, "GET", f"/v1/queues?{query}", status=422)
    assert list(problem["errors"]) == [query.partition("=")[0]]


async def test_a_queue_shows_how_it_is_doing(client: Client, idle_runtime: Runtime) -> None:
    for state in FINAL:
        await job_in(idle_runtime, state, queue="q")
    old = await job_in(idle_runtime, State.FAILED, queue="q")
    now = datetime.now(UTC)
    earlier = {"$set": {"endAt": now - timedelta(minutes=5)}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(old.id)}, earlier)
    oldest = await add(idle_runtime, queue="q")
    earlier = {"$set": {"insertAt": now - timedelta(seconds=90)}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(oldest.id)}, earlier)
    await add(idle_runtime, queue="q")
    await add(idle_runtime, queue="q", delay=3600)
    await add(idle_runtime, queue="other")
    shown = await ask(client, "GET", Q)
    minute, hour = ({"success": 1, "failed": failed, "killed": 1} for failed in (1, 2))
    assert shown["counts"] == hour | {"pending": 2, "processing": 0, "delayed": 1}
    assert shown["ended"] == {"minute": minute, "hour": hour}
    assert 89 < shown["oldestPendingAge"] < 120
    nothing = await ask(client, "GET", "/v1/queues/nothing")
    assert (nothing["oldestPendingAge"], set(nothing["counts"].values())) == (None, {0})
    assert await ask(client, "GET", "/v1/queues/a.b", status=422)


async def test_a_job_that_was_delayed_has_waited_since_it_was_due(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, queue="q")
    moments = {"insertAt": LONG_AGO, "delayTil": datetime.now(UTC) - timedelta(seconds=30)}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": moments})
    assert 29 < (await ask(client, "GET", Q))["oldestPendingAge"] < 60


@pytest.mark.parametrize("back", ["requeued", "tried again", "released"])
async def test_an_old_job_that_can_be_claimed_again_has_waited_since_then(
    client: Client, idle_runtime: Runtime, back: str
) -> None:
    claimed = await claimed_job(idle_runtime, queue="q", attempts=2 if back == "tried again" else 1, backoff=0)
    job = claimed.job
    if back == "released":
        job = await add(idle_runtime, queue="q", depends_on=(job.id,))
        await succeed(idle_runtime, claimed)
    else:
        await fail(idle_runtime, claimed)
    if back == "requeued":
        await idle_runtime.manager.requeue(job.id)
    long_ago = {"$set": {"insertAt": LONG_AGO}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id), "state": "pending"}, long_ago)
    assert (await idle_runtime.jobs.get(job.id)).insert_at == LONG_AGO
    assert (await ask(client, "GET", Q))["oldestPendingAge"] < 60


@pytest.mark.parametrize("odd", ["a..b", "", "$where", "a b", 5, None, {"a": 1}])
async def test_jobs_that_another_tool_gave_an_odd_queue_break_no_list(
    client: Client, idle_runtime: Runtime, odd: Any
) -> None:
    await add(idle_runtime, queue="q")
    other = await add(idle_runtime, queue="x")
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(other.id)}, {"$set": {"queue": odd}})
    assert "q" in [one["name"] for one in (await ask(client, "GET", "/v1/queues"))["items"]]


async def test_a_change_for_another_configuration_than_the_present_one_is_refused(client: Client) -> None:
    first = await tag_of(client)
    await ask(client, "PUT", Q, tag=first, json={"attempts": 5})
    second = await tag_of(client)
    assert first != second
    for method, how in (("PUT", {"json": {}}), ("PATCH", {"json": {"attempts": 1}}), ("DELETE", {})):
        for tag in (first, f"W/{second}", f"{first}, W/{second}", '"x"'):
            assert (await ask(client, method, Q, status=412, tag=tag, **how))["type"] == "/problems/changed-meanwhile"
        for tag in (second.strip('"'), '"', ""):
            assert (await ask(client, method, Q, status=400, tag=tag, **how))["type"] == "/problems/bad-header"
    for action in ("pause", "resume"):
        await ask(client, "POST", f"{Q}/{action}", status=412, tag=first)
    await ask(client, "POST", f"{Q}/rotate-secret", status=412, tag=first, json={"type": "a"})
    assert (await tag_of(client), (await ask(client, "GET", Q))["attempts"]) == (second, 5)


async def test_a_change_for_the_present_configuration_is_made(client: Client) -> None:
    for method, how in (("PUT", {"attempts": 5}), ("PATCH", {"attempts": 6}), ("PATCH", {"attempts": None})):
        answer = await client.request(method, Q, json=how, headers={"If-Match": await tag_of(client)})
        assert answer.status == 200
        assert answer.headers["ETag"] == await tag_of(client)
    for method, how in (("PUT", {"attempts": 5}), ("PATCH", {"attempts": 6})):
        await ask(client, method, Q, tag="*", json=how)
    await ask(client, "POST", f"{Q}/pause", tag=await tag_of(client))
    await ask(client, "DELETE", Q, tag=await tag_of(client))
    assert await tag_of(client) == await tag_of(client, "/v1/queues/never")


async def test_one_of_several_tags_may_be_that_of_the_present_configuration(client: Client) -> None:
    await ask(client, "PUT", Q, json={"attempts": 5})
    await ask(client, "PATCH", Q, tag=f'"x", {await tag_of(client)}', json={"attempts": 6})


async def test_a_patch_changes_what_it_names_and_null_gives_the_default(client: Client, idle_runtime: Runtime) -> None:
    await ask(client, "PUT", Q, json={"attempts": 5, "rate": {"limit": 5, "per": 60}, "concurrency": 2, "paused": True})
    await ask(client, "PATCH", Q, json={"rate": {"per": 30}, "attempts": None, "timeout": 9, "paused": None})
    assert await stored(idle_runtime) == {"rate": {"limit": 5, "per": 30}, "concurrency": 2, "timeout": 9}
    shown = await ask(client, "PATCH", Q, json={"rate": None, "concurrency": None, "timeout": None, "lease": None})
    assert (shown["rate"], shown["concurrency"], shown["timeout"], shown["attempts"]) == (None, None, None, 3)
    assert await stored(idle_runtime) == {}
    await ask(client, "PATCH", Q, json={"retention": {"success": 5, "failed": 6}})
    assert (await ask(client, "PATCH", Q, json={"retention": {"success": None}}))["retention"] == {"failed": 6}


async def test_null_within_an_object_that_was_not_there_gives_the_default_too(client: Client) -> None:
    shown = await ask(client, "PATCH", Q, json={"breaker": {"failures": 5, "cooldown": None}})
    assert shown["breaker"] == {"failures": 5, "cooldown": 60, "per": "queue"}


async def test_a_patch_merges_processors(client: Client, idle_runtime: Runtime) -> None:
    await ask(client, "PUT", Q, json={"processors": {"a": HOOK, "b": COMMAND}, "attempts": 9})
    secret = (await stored(idle_runtime))["processors"]["a"]["secret"]
    patch: Any = {"a": {"timeout": 5, "headers": {"X-A": None, "X-B": "2"}}, "b": None, "c": COMMAND}
    shown = await ask(client, "PATCH", Q, json={"processors": patch})
    hook = {**HOOK, "timeout": 5, "secret": MASK, "headers": {"Authorization": MASK, "X-B": MASK}}
    assert shown["processors"] == {"a": hook, "c": COMMAND}
    kept = (await stored(idle_runtime))["processors"]["a"]
    assert (kept["secret"], kept["headers"]) == (secret, {"Authorization": "Bearer x", "X-B": "2"})
    shown = await ask(client, "PATCH", Q, json={"processors": {"c": {"kind": "webhook", "url": HOOK["url"]}}})
    assert shown["processors"]["c"]["secret"].startswith("whsec_")
    await ask(client, "PATCH", Q, json={"processors": {"a": COMMAND, "c": None}})
    assert set((await stored(idle_runtime))["processors"]) == {"a"}
    assert (await ask(client, "PATCH", Q, json={"processors": None}))["processors"] == {}
    assert await stored(idle_runtime) == {"attempts": 9}


@pytest.mark.parametrize(
    ("patch", "names"),
    [
        ({"concurency": 5}, {"concurency"}),
        ({"attempts": "3", "lease": 0, "paused": "yes"}, {"attempts", "lease", "paused"}),
        ({"rate": {"limit": 0}}, {"rate.limit"}),
        ({"rate": 5}, {"rate"}),
        ({"breaker": {}}, {"breaker.failures"}),
        ({"breaker": {"failures": 1, "per": []}}, {"breaker.per"}),
        ({"retention": {"pending": 1}}, {"retention.pending"}),
        ({"limitBy": "user"}, {"limitBy"}),
        ({"backoff": {"kind": "linear"}}, {"backoff.kind"}),
        ({"processors": {"a": 5, "b": {}}}, {"processors.a", "processors.b.kind"}),
        ({"processors": {"a": {**HOOK, "previousSecrets": [MASK]}}}, {"processors.a.previousSecrets.0"}),
    ],
)
async def test_what_a_patch_may_not_say_is_named_and_changes_nothing(
    client: Client, idle_runtime: Runtime, patch: Any, names: set[str]
) -> None:
    await ask(client, "PUT", Q, json={"rate": {"limit": 5, "per": 60}})
    problem = await ask(client, "PATCH", Q, status=422, json=patch)
    assert set(problem["errors"]) == names
    assert await stored(idle_runtime) == {"rate": {"limit": 5, "per": 60}}


@pytest.mark.parametrize("one", [{**COMMAND, "argv": []}, {**HOOK, "previous_secrets": []}, {**HOOK, "name": "x"}])
async def test_a_field_that_a_processor_does_not_have_is_refused(client: Client, one: Any) -> None:
    for method in ("PUT", "PATCH"):
        problem = await ask(client, method, Q, status=422, json={"processors": {"a": one}})
        assert all(path.startswith("processors.a") for path in problem["errors"])


async def test_figures_that_are_sent_back_say_nothing(client: Client) -> None:
    await ask(client, "PUT", Q, json={"attempts": 5, "processors": {"a": HOOK}, "breaker": {"failures": 2}})
    shown = await ask(client, "GET", Q)
    for method in ("PUT", "PATCH"):
        await ask(client, method, Q, json=shown)
        assert await ask(client, "GET", Q) == shown


@pytest.mark.parametrize("spoilt", [5, None, "x", [], {"attempts": "x", "breaker": {"failures": 1, "per": []}}])
async def test_a_configuration_that_was_spoilt_by_hand_breaks_nothing_and_can_be_replaced(
    client: Client, idle_runtime: Runtime, spoilt: Any
) -> None:
    await ask(client, "PUT", "/v1/queues/other", json={"attempts": 7})
    await idle_runtime.config_store.collection.update_one({"_id": "config"}, {"$set": {"queues.q": spoilt}})
    assert (await ask(client, "GET", Q))["attempts"] == 3
    await idle_runtime.configs.refresh()
    assert idle_runtime.configs.of("other").attempts == 7
    await ask(client, "PATCH", Q, json={"lease": 9})
    await ask(client, "PUT", Q, json={"attempts": 5})
    assert await stored(idle_runtime) == {"attempts": 5}


async def test_a_queue_with_unfinished_jobs_is_not_deleted(client: Client, idle_runtime: Runtime) -> None:
    await ask(client, "PUT", Q, json={"attempts": 5})
    waiting, delayed = await add(idle_runtime, queue="q"), await add(idle_runtime, queue="q", delay=60)
    problem = await ask(client, "DELETE", Q, status=409)
    assert (problem["type"], "2 unfinished" in problem["detail"]) == ("/problems/unfinished-jobs", True)
    await ask(client, "DELETE", f"{Q}?force=false", status=409)
    assert list((await ask(client, "DELETE", f"{Q}?force=1", status=422))["errors"]) == ["force"]
    await idle_runtime.manager.kill(delayed.id)
    await claim(idle_runtime, "q")
    await ask(client, "DELETE", Q, status=409)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.PROCESSING
    assert await stored(idle_runtime) == {"attempts": 5}


async def test_a_queue_whose_jobs_have_ended_is_deleted_and_they_stay(client: Client, idle_runtime: Runtime) -> None:
    ended = [await job_in(idle_runtime, state, queue="q") for state in FINAL]
    await ask(client, "PUT", Q, json={"attempts": 5})
    assert await ask(client, "DELETE", Q) == {"name": "q", "killed": 0}
    assert (await ask(client, "GET", Q))["attempts"] == 3
    assert [(await idle_runtime.jobs.get(job.id)).state for job in ended] == list(FINAL)
    for _ in range(2):
        await ask(client, "DELETE", Q, status=404)


async def test_by_force_everything_unfinished_is_killed_first(client: Client, idle_runtime: Runtime) -> None:
    child, wrong = NewJob(type="child", queue="other"), NewJob(type="wrong", queue="other")
    fields: Any = {"queue": "q", "on_failure": child, "on_success": wrong}
    ended = await job_in(idle_runtime, State.SUCCESS, queue="q")
    claimed = await claimed_job(idle_runtime, **fields)
    killed = [claimed.job, await add(idle_runtime, **fields), await add(idle_runtime, delay=60, **fields)]
    plain, other = await add(idle_runtime, queue="q"), await add(idle_runtime, queue="q2")
    await ask(client, "PUT", Q, json={"attempts": 5})
    assert await ask(client, "DELETE", f"{Q}?force=true") == {"name": "q", "killed": 4}
    await idle_runtime.outboxes.run_once()
    for job in [await idle_runtime.jobs.get(one.id) for one in (*killed, plain)]:
        assert (job.state, job.error and job.error.message) == (State.KILLED, "queue q was deleted")
        assert (job.end_at is not None, job.claim, job.outbox, job.attempts_made) == (
            True,
            None,
            (),
            job.id == killed[0].id,
        )
    for job in killed:
        (born,) = (await idle_runtime.listing.page(JobQuery(parent_id=job.id))).items
        assert (born.type, born.state) == ("child", State.PENDING)
    assert (await idle_runtime.jobs.get(ended.id)).state is State.SUCCESS
    assert (await idle_runtime.jobs.get(other.id)).state is State.PENDING
    assert await stored(idle_runtime) is NOTHING
    late = await ask(client, "POST", f"/v1/jobs/{killed[0].id}/heartbeat", json={"token": claimed.token})
    assert late["cancelled"] is True
    await ask(client, "DELETE", Q, status=404)


async def test_every_change_is_noted_with_who_made_it_and_no_secret_ever(client: Client, idle_runtime: Runtime) -> None:
    made = await ask(client, "PUT", Q, json={"processors": {"a": HOOK}})
    await ask(client, "PUT", Q, json={"processors": {"a": HOOK}})
    await ask(client, "PATCH", Q, json={"attempts": 5})
    await ask(client, "PATCH", Q, status=422, json={"attempts": 0})
    rotated = await ask(client, "POST", f"{Q}/rotate-secret", json={"type": "a"})
    await ask(client, "POST", f"{Q}/pause")
    await idle_runtime.queues.set_paused("q", paused=False, by=Actor(name="ann", via="cli"))
    await ask(client, "DELETE", Q)
    await ask(client, "PUT", "/v1/queues/other", json={"attempts": 1})
    items = (await ask(client, "GET", f"{Q}/changes"))["items"]
    assert [one["action"] for one in items] == ["delete", "resume", "pause", "rotate", "patch", "put"]
    nobody = {"name": "nobody", "via": "http", "from": "127.0.0.1"}
    assert [one["by"] for one in items] == [nobody, {"name": "ann", "via": "cli"}, *[nobody] * 4]
    for later, earlier in pairwise(items):
        assert later["before"] == earlier["after"]
        assert (later["id"] > earlier["id"], later["at"] >= earlier["at"]) == (True, True)
    hook = {**HOOK, "timeout": 30, "secret": MASK, "headers": dict.fromkeys(HOOK["headers"], MASK)}
    assert (items[-1]["before"], items[-1]["after"]) == (None, {"processors": {"a": hook}})
    assert items[-2]["after"] == {"attempts": 5, "processors": {"a": hook}}
    assert items[0]["after"] is None
    kept = str([one async for one in idle_runtime.database.collection("audit").find()])
    for secret in (made["processors"]["a"]["secret"], rotated["processors"]["a"]["secret"], "Bearer x"):
        assert secret not in kept + str(items) + str(await ask(client, "GET", Q))


async def test_changes_are_shown_a_page_at_a_time(client: Client) -> None:
    for attempts in range(1, 6):
        await ask(client, "PUT", Q, json={"attempts": attempts})
    seen = [one["after"]["attempts"] for one in await all_pages(client, f"{Q}/changes?limit=2")]
    assert seen == [5, 4, 3, 2, 1]
    assert await ask(client, "GET", "/v1/queues/none/changes") == {"items": [], "next": None}
    problem = await ask(client, "GET", f"{Q}/changes?cursor=x&limit=0", status=422)
    assert list(problem["errors"]) == ["limit", "cursor"]


async def test_old_and_new_secrets_sign_until_the_old_ones_are_dropped(client: Client, idle_runtime: Runtime) -> None:
    made = await ask(client, "PUT", Q, json={"processors": {"a.b": HOOK, "c": COMMAND}})
    secrets = [made["processors"]["a.b"]["secret"]]
    for _ in range(6):
        shown = (await ask(client, "POST", f"{Q}/rotate-secret", json={"type": "a.b"}))["processors"]["a.b"]
        assert shown["previousSecrets"] == [MASK] * min(len(secrets), 4)
        secrets.insert(0, shown["secret"])
    assert len(set(secrets)) == 7
    assert await signing_secrets(idle_runtime, secrets) == secrets[:5]
    present = await ask(client, "GET", Q)
    hidden = {name: present["processors"]["a.b"][name] for name in ("secret", "previousSecrets")}
    assert hidden == {"secret": MASK, "previousSecrets": [MASK] * 4}
    await ask(client, "PUT", Q, json=present)
    assert await signing_secrets(idle_runtime, secrets) == secrets[:5]
    await ask(client, "PATCH", Q, json={"processors": {"a.b": {"previousSecrets": []}}})
    assert await signing_secrets(idle_runtime, secrets) == secrets[:1]
    for kind in ("c", "*", "a"):
        await ask(client, "POST", f"{Q}/rotate-secret", status=404, json={"type": kind})
    await ask(client, "POST", "/v1/queues/none/rotate-secret", status=404, json={"type": "a"})
    assert (await client.post(f"{Q}/rotate-secret", json={})).status == 422


async def signing_secrets(runtime: Runtime, known: list[str]) -> list[str]:
    """Return those of the known secrets that a receiver may check a message with."""
    config = (await runtime.queues.tagged("q"))[0].processor_for("a.b")
    assert isinstance(config, WebhookConfig)
    headers = signing.headers(config.secrets, "msg_1", datetime.now(UTC), b"{}")
    found = []
    for secret in known:
        with contextlib.suppress(WebhookVerificationError):
            Webhook(secret).verify("{}", headers)
            found.append(secret)
    return found


@pytest.mark.parametrize("first", ["q0", None])
async def test_changes_at_the_same_moment_all_hold(
    client: Client, settings: Settings, idle_runtime: Runtime, first: str | None
) -> None:
    fields: dict[str, Any] = {"attempts": 7, "lease": 9, "timeout": 8, "priority": 3}
    if first is not None:
        await idle_runtime.queues.put(first, {"attempts": 1})
    async with open_runtime(settings) as other:
        processes = dict(zip(fields, (other, idle_runtime) * 2, strict=True))
        patches = [one.queues.patch("q", {name: fields[name]}) for name, one in processes.items()]
        ends = await asyncio.gather(*patches, return_exceptions=True)
    assert [one for one in ends if isinstance(one, BaseException)] == []
    assert await stored(idle_runtime) == fields
    assert len((await ask(client, "GET", f"{Q}/changes"))["items"]) == len(fields)


async def test_what_another_process_has_changed_holds_here(settings: Settings, runtime: Runtime) -> None:
    async with open_runtime(settings) as other:
        await other.queues.put("q", {"attempts": 7, "paused": True})
        await add(other, queue="q")
        await eventually(lambda: runtime.configs.of("q").attempts == 7, within=15)
        await other.queues.delete("q", force=True)
        await eventually(lambda: "q" not in runtime.configs.known, within=15)
