"""Answers of a server to every request that succeeds: the examples of the OpenAPI document.

``python -m tests.support.http.answers`` starts a server of its own and writes them.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.http.json_reply import JSON
from jobqueue.api.route_table import ROUTES
from jobqueue.services.application import Runtime
from jobqueue.settings import Settings
from jobqueue.testing import mongod

if TYPE_CHECKING:
    Client = TestClient[web.Request, web.Application]

EXAMPLES: Final = Path(__file__).parents[3] / "jobqueue" / "api" / "description" / "examples.json"
TOKEN: Final = "the-token-of-the-settings"  # noqa: S105 - a test's own
_BY_OPERATION: Final = {route.operation: route for route in ROUTES}
_SAID: Final[Any] = object()
_SECRETS: Final = (
    (re.compile(r"(jq_[a-z0-9]+_)[\w-]+"), r"\1the-secret-of-this-token"),
    (re.compile(r"whsec_[A-Za-z0-9+/=]+"), "whsec_dGhlIHNlY3JldCBvZiB0aGlzIHdlYmhvb2s="),
)
_HOOK: Final = {"kind": "webhook", "url": "https://example.com/thumbnail"}
_BATCH: Final = {
    "jobs": [
        {"ref": "fetch", "type": "fetch", "queue": "imports"},
        {"type": "parse", "queue": "imports", "dependsOn": ["fetch"]},
    ],
    "meta": {"user_id": 42},
}
_REASON: Final = "OutOfSpace: no space left on device 7"
_TRACE: Final = (
    'Traceback (most recent call last):\n  File "/app/media.py", line 12, in thumbnail\n    image.save(path)\n'
    + _REASON
)


class Asker:
    """Asks a server for one operation after the other, and keeps the first answer of each status.

    Args:
        client: for the server.
        runtime: the services of the server, of which nothing goes on by itself.

    Attributes:
        answers: the JSON of the answers by operation and status.
    """

    def __init__(self, client: Client, runtime: Runtime) -> None:
        self._client = client
        self.runtime = runtime
        self.answers: dict[str, dict[str, Any]] = {}

    async def ask(
        self, operation: str, body: Any = _SAID, *, query: dict[str, str] | None = None, **path: str
    ) -> dict[str, Any]:
        """Return the answer to an operation, which succeeds.

        Args:
            operation: its name.
            body: of the request; the example of the document if there is none.
            query: the query string.
            path: what the path names.
        """
        route = _BY_OPERATION[operation]
        url = route.path
        for name, value in path.items():
            url = url.replace(f"{{{name}}}", value)
        sent = route.body.example if body is _SAID and route.body is not None else None if body is _SAID else body
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = await self._client.request(route.method, url, json=sent, headers=headers, params=query or {})
        shown: dict[str, Any] = await answer.json() if answer.content_type == JSON else {}
        if answer.status not in route.replies:
            raise AssertionError((operation, answer.status, await answer.text()))
        if route.replies[answer.status].schema is not None:
            self.answers.setdefault(operation, {}).setdefault(str(answer.status), shown)
        return shown


async def answers(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the answers of a server on an empty database by operation and status."""
    runtime = await Runtime.open(replace(settings, webhook_allow=(ip_network("127.0.0.0/8"),)))
    try:
        await runtime.configs.refresh()
        async with TestClient(TestServer(make_app(runtime))) as client:
            asker = Asker(client, runtime)
            for part in (
                _system,
                _configured,
                _worked,
                _stepped,
                _batched,
                _managed,
                _failed,
                _many,
                _seen,
                _alerted,
                _pinged,
                _removed,
                _limited,
                _erased,
            ):
                await part(asker)
    finally:
        await runtime.close()
    del asker.answers["getOpenApi"]
    return asker.answers


async def _system(asker: Asker) -> None:
    for operation in ("listRoutes", "getHealth", "getReadiness", "getOpenApi"):
        await asker.ask(operation)


async def _configured(asker: Asker) -> None:
    body = _BY_OPERATION["putQueue"].body
    example = {} if body is None else body.example
    await asker.ask("putQueue", {**example, "processors": {"thumbnail": _HOOK}}, queue="media")
    await asker.ask("putQueue", {"processors": {"thumbnail": _HOOK}}, queue="old")
    for operation in ("updateQueue", "rotateQueueSecret", "pauseQueue", "resumeQueue"):
        await asker.ask(operation, queue="media")
    for operation in (
        "previewSchedule",
        "putSchedule",
        "runSchedule",
        "getSchedule",
        "pauseSchedule",
        "resumeSchedule",
    ):
        await asker.ask(operation, name="report")
    await asker.ask("listSchedules")
    await asker.ask("createToken")
    await asker.ask("listTokens")


async def _claim(asker: Asker, **body: Any) -> tuple[str, str]:
    claimed = await asker.ask("claimJob", {"worker": "w1", "version": "2.4.1", **body}, queue="media")
    return claimed["job"]["id"], claimed["token"]


async def _worked(asker: Asker) -> None:
    await asker.ask("createJob")
    await asker.ask("createJobs")
    job, token = await _claim(asker, types=["thumbnail"])
    await asker.ask("heartbeatJob", {"token": token, "progress": 40, "logs": ["half way"]}, id=job)
    await asker.runtime.registry.run_once()
    await asker.ask("listWorkers")
    for operation in ("getWorker", "drainWorker", "resumeWorker"):
        await asker.ask(operation, name="w1")
    await asker.ask("succeedJob", {"token": token, "result": {"width": 320}}, id=job)
    job, token = await _claim(asker)
    await asker.ask("retryJob", {"token": token, "delay": 60}, id=job)
    await asker.ask("explainJob", id=job)
    await asker.ask("explainQueue", queue="media")
    await asker.ask("listTypes")


async def _stepped(asker: Asker) -> None:
    """Run a job that fetches something, asks a child and a person, and is in doubt."""
    await asker.ask("createJob", {"type": "order", "queue": "media", "key": "order-7"})
    job, token = await _claim(asker)
    await asker.ask("recordStep", {"token": token, "name": "fetch", "result": {"rows": 3}}, id=job)
    await asker.ask("getStep", id=job, step="fetch")
    child = {"type": "thumbnail", "queue": "media", "data": {"src": "a.png"}}
    await asker.ask("createChildJobs", {"token": token, "name": "thumbs", "jobs": [child]}, id=job)
    await asker.ask("suspendJob", {"token": token}, id=job)
    child_id, child_token = await _claim(asker)
    await asker.ask("succeedJob", {"token": child_token, "result": {"width": 320}}, id=child_id)
    job, token = await _claim(asker)
    await asker.ask("listStepResults", id=job, step="thumbs")
    await asker.ask("suspendJob", {"token": token, "name": "approval", "signal": "approved"}, id=job)
    await asker.ask("sendSignal", id=job, name="approved")
    await asker.ask("sendSignalByKey", {"value": {"by": "ann"}}, queue="media", key="order-7", name="seen")
    job, token = await _claim(asker)
    await asker.ask("recordStep", {"token": token, "name": "pay", "once": True}, id=job)
    await asker.ask("suspendJob", {"token": token, "doubt": "pay"}, id=job)
    await asker.ask("decideStep", id=job, step="pay")
    job, token = await _claim(asker)
    await asker.ask("succeedJob", {"token": token}, id=job)
    await asker.ask("getJob", id=job)


async def _batched(asker: Asker) -> None:
    made = await asker.ask("createBatch", {**_BATCH, "sealed": False})
    batch = made["id"]
    await asker.ask("addBatchJobs", id=batch)
    claimed = await asker.ask("claimJob", {"worker": "w1"}, queue="imports")
    await asker.ask("succeedJob", {"token": claimed["token"], "result": {"n": 1}}, id=claimed["job"]["id"])
    claimed = await asker.ask("claimJob", {"worker": "w1"}, queue="imports")
    for job in made["jobs"]:
        if job["ref"] == "fetch":
            await asker.ask("getJobParent", id=claimed["job"]["id"], parent=job["id"])
    await asker.ask("getJobFamily", id=claimed["job"]["id"])
    await asker.ask("dieJob", {"token": claimed["token"], "reason": "no source"}, id=claimed["job"]["id"])
    await asker.ask("sealBatch", id=batch)
    for operation in ("getBatchGraph", "requeueBatch", "getBatch", "killBatch"):
        await asker.ask(operation, id=batch)
    await asker.ask("listBatches")


async def _managed(asker: Asker) -> None:
    job = (await asker.ask("createJob"))["id"]
    await asker.ask("updateJob", id=job)
    await asker.ask("killJob", id=job)
    await asker.ask("requeueJob", {"attempts": 3}, id=job)
    claimed, token = await _claim(asker)
    await asker.ask("failJob", {"token": token, "reason": "no route to host"}, id=claimed)


async def _failed(asker: Asker) -> None:
    new = {"type": "thumbnail", "queue": "media", "meta": {"user_id": 42}, "attempts": 1}
    for _ in range(3):
        job = (await asker.ask("createJob", new))["id"]
        claimed, token = await _claim(asker)
        await asker.ask("heartbeatJob", {"token": token, "logs": ["reading a.png"]}, id=claimed)
        await asker.ask("failJob", {"token": token, "reason": _REASON, "trace": _TRACE}, id=claimed)
    await asker.ask("listJobLogs", id=job)
    await asker.ask("bundleJob", id=job)
    groups = (await asker.ask("listFailures", query={"queue": "media"}))["items"]
    await asker.ask("getFailure", fingerprint=groups[0]["fingerprint"])
    await asker.ask("compareFailure", fingerprint=groups[0]["fingerprint"])
    search = {"filter": {"meta.user_id": 42, "state": "failed"}, "fields": ["type", "error.message"]}
    await asker.ask("searchJobs", search)
    await asker.ask("aggregateJobs")
    await asker.ask("countJobs")
    await asker.ask("listJobs", query={"state": "failed", "meta.user_id": "42"})
    await asker.ask("suggestValues", query={"field": "meta.user_id", "prefix": "4"})
    await asker.ask("requeueFailure", fingerprint=groups[0]["fingerprint"])
    careful = {"trial": 1, "then": True, "pace": 20, "stopAfter": 3, "dataPatch": {"country": "AT"}}
    await asker.ask("requeueFailure", careful, fingerprint=groups[0]["fingerprint"])


async def _many(asker: Asker) -> None:
    for operation in ("requeueJobs", "killJobs", "deleteJobs"):
        begun = await asker.ask(operation)
        await asker.ask(operation, {"filter": {"queue": "media", "state": "failed"}, "dryRun": True})
    await asker.ask("getOperation", id=begun["id"])
    await asker.ask("stopOperation", id=begun["id"])
    await asker.ask("resumeOperation", {}, id=begun["id"])
    await asker.ask("listOperations")


async def _seen(asker: Asker) -> None:
    await asker.ask("getStats", query={"queue": "media", "window": "1h"})
    # Without a beginning the series has a second, empty day in the first hour after midnight.
    today = f"{datetime.now(UTC):%Y-%m-%d}T00:00:00Z"
    await asker.ask("getStatsSeries", query={"step": "1d", "from": today})
    await asker.ask("getStatus")
    await asker.ask("listChanges", query={"kind": "schedule"})
    await asker.ask("listQueues")
    await asker.ask("getQueue", queue="media")
    await asker.ask("listQueueChanges", queue="media")


async def _alerted(asker: Asker) -> None:
    await asker.ask("putAlert", name="ops")
    await asker.ask("putAlert", {"url": "https://hooks.example.com/jobs", "kinds": ["failures"]}, name="ops")
    await asker.runtime.detector.look(await asker.runtime.alerts.store.all())
    await asker.ask("getAlert", name="ops")
    await asker.ask("muteAlert", name="ops")
    await asker.ask("testAlert", name="ops")
    await asker.ask("listAlerts")


async def _pinged(asker: Asker) -> None:
    receiver = web.Application()
    receiver.router.add_post("/", _received)
    async with TestServer(receiver) as server:
        hook = {"kind": "webhook", "url": str(server.make_url("/"))}
        await asker.ask("putQueue", {"processors": {"thumbnail": hook}}, queue="hooks")
        await asker.ask("testQueueWebhook", queue="hooks")


async def _received(_: web.Request) -> web.Response:
    return web.json_response({"pong": True})


async def _removed(asker: Asker) -> None:
    await asker.ask("deleteQueue", queue="old")


async def _limited(asker: Asker) -> None:
    limits = {"concurrency": 2, "rate": {"limit": 30, "per": 60}, "limitBy": "meta.user_id"}
    await asker.ask("putQueue", limits, queue="billing")
    for _ in range(2):
        await asker.ask("createJob", {"type": "charge", "queue": "billing", "meta": {"user_id": 42}})
    await asker.ask("claimJob", {"worker": "w1"}, queue="billing")
    await asker.ask("listQueueGroups", queue="billing")


async def _erased(asker: Asker) -> None:
    await asker.ask("eraseJobs")
    await asker.ask("eraseJobs", {"meta": {"user_id": 42}})


def shape(value: Any) -> Any:
    """Return the names and the kinds of values in JSON, of lists those of all items together."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item), sort_keys=True) for item in value})
    return "number" if type(value) in {int, float} else type(value).__name__


def write() -> None:
    """Write the answers of a server that is started for it."""
    with mongod.server() as url, tempfile.TemporaryDirectory() as folder:
        given = {"mongo_url": url, "db": "answers", "admin_token": TOKEN}
        made = asyncio.run(answers(Settings.load(given, environ={}, cwd=Path(folder))))
    text = json.dumps(made, indent=1, ensure_ascii=False)
    for secret, shown in _SECRETS:
        text = secret.sub(shown, text)
    EXAMPLES.write_text(text + "\n")


if __name__ == "__main__":
    write()
