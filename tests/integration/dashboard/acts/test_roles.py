"""Each action of the pages for each kind of visitor: its button, a reason in its place, or nothing there at all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bs4 import BeautifulSoup
from bs4.filter import SoupStrainer

from jobqueue.api.security.token_watch import SESSION_COOKIE
from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.table import TABLE
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.application import Runtime
from jobqueue.services.runs.suspending import suspend_for_signal
from tests.support.browser.forms import OWN, PAGE, fields
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import add, claimed_job, die

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN: Final = "the-token-of-the-settings"
BY: Final = Actor(name="test", via="python")
OWNED, FOREIGN = "mine", "others"
"""Queues: the limited visitors may see the jobs of the first, which also have the value of meta."""
MAY, TOLD, HIDDEN = "may", "told", "hidden"
"""Expectations of a visitor: to act, to be told why not, or to find nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An action.

    Attributes:
        subject: the page that leads to it.
        thing: the kind of the thing, as `Things` names it.
        typed: the fields that a person fills in.
        limited: what visitors who are limited to a queue, and to a value of meta, can expect of a thing within that.
        answers: visitors who only answer, and who only add, may do it, too.
        of_nothing: it makes something, and so has no foreign subject.
        hides: visitors who are limited to a value of meta do not find what is foreign.
    """

    subject: str
    thing: str
    typed: dict[str, str] = field(default_factory=dict)
    limited: tuple[str, str] = (MAY, MAY)
    answers: bool = False
    of_nothing: bool = False
    hides: bool = False


ACTS: Final = {
    "/jobs/many": Act(subject="/jobs?q=queue%3D{queue}", thing="wait", typed={"action": "kill"}),
    "/jobs/{id}/answer": Act(subject="/inbox?n={id}", thing="ask", answers=True),
    "/jobs/{id}/requeue": Act(subject="/jobs/{id}", thing="again"),
    "/jobs/{id}/change": Act(subject="/jobs/{id}", thing="change", typed={"priority": "7"}),
    "/jobs/{id}/kill": Act(subject="/jobs/{id}", thing="kill"),
    "/jobs/{id}/delete": Act(subject="/jobs/{id}", thing="gone"),
    "/failures/{fp}/trial": Act(subject="/failures/{fp}", thing="one"),
    "/failures/{fp}/requeue": Act(subject="/failures/{fp}", thing="group"),
    "/batches/{id}/requeue": Act(subject="/batches/{id}", thing="fell"),
    "/batches/{id}/seal": Act(subject="/batches/{id}", thing="open"),
    "/batches/{id}/kill": Act(subject="/batches/{id}", thing="runs"),
    "/queues/{name}/edit": Act(
        subject="/queues/{name}", thing="edited", typed={"concurrency": "7"}, limited=(MAY, TOLD)
    ),
    "/queues/{name}/test": Act(subject="/queues/{name}", thing="hooked", limited=(MAY, TOLD)),
    "/queues/{name}/pause": Act(subject="/queues/{name}", thing="queue", limited=(MAY, TOLD)),
    "/queues/{name}/resume": Act(subject="/queues/{name}", thing="paused", limited=(MAY, TOLD)),
    "/schedules/{name}/run": Act(subject="/schedules", thing="runs-now", limited=(MAY, TOLD)),
    "/schedules/{name}/pause": Act(subject="/schedules", thing="goes-on", limited=(MAY, TOLD)),
    "/schedules/{name}/resume": Act(subject="/schedules", thing="stands", limited=(MAY, TOLD)),
    "/schedules/{name}/edit": Act(
        subject="/schedules", thing="edits", typed={"every": "7200", "cron": ""}, limited=(MAY, TOLD)
    ),
    "/schedules/{name}/delete": Act(subject="/schedules", thing="ends", limited=(MAY, TOLD)),
    "/schedules/new": Act(
        subject="/schedules",
        thing="queue",
        typed={"name": "made", "cron": "", "every": "60", "job.type": "a", "job.queue": OWNED},
        limited=(MAY, TOLD),
        of_nothing=True,
    ),
    "/workers/{name}/drain": Act(subject="/workers", thing="works", limited=(MAY, TOLD), hides=True),
    "/workers/{name}/resume": Act(subject="/workers", thing="drains", limited=(MAY, TOLD), hides=True),
    "/operations/{id}/stop": Act(subject="/operations/{id}", thing="running", limited=(HIDDEN, HIDDEN)),
    "/operations/{id}/resume": Act(subject="/operations/{id}", thing="stopped", limited=(HIDDEN, HIDDEN)),
    "/tokens/new": Act(subject="/tokens", thing="token", typed={"name": "x", "role.read": "1"}, limited=(TOLD, TOLD)),
    "/tokens/{id}/revoke": Act(subject="/tokens", thing="token", limited=(TOLD, TOLD)),
}
VISITORS: Final[dict[str, dict[str, Any]]] = {
    "admin": {"roles": ["admin"]},
    "viewer": {"roles": ["read"]},
    "decider": {"roles": ["read", "decide"]},
    "adder": {"roles": ["read", "enqueue"]},
    "worker": {"roles": ["read", "work"]},
    "blind": {"roles": ["decide"]},
    "queue": {"roles": ["admin"], "queues": [OWNED, f"{OWNED}-*"]},
    "meta": {"roles": ["admin"], "meta": [("customer", 1)]},
}
_LIMITED: Final = ("queue", "meta")
_LIKE_VIEWERS: Final = ("decider", "adder", "worker", "blind")
"""Visitors whose pages of subjects are those of a viewer, but for answers."""
_QUIET: Final = ("workers", "streams", "tokens")
"""Collections that a look changes, too: signs of life, turns, and the last use of a token."""


def expected(act: Act, visitor: str, owner: str) -> str:
    if visitor in _LIMITED:
        within = act.limited[_LIMITED.index(visitor)]
        return within if owner == OWNED or (within == TOLD and not act.hides) else HIDDEN
    return MAY if visitor == "admin" or (act.answers and visitor in {"decider", "adder"}) else TOLD


def owners(act: Act, visitor: str) -> tuple[str, ...]:
    """Return the owners of things that a visitor tries: to one who is not limited one owner is as another."""
    return (OWNED, FOREIGN) if visitor in _LIMITED and not act.of_nothing else (OWNED,)


class House:
    """A server, its visitors, and one thing for each action and owner.

    Attributes:
        things: values for the marks of paths, by the owner and the thing.
        cookies: by the visitor.
    """

    def __init__(self, client: Client, runtime: Runtime) -> None:
        self.client, self.runtime = client, runtime
        self.things: dict[tuple[str, str], dict[str, str]] = {}
        self.cookies: dict[str, str] = {}
        self._pages: dict[tuple[str, str], tuple[int, BeautifulSoup]] = {}

    async def log_in(self) -> None:
        for name, rights in VISITORS.items():
            _, text = await self.runtime.access.create(name=name, by=BY, **rights)
            reply = await self.client.post("/login", data={"token": text}, allow_redirects=False)
            self.cookies[name] = f"{SESSION_COOKIE}={reply.cookies[SESSION_COOKIE].value}"
        self.client.session.cookie_jar.clear()

    async def furnish(self, owner: str, customer: int) -> None:
        own: dict[str, Any] = {"queue": owner, "meta": {"customer": customer}}
        runtime = self.runtime

        def note(thing: str, **marks: Any) -> None:
            self.things[owner, thing] = {"queue": owner, **{name: str(value) for name, value in marks.items()}}

        for thing in ("one", "group"):
            for _ in range(2):
                await die(runtime, await claimed_job(runtime, f"{thing}-{owner}", **own))
            groups = await self._api("get", f"/v1/failures?type={thing}-{owner}")
            note(thing, fp=groups["items"][0]["fingerprint"])
        for thing in ("again", "gone"):
            note(thing, id=(await die(runtime, await claimed_job(runtime, **own))).id)
        asking = await claimed_job(runtime, "ask", **own | {"queue": f"{owner}-ask"})
        await suspend_for_signal(runtime.work, asking.job, asking.token, "ok", name="ok", seconds=None)
        note("ask", id=asking.job.id)
        await self._batches(owner, own, note)
        for thing in ("wait", "change", "kill"):
            note(thing, id=(await add(runtime, **own)).id)
        for thing in ("queue", "paused", "edited"):
            await runtime.queues.patch(f"{owner}-{thing}", {"concurrency": 3, "paused": thing == "paused"})
            note(thing, name=f"{owner}-{thing}")
        hook = {"kind": "webhook", "url": "http://127.0.0.1:9/"}
        await self._api("patch", f"/v1/queues/{owner}-hooked", {"processors": {"a": hook}})
        note("hooked", name=f"{owner}-hooked")
        await self._workers_and_schedules(owner, own, note)
        for thing in ("running", "stopped"):
            made = await self._api("post", "/v1/jobs/requeue", {"filter": {"queue": owner}, "trial": 1})
            if thing == "stopped":
                await self._api("post", f"/v1/operations/{made['id']}/stop", {})
            note(thing, id=made["id"])
        token, _ = await runtime.access.create(roles=["read"], name=owner, by=BY)
        note("token", id=token.id)

    async def _workers_and_schedules(self, owner: str, own: dict[str, Any], note: Any) -> None:
        for thing in ("works", "drains"):
            note(thing, name=f"{owner}-{thing}")
            self.runtime.registry.heard(f"{owner}-{thing}", owner, ("a",))
            # A visitor who is limited to a value of meta sees the workers of its own jobs.
            runs = await add(self.runtime, thing, **own | {"queue": f"{owner}-{thing}"})
            assert await self.runtime.work.claim(runs.queue, [thing], worker=f"{owner}-{thing}") is not None
        await self.runtime.registry.run_once()
        await self.runtime.drains.drain(f"{owner}-drains", by=BY)
        for thing in ("runs-now", "goes-on", "stands", "edits", "ends"):
            name = f"{owner}-{thing}"
            body = {"every": 3600, "job": {"type": "a", **own}, "paused": thing == "stands"}
            await self._api("put", f"/v1/schedules/{name}", body)
            note(thing, name=name)

    async def _batches(self, owner: str, own: dict[str, Any], note: Any) -> None:
        for thing in ("fell", "open", "runs"):
            members = (Member(job=NewJob(type="part", **own | {"queue": f"{owner}-{thing}"})),)
            batch, _ = await self.runtime.batches.create(NewBatch(members=members, sealed=False, meta=own["meta"]))
            if thing == "fell":
                claimed = await self.runtime.work.claim(f"{owner}-fell", None, worker="w")
                assert claimed is not None
                await die(self.runtime, claimed)
            note(thing, id=batch.batch.id)

    async def _api(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        reply = await self.client.request(method, path, json=body, headers=headers)
        assert reply.ok, await reply.text()
        return await reply.json()

    def place(self, path: str, act: Act, owner: str) -> str:
        for name, value in self.things[owner, act.thing].items():
            path = path.replace(f"{{{name}}}", value)
        is_many = path == "/jobs/many"
        return f"{path}?action=kill&id={self.things[owner, act.thing]['id']}" if is_many else path

    async def page(self, visitor: str, path: str) -> tuple[int, BeautifulSoup]:
        """Return a page, the same one each time: several actions have one subject."""
        if (visitor, path) not in self._pages:
            reply = await self.client.get(path, headers={**PAGE, "Cookie": self.cookies[visitor]})
            # The frame around it takes as long to read.
            page = BeautifulSoup(await reply.text(), "html.parser", parse_only=SoupStrainer("main"))
            self._pages[visitor, path] = reply.status, page
        return self._pages[visitor, path]

    async def send(self, visitor: str, path: str, form: dict[str, str]) -> ClientResponse:
        cookie = self.cookies[visitor]
        token = await self.runtime.sessions.signature("form", cookie.partition("=")[2])
        headers = {**OWN, "Cookie": cookie}
        path = path.partition("?")[0]
        return await self.client.post(path, data=form | {"form": token}, headers=headers, allow_redirects=False)

    async def forms(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return the form of each action on the things of each owner, as an admin fills it in."""
        found = {}
        for path, act in ACTS.items():
            for owner in owners(act, _LIMITED[0]):
                place = self.place(path, act, owner)
                # Another address is another form.
                _, page = await self.page("admin", f"{place}{'&' if '?' in place else '?'}of={owner}")
                found[path, owner] = (
                    fields(first(page, "main form[method=post]:is(:not([action]), [action^='#'])")) | act.typed
                )
        return found

    async def content(self) -> dict[str, list[Any]]:
        """Return all documents that a look does not change."""
        database = self.runtime.database
        names = await database.collection("jobs").database.list_collection_names()
        return {
            name: sorted([repr(document) async for document in database.collection(name).find()])
            for name in sorted(names)
            if name not in _QUIET
        } | {"tokens": [str(await database.collection("tokens").count_documents({"revokedAt": None}))]}


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    async with TestClient(TestServer(make_app(runtime))) as client:
        house = House(client, runtime)
        await house.log_in()
        for owner, customer in ((OWNED, 1), (FOREIGN, 2)):
            await house.furnish(owner, customer)
        yield house
    await runtime.close()


def test_every_action_has_a_row() -> None:
    assert set(ACTS) == {page.path for page in TABLE if page.act is not None}, "say in ACTS who may do it"


async def test_every_visitor_acts_is_told_or_finds_nothing(house: House) -> None:
    seen: set[tuple[str, str]] = set()
    for path, act in ACTS.items():
        for visitor in VISITORS:
            for owner in owners(act, visitor):
                wanted, place = expected(act, visitor, owner), house.place(path, act, owner)
                status, page = await house.page(visitor, place)
                what = (path, visitor, owner, status, words(first(page, "main"))[:300])
                button = page.select_one("main form[method=post]:is(:not([action]), [action^='#']) button")
                if wanted == MAY:
                    assert (status, bool(button)) == (200, True), what
                elif wanted == TOLD:
                    told = words(first(page, "main"))
                    assert not button, what
                    assert ("needs" in told or "limited" in told) if status == 403 else "needs a token" in told, what
                else:
                    assert status == 404 or "No job is left for this" in what[-1], what
                if visitor not in _LIKE_VIEWERS or act.answers:
                    await _check_subject(house, (path, act, owner), visitor, wanted)
                seen.add((visitor, wanted))
    assert {wanted for _, wanted in seen} == {MAY, TOLD, HIDDEN}


async def _check_subject(house: House, what: tuple[str, Act, str], visitor: str, wanted: str) -> None:
    """Check that the page of the subject leads to the action, or says why it does not, or is not there."""
    path, act, owner = what
    status, page = await house.page(visitor, house.place(act.subject, act, owner))
    told = words(first(page, "main"))
    place = house.place(path, act, owner).partition("?")[0]
    ways = page.select(f"main a[href^='{place}'], main form[action='{place}'] button:not([aria-disabled])")
    if wanted == MAY:
        assert ways, (what, visitor, status, told[:300])
    else:
        assert not ways, (what, visitor, ways)
    if wanted == TOLD:
        assert "needs" in told or "limited" in told, (what, visitor, status, told[:300])


async def test_a_form_of_somebody_who_may_not_changes_nothing(house: House) -> None:
    forms = await house.forms()
    before = await house.content()
    refused = 0
    for path, act in ACTS.items():
        for visitor in VISITORS:
            for owner in owners(act, visitor):
                wanted = expected(act, visitor, owner)
                if wanted == MAY:
                    continue
                refused += 1
                reply = await house.send(visitor, house.place(path, act, owner), forms[path, owner])
                # An operation on jobs that one cannot see would have no jobs; its form says so.
                is_told = path == "/jobs/many" and wanted == HIDDEN
                statuses = {422} if is_told else {404} if wanted == HIDDEN else {403}
                assert reply.status in statuses, (path, visitor, owner, reply.status, await reply.text())
        after = await house.content()
        assert after == before, (path, [name for name in after if after[name] != before[name]])
    assert refused > 100
    # The same forms act when somebody sends them who may.
    for (path, owner), form in forms.items():
        place = house.place(path, ACTS[path], owner)
        reply = await house.send("admin", place, form)
        if path in LOOKS_FIRST:
            # The changes are shown first.
            seen = first(parsed(await reply.text()), "main button[name=do]")
            reply = await house.send("admin", place, form | {"do": str(seen["value"])})
        assert reply.status == (200 if path in {"/tokens/new", "/queues/{name}/test"} else 303), (
            path,
            words(parsed(await reply.text())),
        )
        after = await house.content()
        assert after != before, path
        before = after


LOOKS_FIRST: Final = {"/queues/{name}/edit", "/schedules/{name}/edit", "/schedules/new"}
WRONG: Final[dict[str, dict[str, str]]] = {
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "another host of the site": {"Sec-Fetch-Site": "same-site"},
    "typed by hand": {"Sec-Fetch-Site": "none"},
    "another origin": {"Origin": "https://evil.example"},
    "a page in a frame of data": {"Origin": "null"},
    "nobody says where from": {},
}


async def test_no_action_takes_a_form_that_its_own_page_has_not_sent(house: House) -> None:
    cookie = {"Cookie": house.cookies["admin"]}
    forms = await house.forms()
    before = await house.content()
    for (path, owner), form in forms.items():
        if owner == FOREIGN:
            continue
        assert form["form"], path
        assert form["key"], (path, "the same form has to be known again")
        place = house.place(path, ACTS[path], owner).partition("?")[0]
        for what, headers in WRONG.items():
            reply = await house.client.post(place, data=form, headers=PAGE | cookie | headers, allow_redirects=False)
            assert reply.status == 403, (path, what)
            assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"], path
        for what, status, sent in (
            ("no token", 403, {"data": {name: value for name, value in form.items() if name != "form"}}),
            ("a wrong token", 403, {"data": form | {"form": "0" * 64}}),
            ("no form", 415, {"json": form}),
        ):
            reply = await house.client.post(place, headers=OWN | cookie, allow_redirects=False, **sent)  # type: ignore[arg-type]
            assert reply.status == status, (path, what)
        # What an address says is only shown.
        reply = await house.client.get(place, params=form, headers=PAGE | cookie)
        assert reply.status == 200, path
        assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"], path
    assert await house.content() == before
