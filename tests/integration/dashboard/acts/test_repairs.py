"""A careful requeue on the pages: a patch that was seen, a trial, a pace, a stop, and the way on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.dashboard.frame.texts import NONE
from jobqueue.domain.attempts.attempt import JobError
from tests.integration.bulk.test_careful_operations import look, work
from tests.support.browser.forms import fields, opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import claimed_job, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


@pytest.fixture
async def group(client: Client, idle_runtime: Runtime) -> str:
    """Return the path of a group of five failures."""
    for number in range(5):
        claimed = await claimed_job(idle_runtime, "pay", attempts=1, data={"country": "DE", "n": number})
        await fail(idle_runtime, claimed, JobError(kind="Refused", message="no such country", step="charge"))
    (found,) = (await (await client.get("/v1/failures")).json())["items"]
    return f"/failures/{found['fingerprint']}/requeue"


async def sent(client: Client, path: str, form: dict[str, str], status: int) -> BeautifulSoup:
    reply = await send(client, path.partition("?")[0], form)
    text = await reply.text()
    assert reply.status == status, words(parsed(text))
    return parsed(text)


async def place(client: Client, path: str, form: dict[str, str]) -> str:
    reply = await send(client, path, form)
    assert reply.status == 303, words(parsed(await reply.text()))
    return reply.headers["Location"]


async def operation(client: Client, path: str) -> Any:
    return await (await client.get(f"/v1{path}")).json()


async def concerns(client: Client) -> list[Any]:
    return list((await (await client.get("/v1/status")).json())["items"])


async def test_a_group_is_requeued_by_rules_with_a_patch_that_was_seen(client: Client, group: str) -> None:
    form = await opened(client, group)
    assert (form["trial"], form["then"], form["stopAfter"]) == ("1", "wait", "3")
    form |= {"fromStep": "step:charge", "pace": "2", "dataPatch": '{"country": "AT"}', "attempts": "1"}
    page = await sent(client, group, form, 200)
    assert words(first(page, "#looked h2")) == "3 samples, before and after"
    assert [words(row) for row in page.select("#looked tbody tr")] == ['country "DE" "AT"'] * 3
    assert '"pace": 2' in first(page, "#curl pre").get_text()
    seen = fields(first(page, "main form")) | {"do": str(first(page, "button.p")["value"])}
    # Another patch under the same button is shown first, too.
    again = await sent(client, group, seen | {"dataPatch": '{"n": null}'}, 200)
    assert f"n 0 {NONE}" in words(first(again, "#looked"))
    assert (await (await client.get("/v1/operations")).json())["items"] == []
    here = await place(client, group, seen)
    made = await operation(client, here)
    told = {name: made[name] for name in ("trial", "then", "pace", "stopAfter", "fromStep", "dataPatch", "changes")}
    assert told == {"trial": 1, "then": False, "pace": 2, "stopAfter": 3, "fromStep": "charge"} | {
        "dataPatch": {"country": "AT"},
        "changes": {"attempts": 1},
    }


async def test_an_operation_says_what_follows_its_trial_is_resumed_and_stopped_more_than_once(
    client: Client, idle_runtime: Runtime, group: str
) -> None:
    here = await place(client, group, await opened(client, group))
    await look(idle_runtime, here.rpartition("/")[2])
    under_way = "The trial of 1 is under way; then it waits until somebody goes on with the other 4 jobs."
    page = await main_of(client, here)
    assert words(first(page, "#course")) == under_way
    assert words(first(page, "#progress small")) == "1 of 5 that matched when it began", "no time is promised"
    await work(idle_runtime)
    await look(idle_runtime, here.rpartition("/")[2])
    page = await main_of(client, f"{here}?tried")
    assert words(first(page, "#course")) == "The trial of 1 has succeeded: go on with the other 4 jobs."
    assert words(first(page, "#do-resume")) == "Go on with the other 4 jobs…"
    (concern,) = [each for each in await concerns(client) if each["kind"] == "operation"]
    assert concern["message"].endswith("has tried 1 of its jobs with success, and waits to go on with the other 4 jobs")
    for path in ("/", "/inbox", "/inbox?kind=other"):
        page = await main_of(client, path)
        assert page.select(f"a[href^='{here}']"), path
    assert "Go on with the other 4 jobs?" in words(page)
    assert "a trial of 1, then it waits to be resumed" in words(await main_of(client, here))
    form = await opened(client, f"{here}/resume")
    assert (form["pace"], form["stopAfter"]) == ("", "3")
    wrong = await sent(client, f"{here}/resume", form | {"pace": "20/h", "stopAfter": "many"}, 422)
    assert first(wrong, "#f-stopAfter")["value"] == "many"
    assert await place(client, f"{here}/resume", form | {"pace": "20/m", "stopAfter": ""}) == here
    resumed = await operation(client, here)
    assert (resumed["state"], resumed["pace"], resumed["stopAfter"]) == ("running", "20/m", None)
    assert "a trial of 1, which is over; 20 a minute" in words(first(await main_of(client, f"{here}?on"), "#progress"))
    assert not [each for each in await concerns(client) if each["kind"] == "operation"]
    assert "stop it first" in words(await main_of(client, f"{here}/resume"))
    # The second stop is another one, although its form looks like that of the first.
    for path, state in (("stop", "stopped"), ("resume", "running"), ("stop", "stopped")):
        await place(client, f"{here}/{path}", await opened(client, f"{here}/{path}"))
        assert (await operation(client, here))["state"] == state, path
    told = "It stopped. Stopped by nobody. The other 4 jobs are as before."
    assert words(first(await main_of(client, f"{here}?stopped"), "#course")) == told


async def test_one_job_is_tried_alone_with_the_patch(client: Client, idle_runtime: Runtime, group: str) -> None:
    form = await opened(client, group) | {"dataPatch": '{"country": "AT"}', "pace": "5"}
    page = await sent(client, group, form | {"do": "one-"}, 200)
    one = next(str(button["value"]) for button in page.select("main button[name=do]") if "one" in words(button))
    here = await place(client, group, fields(first(page, "main form")) | {"do": one})
    job = await idle_runtime.jobs.get(here.removeprefix("/jobs/").partition("?")[0])
    assert (job.state, job.data["country"]) == ("pending", "AT")
    assert await idle_runtime.jobs.collection.count_documents({"state": "failed"}) == 4


async def test_a_trial_tells_how_it_went_and_leads_on(client: Client, idle_runtime: Runtime, group: str) -> None:
    trial = group.replace("/requeue", "/trial")
    told = []
    for is_bad in (True, False):
        here = await place(client, trial, await opened(client, trial))
        told.append(words(first(await main_of(client, here), "#tried")))
        # Another error leads to another group.
        await work(idle_runtime, bad=int(is_bad))
        told.append(words(first(await main_of(client, f"{here}&ended"), "#tried")))
    assert told == [
        "This job is tried again. The page follows it; the others are as before.",
        "The trial has failed. The others are as before. The group",
        "This job is tried again. The page follows it; the others are as before.",
        "The trial has succeeded. 3 other jobs have failed by the same mistake. Requeue the others…",
    ]
    onward = first(await main_of(client, f"{here}&on"), "#do-others")["href"]
    form = await opened(client, str(onward))
    assert (form["trial"], form["pace"], form["stopAfter"]) == ("", "5", "3"), "one was tried already"
    for odd in ("x", "%00", "0" * 16):
        assert (await client.get(f"{here.partition('?')[0]}?tried={odd}")).status in {200, 422}, odd


@pytest.mark.parametrize("path", ["", "/jobs/many?action=requeue&which=all&q=state%3Dfailed"])
async def test_what_cannot_be_read_is_named_and_kept(client: Client, group: str, path: str) -> None:
    here = path or group
    typed = {"trial": "true", "pace": "fast", "stopAfter": "1.5", "dataPatch": "{\n"}
    page = await sent(client, here, await opened(client, here) | typed, 422)
    for name, text in typed.items():
        control = first(page, f"#f-{name}")
        assert str(control.get("value") or control.get_text()).strip() == text.strip(), name
        assert first(page, f"#p-{name}").get_text(), name
    form = await opened(client, here)
    late = await sent(client, here, form | {"trial": "", "then": "rest"}, 422)
    assert "Goes with trial" in words(first(late, "#p-then"))
    looked = await sent(client, here, form | {"trial": "2", "do": "look"}, 200)
    assert '"trial": 2' in first(looked, "#curl pre").get_text()
    patched = await sent(client, here, form | {"dataPatch": '{"n": null}'}, 200)
    assert len(patched.select("#looked tbody tr")) == 3
    assert (await (await client.get("/v1/operations")).json())["items"] == []


HOSTILE = {
    "half a character": ('{"a": "\\ud800"}', "lone surrogate"),
    "deep": ('{"a":' * 400 + "1" + "}" * 400, "nested deeper"),
    "twice": ('{"a": 1, "a": 2}', "twice"),
    "large": ('{"a": %s}' % (10**40), "64"),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_json_that_the_api_does_not_take_is_told_on_the_page(
    client: Client, idle_runtime: Runtime, group: str, kind: str
) -> None:
    text, told = HOSTILE[kind]
    page = await sent(client, group, await opened(client, group) | {"dataPatch": text}, 422)
    assert told in words(first(page, "main")), words(first(page, "main"))
    job = await idle_runtime.jobs.collection.find_one({"state": "failed"})
    assert job is not None
    path = f"/jobs/{job['_id']}/requeue"
    page = await sent(client, path, await opened(client, path) | {"data": text, "do": "confirm"}, 422)
    assert told in words(first(page, "main")), words(first(page, "main"))
