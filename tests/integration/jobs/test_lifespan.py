"""A queue that is open as long as a web application runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from jobqueue import State

if TYPE_CHECKING:
    from jobqueue import JobQueue

LONG = 60


async def test_a_queue_opens_and_closes_with_its_application(queue: JobQueue) -> None:
    async def place(request: web.Request) -> web.Response:
        return web.json_response({"job": (await queue.add("pack", {"order": request.match_info["order"]})).id})

    app = web.Application()
    app.cleanup_ctx.append(queue.lifespan)
    app.router.add_post("/orders/{order}", place)
    async with TestClient(TestServer(app)) as client, client.post("/orders/7") as reply:
        runtime = await queue.open()
        job_id = (await reply.json())["job"]
    assert await queue.open() is not runtime
    assert (await queue.get(job_id)).state == State.PENDING


async def test_an_application_may_run_the_handlers_too(queue: JobQueue) -> None:
    @queue.handler("pack")
    async def pack(job: Any) -> str:
        return f"packed {job.data['order']}"

    async with queue.lifespan(work=True)(object()):
        job = await queue.add("pack", {"order": 7})
        assert (await queue.wait(job.id, LONG)).result == "packed 7"
    again = await queue.add("pack", {"order": 8})
    assert (await queue.get(again.id)).state == State.PENDING
