from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.work.long_poll import LONG_POLL, LongPoll
from jobqueue.domain.jobs.job import NewJob
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import ClientResponse

    from jobqueue.api.work.long_poll import ClaimRequest
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

    Client = TestClient[web.Request, web.Application]

CLAIM = "/v1/queues/default/claim"
STALE = "/problems/stale-token"


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


@contextlib.asynccontextmanager
async def serving(runtime: Runtime, *, cancels: bool) -> AsyncIterator[tuple[web.Application, int]]:
    """Serve as the program does; ``cancels`` makes aiohttp cancel the handler of a client that leaves."""
    app = make_app(runtime)
    runner = web.AppRunner(app, handler_cancellation=cancels)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield app, runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def raw_claim(port: int, **fields: Any) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    given = json.dumps({"worker": "gone", **fields}).encode()
    fields_of_head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(given)}"
    head = f"POST {CLAIM} HTTP/1.1\r\n{fields_of_head}\r\n\r\n"
    writer.write(head.encode() + given)
    return writer


async def goes_back(runtime: Runtime, job_id: str) -> None:
    async with asyncio.timeout(20):
        while (job := await runtime.jobs.whole(job_id)).state != "pending" or not job.history:  # noqa: ASYNC110 - a database has no event
            await asyncio.sleep(0.01)
    assert (job.attempts_made, [one.outcome for one in job.history]) == (0, ["release"])


async def body(response: ClientResponse, status: int) -> dict[str, Any]:
    assert response.status == status, await response.text()
    read: dict[str, Any] = await response.json(content_type=None)
    return read


async def claimed(client: Client, runtime: Runtime, **fields: Any) -> tuple[str, str]:
    """Add a job and claim it; return the path of the job and the token."""
    await runtime.producer.add(NewJob(**{"type": "a", "backoff": 0, **fields}))
    got = await body(await client.post(CLAIM, json={"worker": "w"}), 200)
    return f"/v1/jobs/{got['job']['id']}", got["token"]


async def test_a_claim_gives_the_first_job_and_its_token(client: Client, runtime: Runtime) -> None:
    await runtime.producer.add(NewJob(type="a"))
    first = await runtime.producer.add(NewJob(type="b", priority=5, data={"n": 1}))
    got = await body(await client.post(CLAIM, json={"worker": "w-1", "lease": 300}), 200)
    job = got["job"]
    assert (job["id"], job["state"], job["attemptsMade"], job["data"]) == (first.id, "processing", 1, {"n": 1})
    assert job["claim"] == {"token": got["token"], "worker": "w-1"}
    only = await client.post(CLAIM, json={"worker": "w", "types": ["c", "b"]})
    assert only.status == 204
    assert (await body(await client.post(CLAIM, json={"worker": "w", "types": ["a"]}), 200))["job"]["type"] == "a"
    assert (await client.post("/v1/queues/other/claim", json={"worker": "w"})).status == 204


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, {"worker"}),
        ({"worker": ""}, {"worker"}),
        ({"worker": "a\nb"}, {"worker"}),
        ({"worker": "w", "wait": 61}, {"wait"}),
        ({"worker": "w", "wait": -1, "lease": 0, "types": [], "x": 1}, {"wait", "lease", "types", "x"}),
        ({"worker": "w", "wait": "5", "types": "a"}, {"wait", "types"}),
        ({"worker": "w", "types": ["a", 5, "*"]}, {"types.1"}),
        ({"worker": "w", "types": ["a", "*"]}, {"types.1"}),
        ({"worker": "w", "types": ["a"] * 101}, {"types"}),
    ],
)
async def test_a_wrong_claim_is_refused_by_name(
    client: Client, runtime: Runtime, given: object, names: set[str]
) -> None:
    await runtime.producer.add(NewJob(type="a"))
    told = await body(await client.post(CLAIM, json=given), 422)
    assert set(told["errors"]) == names
    assert await runtime.jobs.collection.count_documents({"state": "pending"}) == 1


async def test_a_waiting_claim_is_woken_by_an_added_job(client: Client, runtime: Runtime) -> None:
    waiting = asyncio.create_task(client.post(CLAIM, json={"worker": "w", "wait": 60, "types": ["b"]}))
    desk = client.app[LONG_POLL]
    await eventually(lambda: desk.waiting == 1)
    await client.post("/v1/jobs", json={"type": "a"})
    job = await (await client.post("/v1/jobs", json={"type": "b"})).json()
    async with asyncio.timeout(10):
        got = await body(await waiting, 200)
    assert got["job"]["id"] == job["id"]
    assert desk.waiting == 0
    assert await runtime.jobs.collection.count_documents({"state": "processing"}) == 1


async def test_a_claim_is_woken_when_a_delayed_job_is_due_and_when_a_queue_is_resumed(
    client: Client, runtime: Runtime
) -> None:
    await runtime.producer.add(NewJob(type="a", delay=0.3))
    async with asyncio.timeout(10):
        assert (await client.post(CLAIM, json={"worker": "w", "wait": 30})).status == 200
    await client.post("/v1/queues/default/pause")
    await runtime.producer.add(NewJob(type="a"))
    waiting = asyncio.create_task(client.post(CLAIM, json={"worker": "w", "wait": 30}))
    await eventually(lambda: client.app[LONG_POLL].waiting == 1)
    await client.post("/v1/queues/default/resume")
    async with asyncio.timeout(10):
        assert (await waiting).status == 200


async def test_a_claim_that_finds_nothing_ends_with_its_time(client: Client) -> None:
    assert (await client.post(CLAIM, json={"worker": "w", "wait": 0.1})).status == 204
    assert client.app[LONG_POLL].waiting == 0


async def test_many_waiting_claims_get_one_job_each(client: Client, runtime: Runtime) -> None:
    waiting = [asyncio.create_task(client.post(CLAIM, json={"worker": str(n), "wait": 60})) for n in range(40)]
    desk = client.app[LONG_POLL]
    await eventually(lambda: desk.waiting == 40)
    await runtime.producer.add_all([NewJob(type="a")] * 15)
    await asyncio.gather(*(runtime.producer.add(NewJob(type="a")) for _ in range(25)))
    async with asyncio.timeout(20):
        got = [(await body(response, 200))["job"]["id"] for response in await asyncio.gather(*waiting)]
    assert len(set(got)) == 40


async def test_no_more_than_so_many_requests_wait(client: Client, runtime: Runtime) -> None:
    client.app[LONG_POLL]._most = 2
    waiting = [asyncio.create_task(client.post(CLAIM, json={"worker": "w", "wait": 60})) for _ in range(2)]
    await eventually(lambda: client.app[LONG_POLL].waiting == 2)
    refused = await client.post(CLAIM, json={"worker": "w", "wait": 1})
    assert (await body(refused, 503))["type"] == "/problems/too-many-waiting"
    assert refused.headers["Retry-After"] == "1"
    assert (await client.post(CLAIM, json={"worker": "w"})).status == 204
    await runtime.producer.add_all([NewJob(type="a")] * 2)
    assert [(await one).status for one in waiting] == [200, 200]


@pytest.mark.parametrize("cancels", [False, True])
async def test_a_client_that_left_gets_no_job(runtime: Runtime, cancels: bool) -> None:  # noqa: FBT001 - a parameter
    async with serving(runtime, cancels=cancels) as (app, port):
        writer = await raw_claim(port, wait=60)
        await eventually(lambda: app[LONG_POLL].waiting == 1)
        writer.transport.abort()
        await eventually(lambda: app[LONG_POLL].waiting == 0)
        job = await runtime.producer.add(NewJob(type="a"))
        # A claim that was under way when the client left may have taken it, and gives it back.
        got = await eventually(lambda: runtime.work.claim("default", None, worker="here"))
        assert got is not None
        assert (got.job.id, got.job.attempts_made) == (job.id, 1)


async def test_a_job_whose_client_left_meanwhile_goes_back_uncounted(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await runtime.producer.add(NewJob(type="a"))
    claim = LongPoll.claim

    async def claim_and_leave(desk: LongPoll, wanted: ClaimRequest, gone: Callable[[], bool]) -> ClaimedJob | None:
        found = await claim(desk, wanted, gone)
        writer.transport.abort()
        await eventually(gone)
        return found

    monkeypatch.setattr(LongPoll, "claim", claim_and_leave)
    async with serving(runtime, cancels=False) as (_, port):
        writer = await raw_claim(port)
        await goes_back(runtime, job.id)


async def test_a_job_whose_answer_is_cut_off_goes_back_uncounted(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await runtime.producer.add(NewJob(type="a"))
    writing = asyncio.Event()

    async def hang(_response: web.Response, _data: bytes = b"") -> None:
        writing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(web.Response, "write_eof", hang)
    async with serving(runtime, cancels=True) as (_, port):
        writer = await raw_claim(port)
        async with asyncio.timeout(20):
            await writing.wait()
        writer.transport.abort()
        await goes_back(runtime, job.id)


async def test_a_job_that_cannot_be_written_into_an_answer_goes_back_uncounted(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await runtime.producer.add(NewJob(type="a"))

    def broken(_: Any) -> None:
        raise ValueError("cannot be written")

    with monkeypatch.context() as patched:
        patched.setattr("jobqueue.api.work.handlers.json_form.job", broken)
        assert (await client.post(CLAIM, json={"worker": "w"})).status == 500
    await goes_back(runtime, job.id)


async def test_waiting_requests_end_when_the_server_stops(runtime: Runtime) -> None:
    async with TestClient(TestServer(make_app(runtime))) as client:
        waiting = asyncio.create_task(client.post(CLAIM, json={"worker": "w", "wait": 60}))
        await eventually(lambda: client.app[LONG_POLL].waiting == 1)
        async with asyncio.timeout(10):
            await client.server.close()
            assert (await waiting).status == 204


async def test_a_heartbeat_extends_the_lease_and_keeps_progress_and_lines(client: Client, runtime: Runtime) -> None:
    path, token = await claimed(client, runtime, lease=60)
    before = await body(await client.get(path), 200)
    beat = await body(
        await client.post(
            f"{path}/heartbeat", json={"token": token, "progress": 40, "logs": ["a", {"m": "b", "level": "error"}]}
        ),
        200,
    )
    assert beat["cancelled"] is False
    assert beat["resetAt"] > before["resetAt"]
    after = await body(await client.get(path), 200)
    assert (after["progress"], after["resetAt"]) == (40, beat["resetAt"])
    assert [(line["m"], line.get("level"), line["attempt"]) for line in after["logs"]] == [
        ("a", None, 1),
        ("b", "error", 1),
    ]
    told = await body(
        await client.post(
            f"{path}/heartbeat", json={"token": token, "progress": 101, "logs": [{"m": "x", "level": ""}]}
        ),
        422,
    )
    assert set(told["errors"]) == {"progress", "logs.0.level"}


async def test_a_killed_job_tells_its_worker_and_nobody_else(client: Client, runtime: Runtime) -> None:
    path, token = await claimed(client, runtime)
    await client.post(f"{path}/kill")
    told = await body(await client.post(f"{path}/heartbeat", json={"token": token, "progress": 50}), 200)
    assert told == {"resetAt": None, "cancelled": True}
    other = await body(await client.post(f"{path}/heartbeat", json={"token": "f" * 24}), 409)
    assert other["type"] == STALE
    late = await body(await client.post(f"{path}/succeed", json={"token": token, "result": 1}), 409)
    assert late["type"] == STALE
    job = await body(await client.get(path), 200)
    assert (job["state"], job["result"], job["progress"]) == ("killed", None, 0)
    assert job["history"][0]["late"]["result"] == 1


async def test_a_result_ends_a_job_once_however_often_it_is_reported(client: Client, runtime: Runtime) -> None:
    path, token = await claimed(client, runtime, on_success=NewJob(type="next"))
    for _ in range(3):
        done = await body(await client.post(f"{path}/succeed", json={"token": token, "result": {"x": [1]}}), 200)
        assert done["state"] == "success"
    job = await body(await client.get(path), 200)
    assert (job["result"], job["progress"], len(job["history"])) == ({"x": [1]}, 100, 1)
    assert await runtime.jobs.collection.count_documents({"type": "next"}) == 1
    other = await body(await client.post(f"{path}/fail", json={"token": token, "reason": "no"}), 409)
    assert other["type"] == STALE


async def test_a_job_that_is_deleted_on_success_is_reported_as_such(client: Client, runtime: Runtime) -> None:
    path, token = await claimed(client, runtime, on_success_delete=True)
    done = await body(await client.post(f"{path}/succeed", json={"token": token}), 200)
    assert done["state"] == "success"
    assert (await client.get(path)).status == 404


async def test_failures_are_counted_until_none_is_left(client: Client, runtime: Runtime) -> None:
    path, token = await claimed(client, runtime, attempts=2)
    failed = await body(await client.post(f"{path}/fail", json={"token": token, "reason": "boom", "trace": "t"}), 200)
    assert failed["state"] == "pending"
    again = await body(await client.post(f"{path}/fail", json={"token": token, "reason": "boom"}), 200)
    assert again["state"] == "pending"
    second = (await body(await client.post(CLAIM, json={"worker": "w"}), 200))["token"]
    assert (await body(await client.post(f"{path}/heartbeat", json={"token": token}), 409))["type"] == STALE
    last = await body(await client.post(f"{path}/fail", json={"token": second, "reason": "again"}), 200)
    assert last["state"] == "failed"
    job = await body(await client.get(path), 200)
    assert [one["error"] for one in job["history"]] == [
        {"kind": "fail", "message": "boom", "trace": "t"},
        {"kind": "fail", "message": "again"},
    ]


async def test_a_long_trace_keeps_its_end_which_tells_the_place(client: Client, runtime: Runtime) -> None:
    path, token = await claimed(client, runtime, attempts=1)
    frame = '  File "/srv/app/{}.py", line 3, in run\n'
    trace = "".join(
        ["Traceback (most recent call last):\n", *[frame.format("main")] * 1000, frame.format("deep"), "E: 1"]
    )
    report = {"token": token, "reason": "it broke", "trace": trace}
    await body(await client.post(f"{path}/fail", json=report), 200)
    assert (await body(await client.get(path), 200))["error"]["trace"].endswith("E: 1")
    (group,) = (await body(await client.get("/v1/failures"), 200))["items"]
    assert group["place"] == "deep.py in run"


async def test_die_and_retry_decide_otherwise(client: Client, runtime: Runtime) -> None:
    path, token = await claimed(client, runtime)
    later = await body(await client.post(f"{path}/retry", json={"token": token, "reason": "busy", "delay": 3600}), 200)
    assert later["state"] == "delayed"
    assert later["delayTil"] is not None
    assert (await body(await client.get(path), 200))["attemptsMade"] == 0
    await client.patch(path, json={"delayTil": None})
    token = (await body(await client.post(CLAIM, json={"worker": "w"}), 200))["token"]
    dead = await body(await client.post(f"{path}/die", json={"token": token, "reason": "hopeless"}), 200)
    assert dead["state"] == "killed"
    assert (await body(await client.get(path), 200))["error"] == {"kind": "die", "message": "hopeless"}


@pytest.mark.parametrize(
    ("verb", "given", "names"),
    [
        ("succeed", {}, {"token"}),
        ("succeed", {"result": {"$a": 1, "n": 2**64}}, {"result.$a", "result.n"}),
        ("succeed", {"outcome": "x"}, {"outcome"}),
        ("fail", {}, {"reason"}),
        ("fail", {"reason": 5, "trace": []}, {"reason", "trace"}),
        ("die", {"reason": None}, {"reason"}),
        ("retry", {"delay": -1}, {"delay"}),
        ("retry", {"delay": "soon"}, {"delay"}),
        ("heartbeat", {"progress": True, "logs": "x"}, {"progress", "logs"}),
    ],
)
async def test_a_wrong_report_is_refused_and_the_job_can_still_be_finished(
    client: Client, runtime: Runtime, verb: str, given: dict[str, Any], names: set[str]
) -> None:
    path, token = await claimed(client, runtime)
    sent = given if "token" in names else {"token": token, **given}
    told = await body(await client.post(f"{path}/{verb}", json=sent), 422)
    assert set(told["errors"]) == names
    assert (await body(await client.post(f"{path}/succeed", json={"token": token}), 200))["state"] == "success"


async def test_reports_on_no_job_are_404(client: Client) -> None:
    for verb in ("heartbeat", "succeed", "fail", "die", "retry"):
        reason = {"reason": "x"} if verb in {"fail", "die"} else {}
        response = await client.post(f"/v1/jobs/{'f' * 24}/{verb}", json={"token": "t", **reason})
        assert (await body(response, 404))["type"] == "/problems/not-found"
