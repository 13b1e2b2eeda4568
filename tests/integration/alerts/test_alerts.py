"""Alerts: each thing is told of once, with reminders and an end, by jobs that reach the receiver when they can."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.services.alerts.detector import LOOK_SECONDS
from jobqueue.services.alerts.sending import AlertLanes, AlertSender
from tests.support.data.factories import add, claim, claimed_job, fail, open_runtime, set_clock
from tests.support.waiting import eventually
from tests.unit.processors.webhook_receiver import LOOPBACK, SECRET, receiving, reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

ANN = Actor(name="ann", via="cli")
URL = "https://hooks.example.com/T0/B0/hush"


async def alert(runtime: Runtime, name: str = "ops", **fields: Any) -> None:
    await runtime.alerts.put(name, {"url": URL, "secret": SECRET, **fields}, by=ANN)


async def look(runtime: Runtime, *, after: float = 0) -> list[dict[str, Any]]:
    """Look once, so many seconds from now on; return all messages so far."""
    if after:
        set_clock(runtime, await runtime.database.clock.ask() + timedelta(seconds=after))
    await runtime.configs.refresh()
    await runtime.detector.look(await runtime.alerts.store.all())
    found = runtime.jobs.collection.find({"queue": ALERT_QUEUE}).sort("_id", 1)
    return [job["data"] async for job in found]


async def stuck(runtime: Runtime, queue: str = "media", minutes: float = 60) -> None:
    job = await add(runtime, queue=queue)
    old = job.insert_at - timedelta(minutes=minutes)
    await runtime.jobs.collection.update_one(
        {"queue": queue, "state": "pending"}, {"$set": {"insertAt": old, "readyAt": old}}
    )


async def boom(runtime: Runtime, message: str = "it broke", **fields: Any) -> Job:
    claimed = await claimed_job(runtime, attempts=1, **fields)
    return await fail(runtime, claimed, JobError(kind="Boom", message=message))


def events(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["kind"], message["event"]) for message in messages]


@contextlib.asynccontextmanager
async def sending(runtime: Runtime) -> AsyncIterator[None]:
    async with WebhookClient(allow=LOOPBACK) as client:
        await runtime.detector.run_once()
        lanes = AlertLanes(lambda: (), client, runtime.detector, "https://jobs.example.com/")
        dispatcher = runtime.dispatcher(lanes)
        running = asyncio.create_task(dispatcher.run())
        try:
            yield
        finally:
            await dispatcher.stop(0)
            await running


async def test_a_group_of_failures_is_told_of_once_then_with_reminders_its_end_and_as_growing_again(
    idle_runtime: Runtime,
) -> None:
    await alert(idle_runtime, minimumFailures=2, remindSeconds=1800)
    await boom(idle_runtime, queue="media")
    assert await look(idle_runtime) == []
    await boom(idle_runtime, queue="media")
    assert events(await look(idle_runtime)) == [("failures", "new")]
    [first] = await look(idle_runtime)
    assert first["number"] == first["episode"] == 1
    assert first["command"] == ["jobqueue", "failures", "show", first["thing"]]
    assert first["path"] == f"/failures/{first['thing']}"
    assert first["details"]["queues"] == ["media"]
    assert events(await look(idle_runtime, after=1805))[1:] == [("failures", "reminder")]
    assert len(await look(idle_runtime, after=1900)) == 2
    told = await look(idle_runtime, after=3700)
    assert events(told)[2:] == [("failures", "over")]
    assert told[2]["message"].startswith("over after 1 h: 2 jobs of type work failed")
    for _ in range(2):
        await boom(idle_runtime, queue="media")
    told = await look(idle_runtime, after=3702)
    assert events(told)[3:] == [("failures", "again")]
    assert (told[3]["episode"], told[3]["number"]) == (2, 1)
    shown = await idle_runtime.alerts.view(await idle_runtime.alerts.get("ops"))
    assert [(one["kind"], one["messages"]) for one in shown["standing"]] == [("failures", 1)]


async def test_stuck_queues_breakers_skips_and_questions_are_told_of(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.patch("media", {"concurrency": 1, "breaker": {"failures": 1, "cooldown": 60}}, by=ANN)
    await alert(idle_runtime, kinds=["queue", "breaker", "schedule", "question"], waitingSeconds=1000)
    failed = await boom(idle_runtime, queue="media")
    await idle_runtime.outboxes.cascade(failed.id)
    await stuck(idle_runtime)
    at = await idle_runtime.database.clock.ask()
    await idle_runtime.database.collection("schedules").insert_one(
        {
            "_id": "nightly",
            "every": 60,
            "job": {"type": "report", "queue": "media"},
            "incarnation": "i",
            "revision": 1,
            "nextAt": None,
            "lastSkipped": {"at": at, "reason": "a job with this key is unfinished"},
        }
    )
    asking = await add(idle_runtime, "approve", queue="media")
    await idle_runtime.jobs.collection.update_one(
        {"type": "approve"},
        {
            "$set": {
                "state": "delayed",
                "wait": {"names": ["ok"], "signals": ["ok"]},
                "steps": [{"name": "ok", "kind": "signal", "startAt": at - timedelta(seconds=900)}],
            }
        },
    )
    told = await look(idle_runtime)
    assert sorted(events(told)) == [("breaker", "new"), ("queue", "new"), ("schedule", "new")]
    assert {one["kind"]: one["path"] for one in told} == {
        "breaker": "/queues/media",
        "queue": "/queues/media",
        "schedule": "/schedules?name=nightly",
    }
    [queue] = [one for one in told if one["kind"] == "queue"]
    assert "queue media is stuck: 1 pending, the oldest for 1 h" in queue["message"]
    assert queue["details"]["reasons"] == ["no-worker", "breaker"]
    told = await look(idle_runtime, after=200)
    assert events(told)[3:] == [("question", "new")]
    assert (told[3]["path"], told[3]["details"]["job"]) == (f"/jobs/{asking.id}", asking.id)


async def test_paused_queues_other_queues_and_muted_alerts_are_silent(idle_runtime: Runtime) -> None:
    await alert(idle_runtime, queues=["media"])
    await alert(idle_runtime, "muted")
    await idle_runtime.alerts.mute("muted", 600, reason="a new disk", by=ANN)
    await idle_runtime.queues.set_paused("media", paused=True, by=ANN)
    await stuck(idle_runtime)
    await boom(idle_runtime, queue="mail")
    assert await look(idle_runtime) == []
    await idle_runtime.queues.set_paused("media", paused=False, by=ANN)
    assert [(one["alert"], one["kind"]) for one in await look(idle_runtime)] == [("ops", "queue")]
    await idle_runtime.queues.set_paused("media", paused=True, by=ANN)
    assert len(await look(idle_runtime)) == 1, "a pause is no recovery"
    told = (await look(idle_runtime, after=601))[1:]
    assert [(one["alert"], one["kind"]) for one in told] == [("muted", "failures")]


async def test_no_alert_is_about_messages(idle_runtime: Runtime) -> None:
    await alert(idle_runtime)
    for _ in range(2):
        await boom(idle_runtime, queue=ALERT_QUEUE)
    await stuck(idle_runtime, ALERT_QUEUE)
    told = await look(idle_runtime)
    assert all("kind" not in one for one in told), told


async def test_two_processes_that_look_at_once_tell_once(idle_runtime: Runtime, settings: Settings) -> None:
    await alert(idle_runtime)
    await boom(idle_runtime)
    async with open_runtime(settings) as other:
        stored = await idle_runtime.alerts.store.all()
        await asyncio.gather(*(one.detector.look(stored) for one in (idle_runtime, other) * 3))
    assert events(await look(idle_runtime)) == [("failures", "new")]


async def test_one_process_at_a_time_looks_and_none_without_alerts(idle_runtime: Runtime, settings: Settings) -> None:
    assert await idle_runtime.detector.run_once() is None
    assert not idle_runtime.detector.has_any
    await alert(idle_runtime)
    assert await idle_runtime.detector.run_once() is not None
    async with open_runtime(settings) as other:
        assert await other.detector.run_once() == LOOK_SECONDS
        assert await idle_runtime.database.collection("streams").count_documents({"_id": "alerts"}) == 1
        assert other.detector.has_any


async def test_a_receiver_that_is_down_gets_the_signed_message_later(idle_runtime: Runtime) -> None:
    async with receiving(reply("500 Oops")) as receiver:
        await alert(idle_runtime, url=receiver.url)
        await boom(idle_runtime, "<!channel> @here \u202e\x07 it & broke", queue="media")
        async with sending(idle_runtime):
            await eventually(lambda: len(receiver.requests) == 1)
            job = await eventually(lambda: _message(idle_runtime, State.DELAYED))
            assert job is not None
            assert (job.attempts_made, job.attempts) == (1, 40)
            receiver.answer = reply("202 Accepted")
            await idle_runtime.manager.patch(job.id, {"delay_til": None})
            idle_runtime.notifier.announce(job)
            await eventually(lambda: _message(idle_runtime, State.SUCCESS))
    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == f"msg_{job.id}_0"
    assert second.headers["webhook-signature"].startswith("v1,")
    body = json.loads(second.body)
    assert {"token", "path", "job"} & body.keys() == set()
    assert body["url"] == f"https://jobs.example.com/failures/{body['thing']}"
    line, link = body["text"].split("\n")
    assert "&lt;!channel&gt; @\u200bhere it &amp; broke" in line
    assert link == body["url"]
    assert line.startswith("[ops] 1 job of type work failed")


async def test_a_message_waits_while_its_alert_is_muted_and_dies_with_it(idle_runtime: Runtime) -> None:
    await alert(idle_runtime)
    await boom(idle_runtime)
    await look(idle_runtime)
    claimed = await claim(idle_runtime, ALERT_QUEUE)
    async with WebhookClient(allow=LOOPBACK) as client:
        sender = AlertSender(client, idle_runtime.alerts.store, None)
        await idle_runtime.alerts.mute("ops", 600, by=ANN)
        verdict: Any = await sender.run(claimed.job, None)  # type: ignore[arg-type]
        assert 590 < verdict.delay < 602
        await idle_runtime.alerts.delete("ops", by=ANN)
        verdict = await sender.run(claimed.job, None)  # type: ignore[arg-type]
        assert verdict.error.kind == "no-alert"
    assert await idle_runtime.database.collection("incidents").count_documents({}) == 0


async def test_only_messages_of_the_program_itself_and_tests_are_sent(idle_runtime: Runtime) -> None:
    async with receiving(reply(body=b"ok")) as receiver:
        await alert(idle_runtime, url=receiver.url)
        forged = {"alert": "ops", "incident": "0" * 32, "episode": 1, "number": 1, "at": "2026-01-01T00:00:00Z"}
        for data in (forged, forged | {"event": "test"}):
            made = await idle_runtime.producer.add(NewJob(type="alert", queue=ALERT_QUEUE, data=data, attempts=1))
        test = await idle_runtime.alerts.test("ops")
        async with sending(idle_runtime):
            await eventually(lambda: _message(idle_runtime, State.SUCCESS))
            await eventually(lambda: _is_over(idle_runtime))
    assert (await idle_runtime.jobs.get(made.id)).error == JobError(
        kind="no-message", message="this job was made by somebody else, so it is not sent"
    )
    assert [json.loads(request.body)["event"] for request in receiver.requests] == ["test"]
    assert (await idle_runtime.jobs.get(test.id)).state is State.SUCCESS


async def test_private_addresses_are_refused_as_for_other_webhooks(idle_runtime: Runtime) -> None:
    await alert(idle_runtime, url="http://127.0.0.1:9/")
    await idle_runtime.alerts.test("ops")
    claimed = await claim(idle_runtime, ALERT_QUEUE)
    async with WebhookClient() as client:
        verdict: Any = await AlertSender(client, idle_runtime.alerts.store, None).run(claimed.job, Mock())
    assert verdict.error.kind == "blocked-address"


async def _is_over(runtime: Runtime) -> bool:
    return await runtime.jobs.collection.count_documents({"queue": ALERT_QUEUE, "state": "killed"}) == 2


async def _message(runtime: Runtime, state: State) -> Job | None:
    found = await runtime.jobs.collection.find_one({"queue": ALERT_QUEUE, "state": state.value})
    return None if found is None else await runtime.jobs.get(str(found["_id"]))
