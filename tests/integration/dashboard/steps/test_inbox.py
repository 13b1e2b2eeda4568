"""The inbox: questions, steps in doubt, failures that hold up others, open breakers, and the last answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue import Member, NewBatch, NewJob
from jobqueue.dashboard.frame.texts import short
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.verdict import Suspension
from tests.support.browser.html import first, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import claim, claimed_job, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client

ANN = Actor(name="ann", via="http")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


async def asking(runtime: Runtime, kind: str, wait: Wait, **data: object) -> str:
    claimed = await claimed_job(runtime, kind, queue="billing", data=data)
    await runtime.work.settle(claimed.job, claimed.token, Suspension(wait=wait))
    return claimed.job.id


async def doubtful(runtime: Runtime) -> str:
    """Return a job whose step was marked as begun by a worker that never came back."""
    claimed = await claimed_job(runtime, "pay", queue="billing", attempts=3, backoff=0)
    await runtime.work.steps.begin_once(claimed.job, claimed.token, "charge")
    await fail(runtime, claimed)
    claimed = await claim(runtime, "billing")
    recorded = await runtime.work.steps.begin_once(claimed.job, claimed.token, "charge")
    assert recorded.doubt
    await runtime.work.settle(claimed.job, claimed.token, Suspension(wait=Wait(names=("charge",), doubt="charge")))
    return claimed.job.id


async def test_all_that_waits_for_people_is_in_the_inbox(client: Client, idle_runtime: Runtime) -> None:
    assert words(first(await main_of(client, "/inbox"), "h1")) == "Nothing waits for you"
    refund = await asking(
        idle_runtime, "refund", Wait(names=("approved",), signals=("approved",)), amount="39.00 EUR", order=812
    )
    pay = await doubtful(idle_runtime)
    members = [
        Member(job=NewJob(type="import", attempts=1), ref="a"),
        Member(job=NewJob(type="merge", dependency_policy="hold"), after=["a"]),
    ]
    await idle_runtime.batches.create(NewBatch(members=members))
    await fail(idle_runtime, await claim(idle_runtime))
    await idle_runtime.queues.put("mail", {"breaker": {"failures": 1, "cooldown": 300}})
    await fail(idle_runtime, await claimed_job(idle_runtime, queue="mail", attempts=1))

    page = await main_of(client, "/inbox?x")
    assert words(first(page, "h1")) == "4 things wait for you"
    assert words(first(page, "nav.seg")) == "All 4 Questions 1 In doubt 1 Other 2"
    assert [words(title) for title in page.select(".card h2")] == [
        "refund asks: approved?",
        "Did the step charge of pay happen?",
        "import failed and holds up 1 job",
        "The breaker of mail is open",
    ]
    question = words(first(page, f"#q-{refund}"))
    assert "no deadline amount 39.00 EUR" in question
    assert "Yes No Other…" in question
    assert "It happened It did not" in words(first(page, f"#d-{pay}"))
    assert [words(title) for title in (await main_of(client, "/inbox?kind=doubts")).select(".card h2")] == [
        "Did the step charge of pay happen?"
    ]

    await idle_runtime.signals.send(refund, "approved", {"ok": True}, by=ANN)
    answered = await main_of(client, "/inbox?y")
    assert [words(row).split("ann ")[1] for row in answered.select("#answers tbody tr")] == [
        f'{{"ok": true}} approved {short(refund)}'
    ]
