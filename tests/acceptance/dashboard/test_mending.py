"""Tasks of an operator who mends something, by keys alone: how many it takes from the overview to the deed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from playwright.async_api import expect

from jobqueue import Member, NewBatch, NewJob
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.services.runs.suspending import suspend_for_signal
from jobqueue.store.mongo.clock import EPOCH
from tests.support.browser import chromium
from tests.support.data.factories import add, claimed_job, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from jobqueue.domain.bulk.failure_comparison import FailureComparison
    from jobqueue.services.application import Runtime
    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect.set_options(timeout=30_000)
MANY = 800


@contextlib.asynccontextmanager
async def queue_of(runtime: Runtime, name: str) -> AsyncIterator[str]:
    """Give the name of a queue; its jobs are gone afterwards, as other tests look at the same lists."""
    yield name
    await runtime.jobs.collection.delete_many({"queue": name})


async def run(runtime: Runtime, queue: str, *, bad: int = 0) -> int:
    """Run the jobs of a queue that wait, the first of which fail; return their number."""
    done = 0
    while claimed := await runtime.work.claim(queue, None, worker="acts"):
        done += 1
        await (fail(runtime, claimed) if done <= bad else succeed(runtime, claimed))
    return done


async def carry_on(runtime: Runtime, operation_id: str) -> None:
    """Carry an operation on as far as it goes, at once after a pause."""
    await runtime.operations.store.collection.update_many({"state": "running"}, {"$set": {"lease.until": EPOCH}})
    while await runtime.operations.carry_on(operation_id):
        pass


def last_part(tab: chromium.Tab) -> str:
    return tab.page.url.rpartition("/")[2].partition("?")[0]


async def test_what_broke_is_tried_once_and_then_mended_at_a_pace(
    house: House, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = house.runtime
    compare, ready = runtime.failures.compare, asyncio.Event()

    async def slow(*args: Any, **options: Any) -> FailureComparison:
        await ready.wait()
        return await compare(*args, **options)

    monkeypatch.setattr(runtime.failures, "compare", slow)
    async with queue_of(runtime, "acts-ship") as queue, chromium.tab(browser, house.base) as tab:
        for number in range(6):
            claimed = await claimed_job(runtime, "ship", queue=queue, attempts=1, data={"n": number})
            await fail(runtime, claimed, JobError(kind="CarrierError", message="the carrier is closed"))
        await tab.go("/")
        await tab.open("**/failures", "g", "f")
        await tab.to_row("the carrier is closed")
        moves = tab.pressed - 2
        await tab.open("**/failures/*", "Enter")
        # The comparison comes by itself as soon as it is made, and takes nobody's place on the page.
        compared = tab.page.locator("#compared")
        await expect(compared).to_contain_text("are being compared")
        ready.set()
        await expect(compared).to_contain_text("6 failed jobs against 0 that succeeded")
        await tab.open("**/trial", "a", "Enter")
        await tab.open("**/jobs/*?tried=*", "a", "Enter")
        tried = tab.page.locator("#tried")
        await expect(tried).to_contain_text("This job is tried again.")
        # The page follows the job while it runs.
        assert await run(runtime, queue) == 1
        await expect(tried).to_contain_text("The trial has succeeded. 5 other jobs have failed by the same mistake.")
        await tab.open("**/requeue?tried=yes", "a", "Enter")
        assert await tab.page.get_by_label("Pace").input_value() == "5"
        assert await tab.page.get_by_label("Try first").input_value() == ""
        await tab.open("**/operations/*", "a", "Enter")
        assert tab.pressed - moves <= 11, "of which each has a page of its own that says what comes"
        assert not tab.faults
        await carry_on(runtime, last_part(tab))
        assert await run(runtime, queue) == 5


async def test_hundreds_that_failed_by_wrong_data_are_mended_from_the_failed_step(
    house: House, browser: Browser
) -> None:
    runtime, jobs = house.runtime, house.runtime.jobs.collection
    async with queue_of(runtime, "acts-parse") as queue, chromium.tab(browser, house.base) as tab:
        await _many_failed(runtime, queue)
        await tab.go("/")
        await tab.open("**/failures", "g", "f")
        await tab.to_row("is no number")
        moves = tab.pressed - 2
        await tab.open("**/failures/*", "Enter")
        await tab.press("a", "Tab")
        await tab.open("**/requeue", "Enter")
        await tab.press("a", *["Tab"] * 4)
        assert await tab.focus() == "after the last finished step the beginning: forget all steps step fetch step parse"
        await tab.press("End", *["Tab"] * 3)
        await tab.page.keyboard.type('{"decimal": ","}')
        await tab.press("Control+Enter")
        looked = tab.page.locator("#looked")
        await expect(looked).to_contain_text("3 samples, before and after")
        await expect(looked.locator("tbody tr")).to_have_count(3)
        await expect(looked.locator("tbody tr").first).to_contain_text('decimal"."","')
        assert await jobs.count_documents({"queue": queue, "state": "failed"}) == MANY, "nothing happens yet"
        await tab.open("**/operations/*", "a", "Enter")
        operation = last_part(tab)
        # One is tried first; the others wait for the word of a person.
        await carry_on(runtime, operation)
        assert await run(runtime, queue) == 1
        await carry_on(runtime, operation)
        await tab.page.reload()
        await expect(tab.page.locator("#course")).to_contain_text(f"go on with the other {MANY - 1} jobs")
        await tab.open("**/resume", "a", "Enter")
        await tab.open(f"**/operations/{operation}", "a", "Control+Enter")
        await expect(tab.page.locator("#said")).to_have_text("The operation goes on.")
        await expect(tab.page.locator("#progress")).to_contain_text("a trial of 1, which is over")
        assert tab.pressed - moves <= 24
        assert not tab.faults
        await carry_on(runtime, operation)
        # The stop rule lets so many run at once; the others follow as these end.
        begun = (await runtime.operations.store.get(operation)).done - 1
        assert begun >= 50
        mended = {"queue": queue, "state": "pending", "data.decimal": ",", "steps.0.name": "fetch"}
        assert await jobs.count_documents(mended | {"steps": {"$size": 1}}) == begun


async def _many_failed(runtime: Runtime, queue: str) -> None:
    claimed = await claimed_job(runtime, "parse", queue=queue, attempts=1, data={"decimal": ".", "n": 0})
    await runtime.work.steps.record(claimed.job, claimed.token, "fetch", {"rows": 3})
    error = JobError(kind="ValueError", message="“19,0” is no number", step="parse")
    failed = await fail(runtime, claimed, error)
    one = await runtime.jobs.collection.find_one({"_id": ObjectId(failed.id)})
    assert one is not None
    others: list[dict[str, Any]] = [
        one | {"_id": ObjectId(), "data": {"decimal": ".", "n": number}} for number in range(1, MANY)
    ]
    await runtime.jobs.collection.insert_many(others)


async def test_what_failed_in_a_large_batch_is_seen_with_what_it_holds_up_and_restarted(
    house: House, browser: Browser
) -> None:
    runtime = house.runtime
    async with queue_of(runtime, "acts-batch") as queue, chromium.tab(browser, house.base) as tab:
        batch = await _large_batch(runtime, queue)
        await tab.go("/")
        await tab.open("**/batches", "g", "b")
        await tab.to_row("acts-catalogue")
        moves = tab.pressed - 2
        await tab.open(f"**/batches/{batch}", "Enter")
        await expect(tab.page.locator(".why").first).to_contain_text("2 jobs failed and hold up 2 others")
        await tab.open("**?show=stuck", "f")
        graph = tab.page.locator("#graph svg")
        await expect(graph.first).to_contain_text("publish")
        await expect(graph.first).not_to_contain_text("part-7")
        await tab.open("**/requeue", "a", "Enter")
        await expect(tab.page.locator("main")).to_contain_text("Failed: 2.")
        await tab.open(f"**/batches/{batch}", "a", "Enter")
        await expect(tab.page.locator("#said")).to_have_text("What failed runs again.")
        assert tab.pressed - moves <= 8
        assert not tab.faults
        assert await run(runtime, queue) == 4, "what failed, and what it held up"
        await runtime.database.collection("batches").delete_one({"_id": ObjectId(batch)})


async def _large_batch(runtime: Runtime, queue: str) -> str:
    """Add a batch of 120 jobs, two of which fail and hold up the last two."""
    refs = tuple(f"part-{number}" for number in range(118))
    members = [
        *(Member(job=NewJob(type="part", queue=queue, attempts=1), ref=ref) for ref in refs),
        Member(job=NewJob(type="merge", queue=queue), ref="merge", after=refs),
        Member(job=NewJob(type="publish", queue=queue), ref="publish", after=("merge",)),
    ]
    view, _ = await runtime.batches.create(NewBatch(members=tuple(members), meta={"name": "acts-catalogue"}))
    assert await run(runtime, queue, bad=2) == len(refs)
    return str(view.batch.id)


async def test_a_refund_is_approved_by_five_keys_and_by_two_touches(house: House, browser: Browser) -> None:
    runtime = house.runtime
    async with queue_of(runtime, "acts-refund") as queue:
        asked = []
        for cents in (999, 555):
            claimed = await claimed_job(runtime, "approval", queue=queue, data={"cents": cents})
            await suspend_for_signal(runtime.work, claimed.job, claimed.token, "ok", name="ok", seconds=60)
            asked.append(claimed.job.id)
        async with chromium.tab(browser, house.base) as tab:
            await tab.go("/")
            await tab.open("**/inbox", "g", "i")
            await tab.to_row("999")
            moves = tab.pressed - 3
            await tab.press("a")
            assert await tab.focus() == "Yes"
            await tab.press("Enter")
            await expect(tab.page.locator("#said")).to_contain_text("Answered: ok is true.")
            assert tab.pressed - moves <= 5
            assert not tab.faults
        async with chromium.tab(browser, house.base, width=360) as tab:
            await tab.go("/")
            # The bar is below, where the thumb is.
            await tab.page.get_by_role("link", name="Waiting").click()
            await tab.page.wait_for_url("**/inbox")
            button = tab.page.locator(".card", has_text="555").get_by_role("button", name="Yes")
            box = await button.bounding_box()
            assert box is not None
            assert (box["height"] >= 44, box["x"] + box["width"] <= 360) == (True, True)
            # A nervous thumb.
            await button.dblclick()
            await expect(tab.page.locator("#said")).to_contain_text("Answered: ok is true.")
            await expect(tab.page.locator(".card", has_text="555")).to_have_count(0)
            assert not tab.faults
        for job_id in asked:
            [step] = (await runtime.jobs.get(job_id)).steps or ()
            assert step.result is True


async def test_hidden_fields_of_a_form_are_no_keys(house: House, browser: Browser) -> None:
    job = await add(house.runtime, "typed", queue="acts-typed")
    async with chromium.tab(browser, house.base) as tab:
        await tab.go(f"/jobs/{job.id}/kill")
        await tab.press("a")
        assert await tab.focus() == "reason"
        await tab.page.keyboard.type("jaw")
        assert await tab.page.get_by_label("Reason").input_value() == "jaw"
        await asyncio.gather(tab.page.wait_for_url(f"**/jobs/{job.id}"), tab.press("Control+Enter"))
    killed = (await house.runtime.jobs.get(job.id)).error
    assert killed is not None
    assert killed.message == "jaw"
