"""The editor of schedules: a preview first, one call then, and nothing typed is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.api.jobs.new_jobs import new_job
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.schedules import schedule as schedules
from tests.support.browser.forms import PAGE, fields, opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.browser.visit import visitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client

NEW = "/schedules/new"
EDIT = "/schedules/nightly/edit"
JOB = {"type": "report", "queue": "media", "data": {"n": 1}, "attempts": 5, "meta": {"user_id": 7}}
NIGHTLY = {"cron": "30 2 * * 1-5", "timezone": "Europe/Berlin", "job": JOB, "missed": "skip"}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


async def page(client: Client, path: str, values: dict[str, str], status: int = 200) -> BeautifulSoup:
    """Send a form, and return the page that is shown again."""
    reply = await client.post(
        path, data=values, headers={**PAGE, "Sec-Fetch-Site": "same-origin", "Cookie": "jobqueue_zone=America/New_York"}
    )
    text = await reply.text()
    assert reply.status == status, words(parsed(text))
    return parsed(text)


async def shown(client: Client, name: str) -> Any:
    return await (await client.get(f"/v1/schedules/{name}")).json()


async def saved(client: Client, path: str, looked: BeautifulSoup) -> str:
    """Save what a page has shown; return where that leads."""
    digest = str(first(looked, "button[name=do]")["value"])
    reply = await send(client, path, fields(first(looked, "main form")) | {"do": digest})
    assert reply.status == 303, words(parsed(await reply.text()))
    return reply.headers["Location"]


async def test_a_schedule_is_made_after_a_look_at_its_starts(client: Client) -> None:
    typed = await opened(client, NEW) | {"name": "nightly", "cron": "30 2 * * 1-5", "timezone": "Europe/Berlin"}
    typed |= {"job.type": "report", "job.queue": "media", "job.data": '{"n": 1}', "job": '{"attempts": 5}'}
    looked = await page(client, NEW, typed | {"missed": "skip"})
    starts = first(looked, "#starts")
    assert "Mondays to Fridays at 02:30, Berlin" in words(starts)
    assert "clocks go" in words(starts)
    rows = [words(row) for row in starts.select("ol li")]
    assert len(rows) == 10
    assert all("02:30" in row and "in New York" in row for row in rows)
    assert "job.attempts \N{EN DASH} 5" in words(first(looked, "#changes"))
    curl = first(looked, "#curl pre").get_text()
    assert "-X PUT" in curl
    assert "If-None-Match: *" in curl
    assert (await client.get("/v1/schedules/nightly")).status == 404, "nothing happens yet"
    assert await saved(client, NEW, looked) == "/schedules?name=nightly"
    stored = await shown(client, "nightly")
    wanted = {**NIGHTLY, "job": {"type": "report", "queue": "media", "data": {"n": 1}, "attempts": 5}}
    assert {field: stored[field] for field in wanted} == wanted
    # The name is taken now; all that was typed is still there.
    again = await page(client, NEW, typed, 422)
    assert "another schedule already" in words(first(again, "#p-name"))
    assert fields(first(again, "main form"))["cron"] == "30 2 * * 1-5"


async def test_only_what_was_shown_is_saved(client: Client, idle_runtime: Runtime) -> None:
    await client.put("/v1/schedules/nightly", json=NIGHTLY)
    form = await opened(client, EDIT)
    same = await page(client, EDIT, form)
    assert "Nothing differs" in words(same)
    assert "It is paused" not in words(same)
    assert not same.select("button[name=do]")
    looked = await page(client, EDIT, form | {"cron": "", "every": "5400", "paused": "1"})
    changes = words(first(looked, "#changes"))
    assert 'cron "30 2 * * 1-5" null' in changes
    assert "every null 5400" in changes
    assert "paused false true" in changes
    assert "It is paused: it makes none of these" in words(first(looked, "#starts"))
    # An edit after the look is shown before it is saved.
    digest = str(first(looked, "button[name=do]")["value"])
    other = await page(client, EDIT, fields(first(looked, "main form")) | {"every": "7200", "do": digest})
    assert "every null 7200" in words(first(other, "#changes"))
    assert (await shown(client, "nightly"))["every"] is None
    await saved(client, EDIT, other)
    stored = await shown(client, "nightly")
    assert (stored["every"], stored["paused"], stored["job"], stored["missed"]) == (7200, True, JOB, "skip")
    entries = idle_runtime.database.collection("audit").find({"target.name": "nightly"})
    assert [entry["action"] async for entry in entries] == ["put", "put"]


async def test_a_clash_shows_both_and_keeps_what_was_typed(client: Client) -> None:
    await client.put("/v1/schedules/nightly", json=NIGHTLY)
    looked = await page(client, EDIT, await opened(client, EDIT) | {"cron": "0 4 * * *", "job.queue": "own"})
    await client.put("/v1/schedules/nightly", json={**NIGHTLY, "cron": "0 5 * * *"})
    typed = fields(first(looked, "main form")) | {"do": str(first(looked, "button[name=do]")["value"])}
    clash = await page(client, EDIT, typed, 412)
    assert "somebody has changed it" in words(first(clash, "#trouble"))
    told = words(first(clash, "main form"))
    assert "It is now 0 5 * * *" in told
    assert "It is now media" in told
    again = await page(client, EDIT, fields(first(clash, "main form")))
    assert 'cron "0 5 * * *" "0 4 * * *"' in words(first(again, "#changes"))
    await saved(client, EDIT, again)
    assert (await shown(client, "nightly"))["cron"] == "0 4 * * *"


async def test_every_mistake_is_told_at_its_field(client: Client) -> None:
    form = await opened(client, NEW) | {"name": "x", "cron": "* * * * *", "job.type": "a"}
    wrong: dict[str, dict[str, str]] = {
        "name": {"name": "a b"},
        "cron": {"cron": "61 * * * *"},
        "timezone": {"timezone": "Moon"},
        "every": {"cron": "", "every": "0"},
        "missed": {"missed": "most"},
        "job.type": {"job.type": ""},
        "job.queue": {"job.queue": "a/b"},
        "job.data": {"job.data": "[1]"},
        "job": {"job": '{"attempts": 0}'},
    }
    for field, typed in wrong.items():
        refused = await page(client, NEW, form | typed, 422)
        problems = {str(tag["id"]): words(tag) for tag in refused.select("p.why[id^=p-]")}
        assert list(problems) == [f"p-{field}"], (field, problems, words(first(refused, "#trouble")))
    double = await page(client, NEW, form | {"job": '{"queue": "a"}'}, 422)
    assert "Has fields of its own above: queue" in words(first(double, "main form"))
    both = await page(client, NEW, form | {"every": "60"}, 422)
    assert "together with cron" in words(first(both, "main form"))
    assert (await client.get("/v1/schedules/x")).status == 404


async def test_a_token_for_one_queue_makes_schedules_of_it(idle_runtime: Runtime) -> None:
    _, own = await idle_runtime.access.create(roles=["admin"], queues=["own"], by=Actor(name="ann", via="http"))
    others = {"every": 60, "job": {"type": "a", "queue": "theirs"}}
    read = schedules.read("theirs", others, new_job)
    await idle_runtime.schedules.put(read)
    async with visitor(idle_runtime, open_to_all=False) as client:
        await client.post("/login", data={"token": own}, headers={**PAGE, "Sec-Fetch-Site": "same-origin"})
        form = await opened(client, NEW) | {"cron": "30 2 * * *", "job.type": "a", "job.queue": "own"}
        taken = await page(client, NEW, form | {"name": "theirs"}, 403)
        assert "belongs to others" in words(first(taken, "#trouble"))
        assert fields(first(taken, "main form"))["cron"] == "30 2 * * *", "nothing typed is lost"
        looked = await page(client, NEW, form | {"name": "mine"})
        assert await saved(client, NEW, looked) == "/schedules?name=mine"
        headers = {"Authorization": f"Bearer {own}"}
        asked = [
            (await client.post(f"/v1/schedules/{name}/preview", json={"every": 60}, headers=headers)).status
            for name in ("mine", "absent", "theirs", "preview")
        ]
        assert asked == [200, 200, 404, 200]
        assert (await client.get("/v1/schedules/preview", headers=headers)).status == 404
        refused = await client.put(
            "/v1/schedules/theirs?dryRun=true",
            json={"every": 60, "job": {"type": "a", "queue": "own"}},
            headers=headers,
        )
        assert refused.status == 403
    assert (await idle_runtime.schedules.get("theirs")).schedule == read


async def test_a_job_of_many_kilobytes_is_taken(client: Client) -> None:
    form = await opened(client, NEW) | {"name": "large", "cron": "30 2 * * *", "job.type": "a"}
    data = {"text": "<b>" * 100_000}
    looked = await page(client, NEW, form | {"job.data": json.dumps(data)})
    await saved(client, NEW, looked)
    assert (await shown(client, "large"))["job"]["data"] == data
    edit = await client.get("/schedules/large/edit", headers=PAGE)
    assert "change it over the API" in words(parsed(await edit.text()))


async def test_a_schedule_is_deleted_after_a_question(client: Client, idle_runtime: Runtime) -> None:
    await client.put("/v1/schedules/nightly", json=NIGHTLY)
    path = "/schedules/nightly/delete"
    form = await opened(client, path)
    await client.post("/v1/schedules/nightly/pause")
    clash = await page(client, path, form, 412)
    assert "somebody has changed it" in words(first(clash, "#trouble"))
    reply = await send(client, path, fields(first(clash, "main form")))
    assert (reply.status, reply.headers.get("Location")) == (303, "/schedules"), await reply.text()
    assert (await client.get("/v1/schedules/nightly")).status == 404
    # So is one that another tool has spoilt; the page of all has the link.
    await idle_runtime.schedules.store.collection.insert_one({"_id": "odd", "cron": 7})
    listed = parsed(await (await client.get("/schedules", headers=PAGE)).text())
    assert [str(each["href"]) for each in listed.select("tbody a[href^='/schedules/odd']")] == ["/schedules/odd/delete"]
    assert (await send(client, "/schedules/odd/delete", await opened(client, "/schedules/odd/delete"))).status == 303
    assert (await client.get("/schedules/odd/delete", headers=PAGE)).status == 404
