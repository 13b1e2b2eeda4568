"""The same form on two servers of one database: a double click, a repetition by a proxy, a way back, a crash."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientError

from jobqueue.dashboard.frame.acts import recorded
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed
from jobqueue.dashboard.frame.acts.recorded import Outcome, RecordedForm
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.runs.suspending import suspend_for_signal
from jobqueue.store.mongo.clock import EPOCH
from tests.support.browser.forms import PAGE, fields, opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.browser.visit import visitor
from tests.support.crashes.crash_everywhere import Mortal, process, reaping
from tests.support.data.factories import add, claimed_job, die, open_runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.support.browser.visit import Client

NIGHTLY = {"every": 3600, "job": {"type": "nightly"}}


@pytest.fixture
async def servers(settings: Settings, idle_runtime: Runtime) -> AsyncIterator[tuple[Client, Client]]:
    async with open_runtime(settings) as other, visitor(idle_runtime) as one, visitor(other) as two:
        yield one, two


async def furnished(client: Client, runtime: Runtime) -> dict[str, tuple[str, dict[str, str], Callable[[], Any]]]:
    """Return addresses of actions with what is typed, and a function that counts how often each was done."""
    assert (await client.put("/v1/schedules/daily", json=NIGHTLY)).status == 201
    for _ in range(3):
        await die(runtime, await claimed_job(runtime, "fell", queue="acts"))
    groups = await (await client.get("/v1/failures")).json()
    group = f"/failures/{groups['items'][0]['fingerprint']}"
    batch, _ = await runtime.batches.create(NewBatch(members=(Member(job=NewJob(type="part", queue="parts")),)))
    claimed = await runtime.work.claim("parts", None, worker="w")
    assert claimed is not None
    await die(runtime, claimed)
    again = await die(runtime, await claimed_job(runtime, "again", queue="again"))
    waits = [await add(runtime, "waits", queue="many") for _ in range(3)]
    change = await add(runtime, "change", queue="many")

    def documents(collection: str, **query: Any) -> Callable[[], Awaitable[int]]:
        return lambda: runtime.database.collection(collection).count_documents(query)

    def operations(action: str, **query: Any) -> Callable[[], Awaitable[int]]:
        return documents("operations", action=action, **query)

    ids = "&".join(f"id={job.id}" for job in waits)
    found: dict[str, tuple[str, dict[str, str], Callable[[], Any]]] = {
        "run now": ("/schedules/daily/run", {}, documents("jobs", type="nightly")),
        "token": ("/tokens/new", {"name": "ann"}, documents("tokens", name="ann")),
        "trial": (f"{group}/trial", {}, documents("jobs", state="pending", type="fell")),
        "group": (f"{group}/requeue", {}, operations("carefulRequeue")),
        "batch": (f"/batches/{batch.batch.id}/requeue", {}, documents("audit", action="requeue", **_of("batch"))),
        "change": (f"/jobs/{change.id}/change", {"priority": "7"}, documents("audit", action="patch", **_of("job"))),
        "requeue": (f"/jobs/many?action=requeue&id={again.id}", {}, operations("requeue")),
    }
    for action in ("kill", "delete"):
        found[action] = (f"/jobs/many?action={action}&{ids}", {}, operations(action))
    return found


def _of(kind: str) -> dict[str, str]:
    return {"target.kind": kind}


async def test_the_same_form_acts_once_on_two_servers(servers: tuple[Client, Client], idle_runtime: Runtime) -> None:
    one, two = servers
    for name, (address, typed, count) in (await furnished(one, idle_runtime)).items():
        path = address.partition("?")[0]
        form = await opened(one, address) | typed
        before = await count()
        # A proxy repeats it, and somebody goes back and sends it once more.
        replies = list(await asyncio.gather(send(one, path, form), send(two, path, form)))
        replies.append(await send(two, path, form))
        assert await count() == before + 1, (name, await replies[0].text())
        places = {reply.headers.get("Location") for reply in replies}
        if name == "token":
            # The server that has made it shows it.
            statuses = [reply.status for reply in replies]
            assert statuses in ([200, 303, 303], [303, 200, 200]), statuses
            continue
        assert [reply.status for reply in replies] == [303] * 3, (name, await replies[-1].text())
        assert len(places) == 1, (name, places)
        # Another load of the page is another form: who means it twice gets it twice.
        if name == "run now":
            await send(two, path, await opened(two, address))
            assert await count() == before + 2


async def test_an_answer_is_given_once_on_two_servers(servers: tuple[Client, Client], idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, "refund")
    await suspend_for_signal(idle_runtime.work, claimed.job, claimed.token, "ok", name="ok", seconds=None)
    path = f"/jobs/{claimed.job.id}/answer"
    form = fields(first(parsed(await (await servers[0].get("/inbox", headers=PAGE)).text()), "main form"))
    yes, no = form | {"value": "true"}, form | {"value": "false"}
    replies = [await send(servers[0], path, yes), await send(servers[1], path, yes), await send(servers[1], path, no)]
    assert [reply.status for reply in replies] == [303, 303, 409]
    [step] = (await idle_runtime.jobs.get(claimed.job.id)).steps or ()
    assert step.result is True


async def test_a_token_that_another_server_has_shown_is_not_shown_again(
    servers: tuple[Client, Client], idle_runtime: Runtime
) -> None:
    one, two = servers
    form = await opened(one, "/tokens/new") | {"name": "bob"}
    made = first(parsed(await (await send(one, "/tokens/new", form)).text()), "#made").get_text()
    again = await send(two, "/tokens/new", form)
    assert (again.status, again.headers["Location"]) == (303, "/tokens")
    page = await (await two.get("/tokens", headers=PAGE)).text()
    assert "its answer was shown once. If nobody has seen that, send a new form, and revoke a token" in words(
        first(parsed(page), "#said")
    )
    assert made not in page
    stored = [document async for document in idle_runtime.forms.collection.find({})]
    assert (len(stored), made in repr(stored), "bob" in repr(stored)) == (1, False, False)


async def test_a_refused_form_may_be_sent_again(servers: tuple[Client, Client], idle_runtime: Runtime) -> None:
    one, two = servers
    form = await opened(one, "/tokens/new") | {"name": "x" * 999}
    for client in servers:
        assert (await send(client, "/tokens/new", form)).status == 422
    assert await idle_runtime.forms.collection.count_documents({}) == 0
    assert (await send(two, "/tokens/new", form | {"name": "eve"})).status == 200


async def test_a_slow_act_is_not_taken_for_one_that_was_left(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "KEEP_SECONDS", 0.01)
    forms, may_end, done = idle_runtime.forms, asyncio.Event(), []

    async def prepare() -> Deed:
        return Deed(call=Call(method="POST", path="/v1/slow"), said="", to="/")

    async def act(_: Deed) -> Outcome:
        done.append("once")
        await may_end.wait()
        return Outcome(to="/done")

    async with asyncio.TaskGroup() as group:
        one = group.create_task(RecordedForm(forms, "slow").carry_out(prepare, act))
        await eventually(lambda: done)
        await _give_up_waiting(idle_runtime)
        await eventually(lambda: forms.collection.find_one({"busyTil": {"$gt": EPOCH}}))
        two = group.create_task(RecordedForm(forms, "slow").carry_out(prepare, act))
        await asyncio.sleep(0)
        may_end.set()
    assert [one.result(), two.result(), done] == [Outcome(to="/done"), Outcome(to="/done"), ["once"]]
    assert await forms.collection.count_documents({"busyTil": {"$exists": True}}) == 0


async def test_a_crash_at_any_write_is_told_and_nothing_happens_twice(
    settings: Settings, servers: tuple[Client, Client], idle_runtime: Runtime
) -> None:
    client = servers[0]
    assert (await client.put("/v1/schedules/daily", json=NIGHTLY)).status == 201
    told: set[int] = set()
    with reaping() as reaper:
        for nth in range(1, 20):
            for after in (False, True):
                mortal = Mortal(nth=nth, after=after)
                before = await idle_runtime.jobs.collection.count_documents({"type": "nightly"})
                form = await opened(client, "/schedules/daily/run")
                with reaper.watching(mortal):
                    await _send_to(settings, mortal, "/schedules/daily/run", form)
                made = await idle_runtime.jobs.collection.count_documents({"type": "nightly"}) - before
                await _give_up_waiting(idle_runtime)
                reply = await send(client, "/schedules/daily/run", form)
                page = parsed(await reply.text())
                told.add(reply.status)
                count = await idle_runtime.jobs.collection.count_documents({"type": "nightly"}) - before
                if reply.status == 409:
                    assert "perhaps it is done. Look first" in words(first(page, "#trouble")), mortal.at
                    assert count == made <= 1, mortal.at
                    # Who has looked sends it once more.
                    again = await send(
                        client,
                        "/schedules/daily/run",
                        fields(first(page, "main form[method=post]:is(:not([action]), [action^='#'])")),
                    )
                    assert again.status == 303, mortal.at
                else:
                    assert (reply.status, count) == (303, 1), mortal.at
                if mortal.at is None:
                    break
            else:
                continue
            break
    assert mortal.at is None, "the run has come to its end"
    assert nth >= 4, "there is more than one write"
    assert told == {303, 409}


async def test_an_answer_is_given_although_the_server_crashes_at_any_write(
    settings: Settings, servers: tuple[Client, Client], idle_runtime: Runtime
) -> None:
    at: str | None = ""
    with reaping() as reaper:
        for nth in range(1, 20):
            claimed = await claimed_job(idle_runtime, "refund", queue=f"asks-{nth}")
            await suspend_for_signal(idle_runtime.work, claimed.job, claimed.token, "ok", name="ok", seconds=None)
            path = f"/jobs/{claimed.job.id}/answer"
            form = await opened(servers[0], path)
            mortal = Mortal(nth=nth, after=True)
            with reaper.watching(mortal):
                await _send_to(settings, mortal, path, form)
            await _give_up_waiting(idle_runtime)
            reply = await send(servers[0], path, form)
            # What has happened is seen on the page of the job.
            assert reply.status in {303, 409}, mortal.at
            [step] = (await idle_runtime.jobs.get(claimed.job.id)).steps or ()
            assert step.result is True, mortal.at
            at = mortal.at
            if at is None:
                break
    assert at is None


async def _send_to(settings: Settings, mortal: Mortal, path: str, form: dict[str, str]) -> None:
    """Send a form to a server that dies at one of its writes."""
    async with process(settings, mortal) as runtime, visitor(runtime) as client:
        try:
            await send(client, path, form)
        except ClientError:
            assert mortal.at is not None


async def _give_up_waiting(runtime: Runtime) -> None:
    """Pass the time that a dead server is given."""
    await runtime.forms.collection.update_many({"busyTil": {"$exists": True}}, {"$set": {"busyTil": EPOCH}})
