"""Steps on the command line."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.verdict import Suspension
from jobqueue.services.runs.suspending import suspend_for_signal
from tests.support.data.factories import claim, claimed_job, fail, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.acceptance.cli.conftest import Here


def prepared(settings: Settings, work: Callable[[Runtime], Any]) -> Any:
    async def do() -> Any:
        async with open_runtime(settings) as runtime:
            return await work(runtime)

    return asyncio.run(do())


async def failed(runtime: Runtime) -> Job:
    """Make a job that has failed after three steps."""
    claimed = await claimed_job(runtime, attempts=1)
    for name, result in (("fetch", {"rows": 3}), ("import", "x" * 20_000), ("publish", None)):
        await runtime.work.steps.record(claimed.job, claimed.token, name, result, seconds=1.5)
    return await fail(runtime, claimed)


async def asleep(runtime: Runtime) -> Job:
    """Make a job that sleeps."""
    claimed = await claimed_job(runtime)
    step = await runtime.work.steps.begin_sleep(claimed.job, claimed.token, "rest", seconds=600)
    await runtime.work.settle(claimed.job, claimed.token, Suspension(until=step.until, wait=Wait(names=("rest",))))
    return await runtime.jobs.whole(claimed.job.id)


def remaining(settings: Settings, job: Job) -> tuple[State, list[str]]:
    async def read(runtime: Runtime) -> tuple[State, list[str]]:
        present = await runtime.jobs.whole(job.id)
        return present.state, [step.name for step in present.steps or ()]

    seen: tuple[State, list[str]] = prepared(settings, read)
    return seen


def test_steps_are_listed(settings: Settings, here: Here) -> None:
    job = prepared(settings, failed)
    lines = [line.split() for line in here("steps", job.id).out.splitlines()]
    assert lines[0] == ["NAME", "KIND", "STATE", "ATTEMPT", "TRIES", "START", "DURATION", "SIZE", "ERROR"]
    assert [(line[0], line[2], line[6]) for line in lines[1:]] == [
        ("fetch", "finished", "1.500"),
        ("import", "finished", "1.500"),
        ("publish", "finished", "1.500"),
    ]
    assert lines[2][-2:] == ["19.5", "KiB"]
    items = json.loads(here("steps", job.id, "--json").out)["items"]
    assert [(item["name"], item["state"], item.get("stored")) for item in items] == [
        ("fetch", "finished", None),
        ("import", "finished", True),
        ("publish", "finished", None),
    ]
    assert items[0]["result"] == {"rows": 3}


def test_a_wait_is_shown(settings: Settings, here: Here) -> None:
    job = prepared(settings, asleep)
    assert here("steps", job.id).out.splitlines()[1].split()[:3] == ["rest", "sleep", "waits"]
    shown = here("show", job.id).out
    assert "waits" in shown
    assert ", by rest" in shown
    assert "rest  sleep  waits  until " in shown
    assert "by sleep rest" in here("why", job.id).out


def test_a_job_without_steps_says_so(settings: Settings, here: Here) -> None:
    async def plain(runtime: Runtime) -> Job:
        return (await claimed_job(runtime)).job

    ran = here("steps", prepared(settings, plain).id)
    assert (ran.code, ran.out, ran.err) == (0, "", "the job has no steps\n")


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ((), ["fetch", "import", "publish"]),
        (("--from-step", "import"), ["fetch"]),
        (("--all-steps",), []),
    ],
)
@pytest.mark.parametrize("way", ["one", "many", "group", "trial"])
def test_a_requeue_names_the_steps_that_run_again(
    settings: Settings, here: Here, way: str, words: tuple[str, ...], left: list[str]
) -> None:
    job = prepared(settings, failed)
    fingerprint = json.loads(here("failures", "--json").out)["items"][0]["fingerprint"]
    target = {
        "one": ("requeue", job.id),
        "many": ("requeue", "--filter", '{"state": "failed"}', "--yes"),
        "group": ("failures", "requeue", fingerprint, "--yes"),
        "trial": ("failures", "requeue", fingerprint, "--trial"),
    }[way]
    ran = here(*target, *words)
    assert ran.code == 0, ran.err
    assert remaining(settings, job) == (State.PENDING, left)


def test_a_step_that_cannot_be_meant_is_refused(settings: Settings, here: Here) -> None:
    job = prepared(settings, failed)
    ran = here("requeue", job.id, "--from-step", "nothing")
    assert (ran.code, ran.err) == (2, "error: fromStep: the job has no step 'nothing'\n")
    ran = here("requeue", job.id, "--from-step", "")
    assert (ran.code, "1 to 100" in ran.err) == (2, True)
    ran = here("requeue", job.id, "--from-step", "fetch", "--all-steps")
    assert (ran.code, "do not go together" in ran.err) == (2, True)
    assert remaining(settings, job)[0] == State.FAILED


async def awaits(runtime: Runtime) -> Job:
    """Make a job that waits for a signal."""
    claimed = await claimed_job(runtime)
    await suspend_for_signal(runtime.work, claimed.job, claimed.token, "approved")
    return await runtime.jobs.get(claimed.job.id)


async def in_doubt(runtime: Runtime) -> Job:
    """Make a job that waits for a person to say whether a step has happened."""
    claimed = await claimed_job(runtime, attempts=2, backoff=0)
    await runtime.work.steps.mark(claimed.job, claimed.token, "charge")
    await fail(runtime, claimed)
    again = await claim(runtime)
    wait = Wait(names=("charge",), doubt="charge")
    await runtime.work.settle(again.job, again.token, Suspension(wait=wait))
    return await runtime.jobs.get(again.job.id)


def test_a_signal_is_sent_and_the_inbox_is_listed(here: Here, settings: Settings) -> None:
    job = prepared(settings, awaits)
    listed = here("list", "--waiting", "signal")
    assert job.id in listed.out
    assert "waits for the signal approved" in listed.out
    assert "waits for the signal approved" in here("why", job.id).out
    other = here("signal", job.id, "aproved", "true")
    assert (other.out, other.err) == (
        f"{job.id} signalled\n",
        "the job waits for approved; it keeps aproved until it asks for that\n",
    )
    sent = here("signal", job.id, "approved", '{"by": "ann"}', "--id", "1", "--json")
    assert sent.err == ""
    assert json.loads(sent.out) == {"jobId": job.id, "id": "1", "name": "approved", "existed": False}
    assert here("signal", job.id, "approved", "--id", "1").out == f"{job.id} had the signal already\n"
    assert job.id not in here("list", "--waiting", "signal").out
    shown = json.loads(here("show", job.id, "--json").out)
    assert (shown["state"], shown["steps"][0]["result"]) == ("pending", {"by": "ann"})
    wrong = here("signal", job.id, "undo:x")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert here("signal", "0" * 24, "approved").code != 0


@pytest.mark.parametrize(
    ("words", "result"), [(["--happened", '{"n": 1}'], {"n": 1}), (["--happened"], None), (["--not-happened"], "gone")]
)
def test_a_doubt_is_decided(here: Here, settings: Settings, words: list[str], result: Any) -> None:
    job = prepared(settings, in_doubt)
    assert "in doubt: did charge happen?" in here("list", "--waiting", "doubt").out
    assert "in doubt: did charge happen?" in here("why", job.id).out
    assert here("decide", job.id, "charge").code == 2
    assert here("decide", job.id, "charge", "--happened", "--not-happened").code == 2
    decided = here("decide", job.id, "charge", *words)
    assert decided.out == f"{job.id} pending\n"
    steps = {step["name"]: step["result"] for step in json.loads(here("steps", job.id, "--json").out)["items"]}
    assert steps.get("charge", "gone") == result
    again = here("decide", job.id, "charge", *words)
    assert (again.code != 0, again.err.count("\n")) == (True, 1)
