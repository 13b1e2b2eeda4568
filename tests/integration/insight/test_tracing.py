"""One trace from the caller through the addition of a job, its runs, steps and webhooks to its children."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from bson import ObjectId
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from jobqueue import AsyncClient, Die, NewJob
from jobqueue.api.app import make_app
from jobqueue.domain.work.processing import ANY_TYPE
from jobqueue.processors.commands.commands_file import Command
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.services.server import ConfiguredLanes, LocalProcessors
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue import ActiveJob, BlockingJob, Job, JobQueue
    from jobqueue.settings import Settings

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}
SHOW = Command(name="show", argv=("/bin/sh", "-c", 'echo "::result \\"$TRACEPARENT $TRACESTATE\\""'))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Allow webhooks to reach this machine."""
    return replace(settings, webhook_allow=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Give what has recorded spans, for this test only."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
async def hooks() -> AsyncIterator[list[dict[str, str]]]:
    """Give the headers of the webhooks that came in; the first entry has the URL."""
    came: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        came.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server:
        came.append({"url": str(server.make_url("/"))})
        yield came


@contextlib.asynccontextmanager
async def serving(queue: JobQueue) -> AsyncIterator[str]:
    """Serve the API, and run webhooks and commands; give the URL."""
    runtime = await queue.open()
    await runtime.start()
    async with WebhookClient(allow=runtime.settings.webhook_allow) as webhooks, TestServer(make_app(runtime)) as server:
        local = LocalProcessors(webhooks, {"show": SHOW}, None)
        dispatcher = runtime.dispatcher(ConfiguredLanes(runtime.configs, local))
        task = asyncio.create_task(dispatcher.run())
        yield str(server.make_url("")).rstrip("/")
        await dispatcher.stop(10)
        await task


async def ended(queue: JobQueue, job_id: str) -> Job:
    async def look() -> Job | None:
        present = await queue.get(job_id)
        return present if present.end_at is not None else None

    found = await eventually(look, within=60)
    assert found is not None
    return found


Spans = dict[str, ReadableSpan]


def parents(spans: Spans) -> dict[str, str | None]:
    names = {span.context.span_id: name for name, span in spans.items()}
    return {name: None if span.parent is None else names[span.parent.span_id] for name, span in spans.items()}


async def test_one_trace_leads_from_the_caller_to_the_webhook_of_a_child(
    queue: JobQueue, exporter: InMemorySpanExporter, hooks: list[dict[str, str]]
) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> None:
        def fetch() -> int:
            return 1

        async def notify() -> str:
            return (await queue.add("notify", queue="hooks")).id

        await job.step("fetch", fetch)
        await ended(queue, await job.step("notify", notify))
        raise Die("a secret")

    runtime = await queue.open()
    await runtime.queues.put("hooks", {"processors": {ANY_TYPE: {"kind": "webhook", "url": hooks[0]["url"]}}})
    with trace.get_tracer("test").start_as_current_span("caller"):
        async with serving(queue) as url, AsyncClient(url) as client, queue.working():
            job = await client.add("order", attempts=1)
            await ended(queue, job.id)
    spans: Spans = {span.name: span for span in exporter.get_finished_spans()}
    assert {span.context.trace_id for span in spans.values()} == {spans["caller"].context.trace_id}
    assert parents(spans) == {
        "caller": None,
        "add order": "caller",
        "process order": "add order",
        "step fetch": "process order",
        "step notify": "process order",
        "add notify": "step notify",
        "process notify": "add notify",
        "POST": "process notify",
    }
    run = spans["process order"]
    assert [link.context.span_id for link in run.links] == [spans["add order"].context.span_id]
    assert dict(run.attributes or {}) == {
        "messaging.system": "jobqueue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": job.id,
        "messaging.client.id": runtime.name,
        "jobqueue.type": "order",
        "jobqueue.attempt": 1,
        "jobqueue.outcome": "die",
        "error.type": "die",
    }
    assert run.status.status_code is trace.StatusCode.ERROR
    assert "a secret" not in "".join(span.to_json() for span in spans.values())
    sent = format(spans["POST"].context.span_id, "016x")
    assert hooks[1]["traceparent"].startswith(f"00-{format(run.context.trace_id, '032x')}-{sent}-")


async def test_each_attempt_of_a_worker_over_http_is_a_span_below_the_addition(
    queue: JobQueue, exporter: InMemorySpanExporter
) -> None:
    async with serving(queue) as url, AsyncClient(url) as client:
        worker = client.worker("default", drain=0, poll=0.1)

        @worker.handler("often")
        def often(job: BlockingJob) -> None:
            def fetch() -> None:
                if job.attempt == 1:
                    raise OSError("a secret")

            job.step("fetch", fetch)
            asyncio.run(inner(url))

        async def inner(url: str) -> None:
            async with AsyncClient(url) as own:
                await own.add_all([NewJob(type="a", queue="idle"), NewJob(type="b", queue="idle")])

        async with worker.working():
            await ended(queue, (await client.add("often", backoff=0)).id)
    spans = exporter.get_finished_spans()
    assert Counter(span.name for span in spans) == {"add often": 1, "process often": 2, "step fetch": 2, "add": 1}
    (added,) = [span for span in spans if span.name == "add often"]
    runs = [span for span in spans if span.name == "process often"]
    assert {span.context.trace_id for span in spans} == {added.context.trace_id}
    assert [span.parent and span.parent.span_id for span in runs] == [added.context.span_id] * 2
    assert [(span.attributes or {})["jobqueue.outcome"] for span in runs] == ["fail", "success"]
    (bulk,) = [span for span in spans if span.name == "add"]
    assert bulk.parent is not None
    assert bulk.parent.span_id == runs[1].context.span_id
    assert (bulk.attributes or {})["messaging.batch.message_count"] == 2
    failed = [span for span in spans if span.name == "step fetch" and not span.status.is_ok]
    assert [(span.attributes or {})["error.type"] for span in failed] == ["OSError"]


async def test_a_trace_is_passed_on_where_nobody_records_spans(queue: JobQueue, hooks: list[dict[str, str]]) -> None:
    runtime = await queue.open()
    await runtime.queues.put("hooks", {"processors": {ANY_TYPE: {"kind": "webhook", "url": hooks[0]["url"]}}})
    await runtime.queues.put("shell", {"processors": {ANY_TYPE: {"kind": "command", "name": "show"}}})
    async with serving(queue) as url, ClientSession(url, headers=TRACED) as http:

        async def post(path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
            async with http.post(f"/v1/{path}", json=body, headers=headers) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json() if answer.status != 204 else {}

        member = {"type": "member", "queue": "hooks"}
        batch = await post("batches", {"jobs": [member], "onSuccess": {"type": "callback", "queue": "idle"}})
        shell = await post("jobs", {"type": "shell", "queue": "shell", "onSuccess": {"type": "child", "queue": "idle"}})
        assert {name: shell[name] for name in TRACED} == TRACED
        shown = await ended(queue, shell["id"])
        assert shown.result == f"{TRACED['traceparent']} {TRACED['tracestate']}"
        assert (await ended(queue, batch["jobs"][0]["id"])).traceparent == TRACED["traceparent"]
        assert {name: hooks[1][name] for name in TRACED} == TRACED
        for _ in range(2):
            handed = await post("queues/idle/claim", {"worker": "w", "wait": 30}, traceparent="nonsense")
            assert {name: handed["job"][name] for name in TRACED} == TRACED
            assert handed["job"]["type"] in {"callback", "child"}
        requeued = await post(f"jobs/{shell['id']}/requeue", {}, traceparent=f"00-{'1' * 32}-{SPAN}-00")
        assert requeued["traceparent"] == TRACED["traceparent"]
        for wrong in ("nonsense", f"00-{'0' * 32}-{SPAN}-01"):
            assert TRACED.keys().isdisjoint(await post("jobs", {"type": "x", "queue": "none"}, traceparent=wrong))
        odd = {"traceparent": 17, "tracestate": {"a": 1}}
        await runtime.jobs.collection.update_one({"_id": ObjectId(shell["id"])}, {"$set": odd})
        assert (await queue.get(shell["id"])).traceparent is None
