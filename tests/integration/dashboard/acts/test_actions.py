"""Each action of the pages: what it does, its entry in the audit, and where it leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.bulk import many
from jobqueue.dashboard.frame.acts.form import Sent
from jobqueue.dashboard.jobs.acts import schema_fields
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.verdict import Suspension
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.runs.suspending import suspend_for_signal
from tests.support.browser.forms import PAGE, fields, opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import add, claimed_job, die

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web
    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def act(client: Client, path: str, **typed: str) -> str:
    """Open the page of an action and send its form; return where that leads."""
    reply = await send(client, path.partition("?")[0], await opened(client, path) | typed)
    assert reply.status == 303, words(parsed(await reply.text()))
    return reply.headers["Location"]


async def page(client: Client, path: str) -> BeautifulSoup:
    reply = await client.get(path, headers=PAGE)
    assert reply.status == 200
    return parsed(await reply.text())


async def newest(client: Client, **query: str) -> Any:
    reply = await client.get("/v1/audit", params={"limit": "1", **query})
    return (await reply.json())["items"][0]


async def test_a_requeue_shows_what_changes_before_it_is_sent(client: Client, idle_runtime: Runtime) -> None:
    job = (await die(idle_runtime, await claimed_job(idle_runtime, data={"n": 1, "text": "<b>"}))).id
    path = f"/jobs/{job}/requeue"
    form = await opened(client, path) | {"data": '{"n": 2, "text": "<b>"}', "attempts": "7"}
    reply = await send(client, path, form)
    shown = parsed(await reply.text())
    assert reply.status == 200
    assert "n 1 2" in words(first(shown, "#changes"))
    assert '"n": 2' in first(shown, "#curl pre").get_text()
    assert (await idle_runtime.jobs.get(job)).state == "killed", "nothing happens yet"
    reply = await send(client, path, fields(first(shown, "main form")) | {"do": "confirm"})
    assert (reply.status, reply.headers["Location"]) == (303, f"/jobs/{job}")
    again = await idle_runtime.jobs.get(job)
    assert (again.state, again.data, again.attempts) == ("pending", {"n": 2, "text": "<b>"}, 7)
    assert (await newest(client, name=job))["action"] == "requeue"
    assert await act(client, f"/jobs/{job}/delete") == "/jobs"
    assert (await newest(client, name=job))["action"] == "delete"


async def test_a_question_is_answered_once_and_by_one_person(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, "refund")
    await suspend_for_signal(idle_runtime.work, claimed.job, claimed.token, "ok", name="ok", seconds=None)
    path = f"/jobs/{claimed.job.id}/answer"
    inbox = await page(client, "/inbox")
    form = fields(first(inbox, "main form"))
    yes, no = form | {"value": "true"}, form | {"value": "false"}
    assert (await send(client, path, yes)).headers["Location"] == "/inbox"
    assert "Answered: ok is true." in words(first(await page(client, "/inbox"), "#said"))
    refused = await send(client, path, no)
    assert refused.status == 409
    assert "has an answer" in words(first(parsed(await refused.text()), "#trouble"))
    # The API decides that, whoever is faster.
    body = {"value": False, "question": "ok"}
    assert (await client.post(f"/v1/jobs/{claimed.job.id}/signals/ok", json=body)).status == 409
    [step] = (await idle_runtime.jobs.get(claimed.job.id)).steps or ()
    assert (step.name, step.result) == ("ok", True)
    assert (await newest(client, name=claimed.job.id))["action"] == "signal"


async def test_a_step_in_doubt_is_decided(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, "charge")
    await idle_runtime.work.steps.begin_once(claimed.job, claimed.token, "card")
    doubt = Suspension(wait=Wait(names=("card",), doubt="card"))
    await idle_runtime.work.settle(claimed.job, claimed.token, doubt, is_read=True)
    path = f"/jobs/{claimed.job.id}/answer"
    form = await opened(client, path)
    assert (await send(client, path, form)).status == 422, "nothing is chosen"
    assert (await send(client, path, form | {"happened": "yes", "result": '"ch_1"'})).status == 303
    [step] = (await idle_runtime.jobs.get(claimed.job.id)).steps or ()
    assert (step.name, step.result) == ("card", "ch_1")
    assert (await newest(client, name=claimed.job.id))["action"] == "decide"


async def test_a_pause_has_a_reason_that_all_pages_of_the_queue_show(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, "a", queue="media")
    assert await act(client, "/queues/media/pause", reason="disk <b>full</b>") == "/queues/media"
    for path in ("/queues/media", f"/jobs/{job.id}"):
        assert "disk <b>full</b>" in words(first(await page(client, path), "main")), path
    assert (await (await client.get("/v1/queues/media")).json())["pauseReason"] == "disk <b>full</b>"
    entry = await newest(client, kind="queue")
    assert (entry["action"], entry["after"]["pauseReason"]) == ("pause", "disk <b>full</b>")
    assert await act(client, "/queues/media/resume") == "/queues/media"
    after = await (await client.get("/v1/queues/media")).json()
    assert (after["paused"], after["pauseReason"]) == (False, None)
    for wrong in ({"reason": ""}, {"reason": "x" * 301}, {"reason": "a\nb"}, {"reason": 1}, {"why": "x"}):
        assert (await client.post("/v1/queues/media/pause", json=wrong)).status == 422, wrong


async def test_a_schedule_is_run_paused_and_resumed(client: Client, idle_runtime: Runtime) -> None:
    assert (await client.put("/v1/schedules/daily", json={"every": 3600, "job": {"type": "a"}})).status == 201
    form = await opened(client, "/schedules/daily/run")
    places = [(await send(client, "/schedules/daily/run", form)).headers["Location"] for _ in range(2)]
    assert places[0] == places[1], "a second click makes no second job"
    assert (await idle_runtime.jobs.get(places[0].rpartition("/")[2])).type == "a"
    assert (await newest(client, kind="schedule"))["action"] == "run"
    for action in ("pause", "resume"):
        assert await act(client, f"/schedules/daily/{action}") == "/schedules?name=daily"
        assert (await newest(client, kind="schedule"))["action"] == action
    assert "not paused" in words(first(await page(client, "/schedules/daily/resume"), "main"))


async def test_a_batch_is_killed_restarted_and_sealed(client: Client, idle_runtime: Runtime) -> None:
    new = NewBatch(members=(Member(job=NewJob(type="a")), Member(job=NewJob(type="b"))), sealed=False)
    view, _ = await idle_runtime.batches.create(new)
    here = f"/batches/{view.batch.id}"
    assert await act(client, f"{here}/kill", reason="no more") == here
    assert (await newest(client, kind="batch"))["action"] == "kill"
    assert "Restart 2 jobs" in words(first(await page(client, f"{here}/requeue"), "main"))
    for action in ("requeue", "seal"):
        assert await act(client, f"{here}/{action}") == here
        assert (await newest(client, kind="batch"))["action"] == action
    counts = (await (await client.get(f"/v1{here}")).json())["counts"]
    assert counts["pending"] == 2


async def test_many_are_previewed_and_confirmed_by_their_number(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await add(idle_runtime, kind) for kind in ("a", "a", "b", "b")]
    listed = await page(client, "/jobs?q=type%3Da")
    boxes = [str(box["value"]) for box in listed.select("[data-list] input[form=many]")]
    assert sorted(boxes) == sorted(job.id for job in jobs[:2])
    path = f"/jobs/many?action=kill&which=some&id={jobs[0].id}&id={jobs[2].id}"
    assert "Kill 2 jobs?" in words(first(await page(client, path), "h1"))
    place = await act(client, path, reason="no more")
    assert place.startswith("/operations/")
    while await idle_runtime.operations.run_once() is not None:
        pass
    assert [(await idle_runtime.jobs.get(job.id)).state for job in jobs] == ["killed", "pending", "killed", "pending"]
    assert (await newest(client, kind="operation"))["by"]["name"] == "nobody"
    # All that match, of which there are too many for one click.
    monkeypatch.setattr(many, "TYPED_FROM", 1)
    path = "/jobs/many?action=delete&which=all&q=state%3Dpending"
    form = await opened(client, path)
    for typed, status in (("", 422), ("3", 422), ("2", 303)):
        assert (await send(client, "/jobs/many", form | {"typed": typed})).status == status, typed
    # Nothing selected, and a search that no filter can say, do nothing.
    assert "Select jobs first" in words(first(await page(client, "/jobs/many?action=kill&which=some"), "main"))
    assert "selects nothing" in words(first(await page(client, "/jobs/many?which=all&q=word"), "main"))
    assert (await send(client, "/jobs/many", {"form": form["form"], "action": "delete"})).status == 422


async def test_a_token_is_shown_once_and_revoked(client: Client, idle_runtime: Runtime) -> None:
    form = await opened(client, "/tokens/new") | {"name": "ann <b>", "role.decide": "1", "queues": "media, x-*"}
    replies = [await send(client, "/tokens/new", form) for _ in range(2)]
    shown = [first(parsed(await reply.text()), "#made").get_text() for reply in replies]
    assert shown[0] == shown[1], "a second click shows the same token"
    assert replies[0].headers["Cache-Control"] == "no-store"
    caller = await idle_runtime.access.caller(shown[0])
    assert caller is not None
    assert (caller.name, set(caller.roles), caller.scope.queues) == ("ann <b>", {"read", "decide"}, ("media", "x-*"))
    table = await page(client, "/tokens")
    assert shown[0] not in str(table)
    token = str(first(table, "[data-list] [data-id]")["data-id"])
    assert await act(client, f"/tokens/{token}/revoke") == "/tokens"
    assert "revoked" in words(first(await page(client, "/tokens"), "[data-list]"))
    for wrong in ({"role.read": ""}, {"days": "0"}, {"days": "x"}, {"meta": "[]"}, {"queues": "a/b"}):
        values = {name: value for name, value in (form | wrong).items() if value or not name.startswith("role.")}
        values |= {} if "role.read" not in wrong else {"role.decide": "1", "role.odd": "1"}
        if "role.read" in wrong:
            del values["role.decide"]
        assert (await send(client, "/tokens/new", values)).status == 422, wrong


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["n"],
    "properties": {
        "n": {"type": "integer", "title": "Number"},
        "text": {"type": "string"},
        "kind": {"enum": ["a", "b"]},
        "on": {"type": "boolean"},
        "list": {"type": "array"},
    },
}


def test_a_schema_makes_fields_and_what_it_does_not_name_stays() -> None:
    data = {"n": 1, "text": "01", "on": True, "other": [1.5]}
    made = {field.name: field for field in schema_fields.fields(SCHEMA, data)}
    assert [(field.label, field.kind, field.value) for field in made.values()] == [
        ("Number", "text", "1"),
        ("text", "text", "01"),
        ("kind", "choice", ""),
        ("on", "choice", "true"),
        ("list", "text", ""),
    ]
    typed = {name: field.value for name, field in made.items()}
    assert schema_fields.read(SCHEMA, data, Sent(values=typed, lists={})) == data
    typed |= {"data.n": "90071992547409931", "data.text": "null", "data.on": "", "data.list": "[1]"}
    changed = schema_fields.read(SCHEMA, data, Sent(values=typed, lists={}))
    assert changed == {"n": 90071992547409931, "text": "null", "list": [1], "other": [1.5]}
    with pytest.raises(InvalidInputError, match="is not JSON"):
        schema_fields.read(SCHEMA, data, Sent(values=typed | {"data.n": "one"}, lists={}))
    assert schema_fields.fields({"properties": {"n": True}}, data) == []
