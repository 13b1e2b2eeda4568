"""A job with as many signals as it can keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.steps.signal import MOST_WAITING
from tests.support.data.factories import claimed_job

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime


async def test_the_page_of_a_link_does_not_say_that_a_question_is_answered(idle_runtime: Runtime) -> None:
    job = (await claimed_job(idle_runtime)).job
    url = await idle_runtime.links.make(job.id, "q", "approved", choices=None, title="", by="", timeout=60)
    waiting = [{"id": str(number), "name": "other", "value": 1} for number in range(MOST_WAITING)]
    await idle_runtime.jobs.collection.update_one({}, {"$set": {"signals": waiting}})
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as client:
        path = url.removeprefix("http://127.0.0.1:8080")
        full = await client.post(path, data={"choice": "Approve"})
        assert (full.status, "was not kept" in await full.text()) == (409, True)
        await idle_runtime.jobs.collection.update_one({}, {"$set": {"signals": []}})
        kept = await client.post(path, data={"choice": "Approve"})
        assert (kept.status, "Your answer is Approve" in await kept.text()) == (200, True)


async def test_a_bundle_says_that_it_lacks_the_value_of_a_large_signal(idle_runtime: Runtime) -> None:
    job = (await claimed_job(idle_runtime)).job
    await idle_runtime.signals.send(job.id, "small", 1)
    await idle_runtime.signals.send(job.id, "large", "x" * 2_000)
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        made = await (await client.get(f"/v1/jobs/{job.id}/bundle")).json()
    assert [("value" in signal, signal["name"]) for signal in made["job"]["signals"]] == [
        (True, "small"),
        (False, "large"),
    ]
    assert made["cut"] == ["the value of the signal large, which no step has taken: it is over 1,024 bytes"]
