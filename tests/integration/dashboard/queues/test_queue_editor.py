"""The editor of a queue: its preview, what it saves, two people at once, and values that are put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame.texts import NONE
from jobqueue.dashboard.queues.edit import processors, settings
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.work.verdict import Success
from tests.support.browser.forms import OWN, PAGE, fields, opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.browser.visit import MOST_BYTES
from tests.support.data.factories import add, claim, claimed_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web
    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")
EDIT = "/queues/media/edit"
HOOK = {"kind": "webhook", "url": "https://example.com/hook?key=abcdef", "headers": {"X-A": "abc", "X-B": "b"}}
CONFIG = {
    "concurrency": 4,
    "rate": {"limit": 10, "per": 60},
    "retention": {"success": 86_400, "failed": 60},
    "processors": {"a.b": HOOK, "c": {"kind": "command", "name": "run"}},
}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        await idle_runtime.queues.put("media", CONFIG, by=ANN)
        yield client


async def shown(client: Client, values: dict[str, str], status: int = 200, path: str = EDIT) -> BeautifulSoup:
    reply = await send(client, path, values)
    page = parsed(await reply.text())
    assert reply.status == status, words(page)[:3000]
    return page


async def saved(client: Client, page: BeautifulSoup, status: int = 303) -> BeautifulSoup:
    """Press the button of a preview."""
    do = str(first(page, "#looked button[name=do]")["value"])
    return await shown(client, fields(first(page, "main form[method=post]")) | {"do": do}, status)


async def config(client: Client) -> Any:
    return await (await client.get("/v1/queues/media")).json()


async def changes(client: Client) -> Any:
    return (await (await client.get("/v1/queues/media/changes")).json())["items"]


async def test_a_change_is_shown_before_it_is_saved_and_nothing_else_changes(
    client: Client, idle_runtime: Runtime
) -> None:
    for _ in range(6):
        await add(idle_runtime, "a.b", queue="media")
    for _ in range(3):
        await claim(idle_runtime, "media")
    before = await config(client)
    form = await opened(client, EDIT)
    page = await shown(client, form | {"concurrency": "1", "rate.limit": "1", "timeout": "5m", "attempts": "7"})
    table = [words(row) for row in page.select("#looked tbody tr")]
    assert table == ["concurrency 4 1", "rate.limit 10 1", "attempts 3 7", "timeout null 300"]
    told = words(first(page, "#effects"))
    assert "2 jobs run above the new limit: they finish, and none starts until fewer than 1 run." in told
    assert "3 jobs wait. With these limits the last one starts in about 2 min; now at once." in told
    assert "Only jobs that are added from now on get this attempts and timeout; 6 jobs that wait or run keep" in told
    call = first(page, "#curl pre").get_text()
    assert "-X PATCH" in call
    assert "If-Match" in call
    assert '{"concurrency": 1, "attempts": 7, "timeout": 300, "rate": {"limit": 1}}' in call
    assert (await config(client))["concurrency"] == 4, "nothing happens yet"
    await saved(client, page)
    after = await config(client)
    differs = {name for name in after if after[name] != before[name]} - {"oldestPendingAge"}
    assert differs == {"concurrency", "rate", "timeout", "attempts"}
    assert after["rate"] == {"limit": 1, "per": 60}
    newest = (await changes(client))[0]
    assert (newest["action"], newest["before"]["rate"], newest["after"]["concurrency"]) == ("patch", CONFIG["rate"], 1)
    # The same form again, as after the button to go back, is done once.
    do = str(first(page, "#looked button[name=do]")["value"])
    assert (await send(client, EDIT, fields(first(page, "main form[method=post]")) | {"do": do})).status == 303
    assert len(await changes(client)) == 2


async def test_a_preview_counts_for_what_it_has_shown_only(client: Client) -> None:
    page = await shown(client, await opened(client, EDIT) | {"concurrency": "3"})
    do = str(first(page, "#looked button[name=do]")["value"])
    again = await shown(client, fields(first(page, "main form[method=post]")) | {"do": do, "concurrency": "2"})
    assert "concurrency 4 2" in words(first(again, "#looked"))
    assert (await config(client))["concurrency"] == 4
    same = await shown(client, await opened(client, EDIT), 422)
    assert "nothing differs" in words(first(same, "#trouble"))


async def test_two_people_who_edit_the_same_queue_lose_nothing(client: Client, idle_runtime: Runtime) -> None:
    form = await opened(client, EDIT) | {"concurrency": "2", "limitBy": "meta.x"}
    await idle_runtime.queues.patch("media", {"concurrency": 8, "rate": {"limit": 20}, "attempts": 5}, by=ANN)
    page = await shown(client, form, 412)
    assert "somebody has changed it" in words(first(page, "#trouble"))
    told = words(first(page, "#meanwhile"))
    for line in ("ann", "concurrency 4 → 8", "rate.limit 10 → 20", f"attempts {NONE} → 5"):
        assert line in told
    values = fields(first(page, "main form[method=post]"))
    assert (values["concurrency"], values["limitBy"]) == ("2", "meta.x"), "what was typed stays"
    assert (values["rate.limit"], values["attempts"]) == ("20", "5"), "what was not touched is as the other has it"
    present = [words(band) for band in page.select(".why b + code")]
    assert present == ["8"]
    page = await shown(client, values)
    assert [words(row) for row in page.select("#looked tbody tr")] == ["concurrency 8 2", 'limitBy null "meta.x"']
    # Somebody is faster once more: the button of the preview does nothing either.
    await idle_runtime.queues.patch("media", {"lease": 90}, by=ANN)
    page = await saved(client, page, 412)
    page = await shown(client, fields(first(page, "main form[method=post]")))
    await saved(client, page)
    after = await config(client)
    assert [after[name] for name in ("concurrency", "attempts", "lease", "limitBy")] == [2, 5, 90, "meta.x"]
    assert after["rate"]["limit"] == 20


async def test_a_queue_that_is_deleted_meanwhile_loses_nothing_that_was_typed(
    client: Client, idle_runtime: Runtime
) -> None:
    form = await opened(client, EDIT) | {"concurrency": "2"}
    pause = await opened(client, "/queues/media/pause") | {"reason": "typed"}
    await idle_runtime.queues.delete("media", by=ANN)
    page = await shown(client, form, 412)
    assert f"concurrency 4 → {NONE}" in words(first(page, "#meanwhile"))
    values = fields(first(page, "main form[method=post]"))
    assert (values["concurrency"], values["rate.limit"]) == ("2", "")
    assert "is not there now" not in words(page), "nobody has touched the processors"
    page = await shown(client, pause, 412, "/queues/media/pause")
    assert first(page, "#f-reason")["value"] == "typed"
    await saved(client, await shown(client, values))
    assert (await config(client))["concurrency"] == 2


async def test_effects_are_told_in_words(client: Client, idle_runtime: Runtime) -> None:
    await idle_runtime.queues.put("media", {"limitBy": "meta.user", "concurrency": 4}, by=ANN)
    for user in (1, 1, 1, 2):
        await add(idle_runtime, queue="media", meta={"user": user})
    for _ in range(3):
        await claim(idle_runtime, "media")
    done = await claimed_job(idle_runtime, queue="media", priority=9, meta={"user": 3})
    await idle_runtime.work.settle(done.job, done.token, Success())
    for typed, told in (
        ({"concurrency": "1"}, "above the new limit: they finish."),
        ({"concurrency": ""}, "Any number of jobs may run at a time."),
        ({"concurrency": "", "rate.limit": "1", "rate.per": "1m"}, "With these limits for each value the last one"),
        ({"limitBy": ""}, "The limits hold for the whole queue together"),
        ({"limitBy": "meta.x"}, "Nobody has counted yet how many of them have which value."),
        ({"limitBy": "meta.x", "concurrency": ""}, "There is no limit yet that could hold for each value of meta.x."),
        (
            {"breaker.per": "type", "breaker.failures": "1"},
            "After 1 failed attempt in a row nothing of that type",
        ),
        ({"retention.success": "30d"}, "none is that old yet"),
        ({"retention.success": "0.001"}, "1 job that succeeded more than"),
        ({"paused": "1", "pauseReason": "x"}, "Nothing starts any more until the queue is resumed."),
        ({"maxRetries": "5"}, "fails as endless"),
        ({"check": "1"}, "The check of data concerns only jobs that are added from now on."),
        ({"new.type": "*", "new.kind": "command", "new.name": "x"}, "Jobs of all other types run the command x"),
    ):
        page = await shown(client, await opened(client, EDIT) | typed)
        assert told in words(first(page, "#effects")), words(first(page, "#effects"))
    assert len(await changes(client)) == 2


async def test_a_token_of_one_queue_edits_this_queue_only(idle_runtime: Runtime) -> None:
    for name in ("mine", "theirs"):
        await idle_runtime.queues.put(name, {"concurrency": 4}, by=ANN)
    _, token = await idle_runtime.access.create(roles=["admin"], queues=["mine"], by=ANN)
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as client:
        await client.post("/login", data={"token": token}, headers=OWN)
        form = await opened(client, "/queues/mine/edit") | {
            "rate.limit": "5",
            "rate.per": "60",
            "retention.failed": "1h",
        }
        page = await shown(client, form, path="/queues/mine/edit")
        do = str(first(page, "#looked button[name=do]")["value"])
        await shown(client, fields(first(page, "main form[method=post]")) | {"do": do}, 303, "/queues/mine/edit")
        for path in ("edit", "test"):
            assert (await client.get(f"/queues/theirs/{path}", headers=PAGE)).status in {403, 404}
            assert (await send(client, f"/queues/theirs/{path}", form)).status in {403, 404}
    assert (await idle_runtime.queues.tagged("theirs"))[0].concurrency == 4


async def test_what_is_wrong_names_the_field_and_all_that_was_typed_stays(client: Client) -> None:
    at = processors.prefix("a.b")
    wrong = {
        "concurrency": "many",
        "rate.per": "soon",
        "backoff": "[1,",
        f"{at}.headers": "[]",
        "new.url": "https://x.example",
        "pauseReason": "typed",
    }
    form = await opened(client, EDIT) | wrong
    page = await shown(client, form, 422)
    for name, text in (
        ("concurrency", "whole number"),
        ("rate.per", "90s, 5m"),
        ("backoff", "line 1"),
        (f"{at}.headers", "must be a JSON object"),
        ("new.type", "is required for a new processor"),
    ):
        assert page.select(f"main a[href='#f-{name}']"), name
        assert text.lower() in words(first(page, f"[id='p-{name}']")).lower(), name
    kept = fields(first(page, "main form[method=post]"))
    assert {name: kept[name] for name in wrong} == wrong
    # The API finds what only it can find, before anything is saved.
    for typed, name, text in (
        ({"concurrency": "0"}, "concurrency", "from 1 to 10,000"),
        ({"rate.per": ""}, "rate.per", "is required"),
        ({"limitBy": "user"}, "limitBy", "below meta or data"),
        ({"breaker.failures": "3"}, "breaker.per", "choose what the breaker stops"),
        ({"breaker.per": "queue"}, "breaker.failures", "is required"),
        ({"retention.killed": "-1"}, "retention.killed", "more than 0"),
        ({f"{at}.url": "ftp://x"}, f"{at}.url", "absolute http"),
        ({f"{at}.headers": '{"X-A": "********", "X-C": "********"}'}, f"{at}.headers", "is the mask"),
        ({"new.type": "z", "new.kind": "command"}, "new.name", "is required"),
        ({"new.type": "z", "new.url": "x"}, "new.url", "absolute http"),
        ({"new.type": "a.b", "new.url": "https://x"}, "new.type", "has a processor already"),
    ):
        page = await shown(client, await opened(client, EDIT) | typed, 422)
        assert text.lower() in words(first(page, f"[id='p-{name}']")).lower(), name
    page = await shown(client, await opened(client, EDIT) | {"new.type": "$z", "new.url": "https://x.example"}, 422)
    assert "must be a job type" in words(first(page, "#trouble"))
    for spoilt in ({"seen": "["}, {"seen": "[]"}, {"seen": "[" * 9000}, {"since": "x"}, {"since": "2000-01-01"}):
        await shown(client, await opened(client, EDIT) | {"attempts": "4", **spoilt})
        await shown(client, await opened(client, EDIT) | {"attempts": "4", "match": "0", **spoilt}, 412)


async def test_processors_are_added_changed_and_removed_and_their_secrets_stay(
    client: Client, idle_runtime: Runtime
) -> None:
    hook, command = processors.prefix("a.b"), processors.prefix("c")
    await idle_runtime.queues.rotate("media", "a.b", by=ANN)
    secret = getattr((await idle_runtime.queues.tagged("media"))[0].processors["a.b"], "secret", "")
    typed = {
        f"{hook}.timeout": "2m",
        f"{hook}.headers": '{"X-A": "********", "X-C": "new"}',
        f"{command}.gone": "1",
        "new.type": "<b>",
        "new.url": "https://new.example/",
    }
    page = await shown(client, await opened(client, EDIT) | typed)
    told = words(first(page, "#effects"))
    assert "Jobs of type c wait for a worker" in told
    assert "Jobs of type <b> are sent to https://new.example/" in told
    page = await saved(client, page, 200)
    made = words(first(page, "#made"))
    assert "whsec_" in made
    after, _ = await idle_runtime.queues.tagged("media")
    one: Any = after.processors["a.b"]
    assert (one.secret, one.url, one.timeout) == (secret, HOOK["url"], 120)
    assert one.headers == {"X-A": "abc", "X-C": "new"}
    assert len(one.previous_secrets) == 1, "what the form does not know stays"
    assert set(after.processors) == {"a.b", "<b>"}
    assert getattr(after.processors["<b>"], "secret", "-") in made
    # A processor that somebody has removed meanwhile stays in the form with what was typed.
    form = await opened(client, EDIT) | {f"{hook}.url": "https://typed.example/"}
    await idle_runtime.queues.patch("media", {"processors": {"a.b": None}}, by=ANN)
    page = await shown(client, form, 412)
    assert "Processor of a.b, which is not there now" in words(page)
    # Its values are gone, and a mask stands for none.
    page = await shown(client, fields(first(page, "main form[method=post]")), 422)
    assert "X-C is the mask" in words(first(page, f"[id='p-{hook}.headers']"))
    page = await shown(client, fields(first(page, "main form[method=post]")) | {f"{hook}.headers": ""})
    assert "https://typed.example/" in words(first(page, "#looked"))
    # A secret that is typed takes the place of the other one.
    at = processors.prefix("<b>")
    other = "whsec_" + "A" * 32
    # Pages are kept for a second, under their addresses.
    page = await shown(client, await opened(client, f"{EDIT}?anew") | {f"{at}.secret": other})
    assert "processors.<b>.secret ******** another one" in words(first(page, "#looked"))
    await saved(client, page)
    assert getattr((await idle_runtime.queues.tagged("media"))[0].processors["<b>"], "secret", "") == other


async def test_earlier_values_are_put_back_by_the_same_form(client: Client, idle_runtime: Runtime) -> None:
    patch: dict[str, Any] = {
        "rate": {"limit": 5},
        "retention": None,
        "onSuccessDelete": True,
        "processors": {"c": None, "d": {"kind": "command", "name": "d"}},
    }
    await idle_runtime.queues.patch("media", patch, by=ANN)
    await idle_runtime.queues.patch("media", {"attempts": 9}, by=ANN)
    page = parsed(await (await client.get("/queues/media", headers=PAGE)).text())
    links = [str(link["href"]) for link in page.select("a[href*='edit?put=']")]
    assert len(links) == 3
    page = parsed(await (await client.get(links[1], headers=PAGE)).text())
    assert "values before a change by ann" in words(first(page, "main"))
    table = [words(row) for row in page.select("#looked tbody tr")]
    assert table == [
        "rate.limit 5 10",
        "onSuccessDelete true false",
        'processors.d {"kind": "command", "name": "d"} ' + NONE,
        f'processors.c {NONE} {{"kind": "command", "name": "run"}}',
        'retention null {"success": 86400, "failed": 60}',
    ]
    await saved(client, page)
    after = await config(client)
    assert {name: after[name] for name in ("rate", "retention")} == {
        name: CONFIG[name] for name in ("rate", "retention")
    }
    assert (set(after["processors"]), after["attempts"]) == ({"a.b", "c"}, 9), "later changes of other fields stay"
    page = parsed(await (await client.get(links[1], headers=PAGE)).text())
    assert "has these earlier values already" in words(first(page, "#trouble"))
    assert not page.select("#looked")
    # Another kind of processor, and one whose address the audit has with a mask only.
    await idle_runtime.queues.patch(
        "media", {"processors": {"c": {"kind": "webhook", "url": "https://c.example"}}}, by=ANN
    )
    await idle_runtime.queues.patch("media", {"processors": {"a.b": None}}, by=ANN)
    newest = await changes(client)
    page = parsed(await (await client.get(f"{EDIT}?put={newest[1]['id']}", headers=PAGE)).text())
    await saved(client, page)
    assert (await config(client))["processors"]["c"] == {"kind": "command", "name": "run"}
    page = parsed(await (await client.get(f"{EDIT}?put={newest[0]['id']}", headers=PAGE)).text())
    at = processors.prefix("a.b")
    assert "send the whole URL" in words(first(page, f"[id='p-{at}.url']"))
    # Very large values are not in the audit: there is nothing to put back.
    audit = idle_runtime.audit.store.collection
    await audit.update_one({"_id": ObjectId(newest[2]["id"])}, {"$set": {"before": {"omitted": "20,000 bytes"}}})
    page = parsed(await (await client.get("/queues/media?anew", headers=PAGE)).text())
    assert not page.select(f"a[href*='{newest[2]['id']}']")
    for wrong in ("x", "0" * 24, "f" * 24, newest[2]["id"]):
        assert (await client.get(f"{EDIT}?put={wrong}", headers=PAGE)).status == 404
    # Other tools may have changed the audit, and values of an earlier version may not be taken any more.
    query = {"_id": ObjectId(newest[0]["id"])}
    for spoilt in (5, "x", {"processors": [1]}, {"processors": {"a": 5}}, {"processors": {"a": {"kind": "old"}}}):
        await audit.update_one(query, {"$set": {"before": spoilt}})
        assert (await client.get(f"{EDIT}?put={newest[0]['id']}&anew={spoilt}", headers=PAGE)).status == 404, spoilt
        assert (await client.get(f"/queues/media?anew={spoilt}", headers=PAGE)).status == 200, spoilt
    for old in ({"rate": {"limit": -1, "per": "x"}}, {"rate": 5, "lease": "soon"}, {"lease": [1], "retention": "x"}):
        await audit.update_one(query, {"$set": {"before": old}})
        page = parsed(await (await client.get(f"{EDIT}?put={newest[0]['id']}&anew={old}", headers=PAGE)).text())
        assert "earlier values" in words(first(page, "#trouble")), old


async def test_processors_whose_long_types_begin_alike_have_a_heading_each(
    client: Client, idle_runtime: Runtime
) -> None:
    kinds = {"t" * 90 + end: {"kind": "command", "name": end} for end in "ab"}
    await idle_runtime.queues.patch("media", {"processors": {"a.b": None, "c": None, **kinds}}, by=ANN)
    page = parsed(await (await client.get(EDIT, headers=PAGE)).text())
    heads = [words(head) for head in page.select("main h2") if "Processor of" in words(head)]
    assert heads == [f"Processor of {kind}" for kind in kinds]


async def test_a_form_with_many_processors_stays_small(client: Client, idle_runtime: Runtime) -> None:
    hooks = {f"kind-{number:02}": {**HOOK, "timeout": 10 + number} for number in range(processors.MOST + 5)}
    await idle_runtime.queues.patch("media", {"processors": {"a.b": None, "c": None, **hooks}}, by=ANN)
    last = f"kind-{processors.MOST + 4}"
    await idle_runtime.queues.patch("media", {"processors": {last: {"timeout": 5}}}, by=ANN)
    reply = await client.get(EDIT, headers=PAGE)
    text = await reply.text()
    assert len(text.encode()) <= MOST_BYTES
    assert "5 further processors stay as they are" in words(parsed(text))
    newest = (await changes(client))[0]
    page = parsed(await (await client.get(f"{EDIT}?put={newest['id']}", headers=PAGE)).text())
    row = f"processors.{last}.timeout 5 {10 + processors.MOST + 4}"
    assert [words(row) for row in page.select("#looked tbody tr")] == [row]
    await saved(client, page)
    assert (await config(client))["processors"][last]["timeout"] == 10 + processors.MOST + 4


async def test_a_program_previews_and_puts_back_by_the_same_calls(client: Client) -> None:
    path = "/v1/queues/media"
    tag = (await client.get(path)).headers["ETag"]
    for method, body in (("PATCH", {"concurrency": 2}), ("PUT", {"concurrency": 2})):
        reply = await client.request(method, f"{path}?dryRun=true", json=body, headers={"If-Match": tag})
        assert ((await reply.json())["concurrency"], "ETag" in reply.headers) == (2, False)
        stale = await client.request(method, f"{path}?dryRun=true", json=body, headers={"If-Match": '"0"'})
        assert stale.status == 412
        assert (await client.request(method, f"{path}?dryRun=true", json={"concurrency": 0})).status == 422
        assert (await client.request(method, f"{path}?dryRun=yes", json=body)).status == 422
    made = await client.patch(
        f"{path}?dryRun=true", json={"processors": {"n": {"kind": "webhook", "url": "https://n.example"}}}
    )
    assert "whsec_" not in await made.text()
    assert (await client.get(path)).headers["ETag"] == tag
    assert len(await changes(client)) == 1
    await client.patch(path, json={"concurrency": 2, "lease": 30})
    change = (await changes(client))[0]
    names = {*change["before"], *change["after"]}
    back = {
        name: change["before"].get(name) for name in names if change["before"].get(name) != change["after"].get(name)
    }
    assert back == {"concurrency": 4, "lease": None}
    restored = await (await client.patch(path, json=back)).json()
    assert (restored["concurrency"], restored["lease"]) == (4, 60)


async def test_a_reason_stays_unless_somebody_changes_it(client: Client) -> None:
    path = "/v1/queues/media"
    await client.post(f"{path}/pause", json={"reason": "disk <b>full</b>"})
    for body in (None, {}, {"reason": None}):
        again = await (await client.post(f"{path}/pause", json=body)).json()
        assert again["pauseReason"] == "disk <b>full</b>", body
    for page in ("", "/pause", "/resume", "/edit"):
        text = await (await client.get(f"/queues/media{page}", headers=PAGE)).text()
        assert "disk <b>full</b>" in words(first(parsed(text), "main")), page
    # The page of the pause asks: its form begins with the reason.
    form = await opened(client, "/queues/media/pause")
    assert form["reason"] == "disk <b>full</b>"
    assert (await send(client, "/queues/media/pause", form | {"reason": "new disk"})).status == 303
    assert (await config(client))["pauseReason"] == "new disk"
    # Somebody else pauses while the form is open.
    await client.post(f"{path}/resume")
    form = await opened(client, "/queues/media/pause") | {"reason": "mine"}
    await client.post(f"{path}/pause", json={"reason": "theirs"})
    reply = await send(client, "/queues/media/pause", form)
    page_again = parsed(await reply.text())
    assert (reply.status, first(page_again, "#f-reason")["value"]) == (412, "mine")
    assert "It is now theirs" in words(page_again)
    # A pause that is over leaves no reason for the next one.
    await client.patch(path, json={"paused": False})
    assert (await (await client.patch(path, json={"paused": True})).json())["pauseReason"] is None
    await client.post(f"{path}/resume")
    assert (await (await client.post(f"{path}/pause")).json())["pauseReason"] is None


def test_times_are_read_as_they_are_shown() -> None:
    for value, text in ((60, "60"), (86_400, "1d"), (2_592_000, "30d"), (7200, "2h"), (0.5, "0.5"), (90.0, "90")):
        assert settings.span_text(value) == text
        assert settings.seconds(text, "x") == value
    assert settings.seconds("5m", "x") == 300
    for wrong in ("", "x", "1e3", "5 m", "-d", "1" * 20, "NaN"):
        with pytest.raises(InvalidInputError, match="number of seconds"):
            settings.seconds(wrong, "x")
