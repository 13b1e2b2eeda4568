"""Erasure where others quote a job: messages of alerts, and operations that could not change it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock

import pytest
from bson import ObjectId

from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.bulk.rules import Rules
from jobqueue.domain.errors import ConflictError
from jobqueue.domain.work.verdict import Failure, Success
from jobqueue.services.alerts.sending import AlertSender
from tests.integration.alerts.test_alerts import alert, look
from tests.integration.bulk.test_careful_operations import look as carry
from tests.support.data.factories import claim, job_in
from tests.support.data.planted import BY, META, PERSON, document, erase, left_in, plant, running, settle

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime


async def failed_one(runtime: Runtime, **fields: Any) -> str:
    claimed = await running(runtime, "bad", **fields)
    failed = await settle(runtime, claimed, Failure(error=JobError(kind="Boom", message=plant("message"))))
    return failed.id


async def asking(runtime: Runtime, step: str) -> str:
    """Make a job of the person that is in doubt about a step."""
    made = await running(runtime, "asks")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    steps = [{"name": step, "kind": "once", "startAt": at}]
    waits = {"state": "delayed", "wait": {"names": [], "doubt": step}, "steps": steps}
    await runtime.jobs.collection.update_one({"_id": ObjectId(made.job.id)}, {"$set": waits, "$unset": {"claim": 1}})
    return made.job.id


async def test_messages_and_things_of_alerts_lose_what_they_quote(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ops", "chat"):
        await alert(idle_runtime, name)
    await failed_one(idle_runtime)
    doubtful = await asking(idle_runtime, plant("step"))
    told = await look(idle_runtime)
    assert sorted(one["kind"] for one in told) == ["doubt", "doubt", "failures", "failures"]
    sent = await claim(idle_runtime, ALERT_QUEUE)
    await settle(idle_runtime, sent, Success(code=200))
    echo = JobError(kind="server-error", message=plant("echo"))
    again = await settle(idle_runtime, await claim(idle_runtime, ALERT_QUEUE), Failure(error=echo))
    assert again.state is State.DELAYED
    await alert(idle_runtime, "late")
    with monkeypatch.context() as patched:
        patched.setattr(idle_runtime.alerts, "send", AsyncMock(side_effect=RuntimeError))
        assert len(await look(idle_runtime)) == 4
    await idle_runtime.manager.kill(doubtful, by=BY)
    assert set(await left_in(idle_runtime)) >= {"jobs", "incidents"}

    ended = await erase(idle_runtime)

    assert await left_in(idle_runtime) == {}
    assert ended.receipt is not None
    assert ended.receipt["jobs"] == 3, "with the message that was sent"
    whole = await document(idle_runtime, sent.job.id)
    assert (whole["state"], whole["data"], whole["erased"]["operation"]) == ("success", {}, ObjectId(ended.id))
    messages = idle_runtime.jobs.collection.find({"queue": ALERT_QUEUE, "data.kind": "failures", "erased": None})
    quiet = [await idle_runtime.jobs.get(str(one["_id"])) async for one in messages]
    assert quiet
    assert {(job.data["message"], str(job.data["details"])) for job in quiet} == {("erased", "{}")}
    # A message that is not sent yet is sent all the same.
    client = Mock()
    client.message.return_value.run = AsyncMock(return_value="sent")
    sender = AlertSender(client, idle_runtime.alerts.store, None)
    verdicts: list[Any] = [await sender.run(job, Mock()) for job in quiet]
    assert verdicts == ["sent"] * len(quiet)
    late = [one for one in await look(idle_runtime) if one.get("alert") == "late"]
    assert {(one["kind"], one["message"].rpartition(": ")[2]) for one in late if "kind" in one} == {
        ("failures", "erased")
    }
    assert await left_in(idle_runtime) == {}


async def test_operations_lose_the_reasons_for_which_they_name_a_job(idle_runtime: Runtime) -> None:
    job_id = await failed_one(idle_runtime)
    other = await job_in(idle_runtime, State.FAILED)
    wanted = NewOperation(action=Action.REQUEUE, by=BY, filter={"type": "bad"}, rules=Rules.of({"pace": 1}))
    made = await idle_runtime.operations.create(wanted)
    reasons = [{"id": job_id, "reason": plant("why")}, {"id": other.id, "reason": "a key"}]
    held = {"token": "t", "until": datetime(2100, 1, 1, tzinfo=UTC)}
    fields = {"failures": reasons, "failedAgain": reasons[:1], "lease": held}
    operations = idle_runtime.operations.store.collection
    await operations.update_one({"_id": ObjectId(made.id)}, {"$set": fields})
    await erase(idle_runtime)
    assert await left_in(idle_runtime) == {}
    running_on = await idle_runtime.operations.store.get(made.id)
    assert [one["reason"] for one in running_on.failures] == ["erased", "a key"]
    assert [one["reason"] for one in running_on.failed_again] == ["erased"]


async def test_a_stopped_operation_that_lost_its_values_does_not_go_on(idle_runtime: Runtime) -> None:
    first, second = await failed_one(idle_runtime), await failed_one(idle_runtime, meta={"user_id": "other"})
    wanted = NewOperation(
        action=Action.REQUEUE,
        by=BY,
        filter={"type": "bad"},
        data_patch={"country": plant("country")},
        rules=Rules.of({"trial": 1}),
    )
    made = await idle_runtime.operations.create(wanted)
    await carry(idle_runtime, made.id)
    await settle(idle_runtime, await claim(idle_runtime, "bad"), Success(result=None))
    assert (await carry(idle_runtime, made.id)).stopped is not None
    with_step = {"fromStep": plant("step"), "given": ["dataPatch", "fromStep", "trial"]}
    await idle_runtime.operations.store.collection.update_one({}, {"$set": with_step})
    await erase(idle_runtime, META)
    assert (await document(idle_runtime, first))["erased"]
    assert PERSON not in str(await idle_runtime.operations.store.get(made.id))
    assert await left_in(idle_runtime) == {"jobs": 1}, "of the other person"
    with pytest.raises(ConflictError, match="an erasure took the values"):
        await idle_runtime.operations.resume(made.id, {}, BY)
    assert (await idle_runtime.jobs.get(second)).state is State.FAILED
