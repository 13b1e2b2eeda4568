"""A careful repair over HTTP, with the Python client, and on the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import AsyncClient
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.errors import ConflictError, InvalidInputError
from tests.integration.bulk.test_careful_operations import look, work
from tests.integration.dashboard.bulk.test_operations import terms
from tests.support.browser.html import first, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import claim, claimed_job, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client

ERROR = JobError(kind="Boom", message="no such country", step="charge")
MARK = fingerprint("work", ERROR)
PATCH = {"address": {"country": "AT", "old": None}}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


async def failures(runtime: Runtime, count: int) -> list[str]:
    """Add jobs that fail in their second step; return their ids."""
    ids = []
    for number in range(count):
        data = {"address": {"country": "DE", "old": 1}, "n": number}
        claimed = await claimed_job(runtime, attempts=1, data=data)
        await runtime.work.steps.record(claimed.job, claimed.token, "fetch", number)
        await fail(runtime, claimed, ERROR)
        ids.append(claimed.job.id)
    return ids


async def post(client: Client, path: str, body: Any, status: int) -> Any:
    answer = await client.post(f"/v1/{path}", json=body)
    assert answer.status == status, await answer.text()
    return await answer.json(content_type=None)


async def test_a_patch_is_previewed_and_checked_and_steps_are_kept(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await failures(idle_runtime, 4)
    await idle_runtime.queues.patch("default", {"check": True})

    async def check(_config: Any, _queue: str, _kind: str, data: Any) -> None:
        if data["n"] == 1:
            raise InvalidInputError({"data.n": ["must not be 1"]})

    monkeypatch.setattr(idle_runtime.configs, "check", check)
    body = {"dataPatch": PATCH, "fromStep": "charge"}
    preview = await post(client, f"failures/{MARK}/requeue", body | {"dryRun": True, "trial": 2}, 200)
    assert (preview["matched"], [sample["id"] for sample in preview["dataSamples"]]) == (4, ids[:3])
    assert preview["dataSamples"][0]["before"] == {"address": {"country": "DE", "old": 1}, "n": 0}
    assert preview["dataSamples"][0]["after"] == {"address": {"country": "AT"}, "n": 0}
    assert [sample["problem"] is None for sample in preview["dataSamples"]] == [True, False, True]
    begun = await post(client, f"failures/{MARK}/requeue", body, 202)
    assert (begun["dataPatch"], begun["results"], begun["stopped"]) == (PATCH, None, None)
    ended = await look(idle_runtime, begun["id"])
    assert (ended.done, [refused["id"] for refused in ended.failures]) == (3, [ids[1]])
    assert "must not be 1" in ended.failures[0]["reason"]
    claimed = await claim(idle_runtime)
    assert (claimed.job.data["address"], dict(claimed.results)) == ({"country": "AT"}, {"fetch": 0})
    tried = await post(client, f"failures/{MARK}/requeue", {"trial": True, "dataPatch": {"n": 7}}, 200)
    assert (tried["job"]["id"], tried["job"]["data"]["n"]) == (ids[1], 7)


async def test_rules_stop_an_operation_and_it_can_go_on(client: Client, idle_runtime: Runtime) -> None:
    ids = await failures(idle_runtime, 6)
    rules = {"trial": 1, "then": True, "pace": 2, "stopAfter": 1}
    begun = await post(client, f"failures/{MARK}/requeue", rules, 202)
    assert {name: begun[name] for name in rules} == rules
    assert (begun["isTrial"], begun["results"]["unfinished"]) == (True, 0)
    assert (await post(client, f"operations/{begun['id']}/resume", {}, 409))["title"]
    await look(idle_runtime, begun["id"])
    await succeed(idle_runtime, await claim(idle_runtime))
    await look(idle_runtime, begun["id"])
    await work(idle_runtime, bad=1)
    await look(idle_runtime, begun["id"])
    url = str(client.make_url("/"))
    async with AsyncClient(url) as calls:
        stopped = await calls.operation(begun["id"])
        assert (stopped.state, stopped.done, stopped.is_trial, stopped.pace) == ("stopped", 3, False, 2)
        assert stopped.results == {"unfinished": 0, "succeeded": 2, "failed": 1, "unknown": 0}
        assert stopped.stopped is not None
        assert stopped.stopped["why"] == "failures"
        assert [again["reason"] for again in stopped.failed_again] == ["Boom: it broke"]
        page = await main_of(client, f"/operations/{begun['id']}")
        shown = terms(page)
        assert (shown["Succeeded"], shown["Failed again"]) == ("2", "1")
        assert shown["Rules"] == "a trial of 1, which is over; 2 unfinished at once; stop after 1 failed again"
        assert "It stopped. 1 job failed again of the 3" in words(first(page, ".why"))
        assert "Boom: it broke" in words(first(page, "#again tbody tr"))
        assert "failed again" in words(first(await main_of(client, "/operations"), "tbody tr"))
        resumed = await calls.resume_operation(begun["id"], pace="600/m", stop_after=None)
        assert (resumed.state, resumed.pace, resumed.stop_after) == ("running", "600/m", None)
        with pytest.raises(ConflictError):
            await calls.resume_operation(begun["id"])
        # So many a minute come one after the other.
        assert (await look(idle_runtime, begun["id"])).done == 4
        await calls.stop_operation(begun["id"])
        preview = await calls.preview_many("requeue", {"id": ids[0]}, data_patch={"n": None})
        assert preview.data_samples == []
        other = await calls.requeue_many(all_jobs=True, trial=3, pace=1, data_patch={"n": None})
        assert (other.trial, other.then, other.data_patch) == (3, False, {"n": None})
        assert (await look(idle_runtime, other.id)).done == 1


async def test_rules_that_cannot_be_are_named(client: Client) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"trial": 0}, "trial"),
        ({"trial": 1001}, "trial"),
        ({"trial": "1"}, "trial"),
        ({"trial": True, "pace": 3}, "pace"),
        ({"then": True}, "then"),
        ({"pace": 0}, "pace"),
        ({"pace": 1001}, "pace"),
        ({"pace": True}, "pace"),
        ({"pace": 1.5}, "pace"),
        ({"pace": "0/m"}, "pace"),
        ({"pace": "60001/m"}, "pace"),
        ({"pace": {"$gt": 1}}, "pace"),
        ({"stopAfter": 101}, "stopAfter"),
        ({"dataPatch": [1]}, "dataPatch"),
        ({"dataPatch": {"$set": 1}}, "dataPatch.$set"),
        ({"dataPatch": {}, "data": {}}, "dataPatch"),
        ({"trial": True, "dataPatch": {}, "data": {}}, "dataPatch"),
    ]
    for body, named in cases:
        answer = await post(client, f"failures/{MARK}/requeue", body, 422)
        assert list(answer["errors"]) == [named], body
