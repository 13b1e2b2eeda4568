"""The query of a webhook's URL is for administrators: others, the audit, bundles and the errors of jobs have a mask."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.route_table import ROUTES
from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.table import TABLE
from jobqueue.domain.access.masking import MASK
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.application import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.settings import Settings

ADMIN = "the-token-of-the-settings"
BY = Actor(name="test", via="python")
SECRET = "key=the-secret-of-the-query"  # noqa: S105 - of a test
URL = f"https://example.com/hook?{SECRET}"
SHOWN = f"https://example.com/hook?{MASK}"
Q = "/v1/queues/q"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server, and a token for each role."""

    client: TestClient[web.Request, web.Application]
    runtime: Runtime
    tokens: dict[str, str]

    async def ask(self, role: str, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        async with self.client.request(method, path, json=body, headers=headers) as answer:
            shown = await answer.json(content_type=None)
            assert answer.status == status, shown
            return shown

    async def url(self) -> str:
        """Return the URL that is stored."""
        stored: Any = await self.runtime.config_store.stored("q")
        return str(stored["processors"]["a"]["url"])


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    async with TestClient(TestServer(make_app(runtime))) as client:
        tokens = {"admin": ADMIN}
        for role in ("read", "work", "enqueue"):
            _, tokens[role] = await runtime.access.create(roles=[role], by=BY)
        _, tokens["admin of q"] = await runtime.access.create(roles=["admin"], queues=["q"], by=BY)
        _, tokens["admin of a user"] = await runtime.access.create(roles=["admin"], meta=[("user", 7)], by=BY)
        made = House(client=client, runtime=runtime, tokens=tokens)
        await made.ask("admin", "PUT", Q, {"processors": {"a": {"kind": "webhook", "url": URL}}})
        yield made
    await runtime.close()


SHOWS_OF_QUEUES = {
    *(Q, "/v1/queues"),
    *("/queues/q", "/queues/q/edit", "/queues/q/test"),
}
"""Where an administrator reads the whole URL of the webhook of a queue."""
SHOWS_OF_ALERTS = {"/v1/alerts", "/v1/alerts/a", "/alerts"}


async def test_no_other_place_shows_the_whole_url(house: House) -> None:
    """Walk all replies and pages with every kind of token."""
    job = await house.ask("admin", "POST", "/v1/jobs", {"type": "a", "queue": "q", "meta": {"user": 7}}, status=201)
    claimed = await house.ask("admin", "POST", f"{Q}/claim", {"worker": "w"})
    await house.ask("admin", "POST", f"/v1/jobs/{job['id']}/die", {"token": claimed["token"], "reason": "broken"})
    await house.ask("admin", "PUT", "/v1/alerts/a", {"url": URL}, status=201)
    await house.ask("admin", "PATCH", Q, {"processors": {"a": {"timeout": 5}}, "pauseReason": None})
    await house.ask("admin", "POST", f"{Q}/pause", {"reason": "broken"})
    # Another tool has written what the API refuses.
    spoilt = {"kind": "webhook", "url": f"https://ann:the-secret-of-ann@example.com/hook?{SECRET}"}
    config, audit = (house.runtime.database.collection(name) for name in ("config", "audit"))
    assert (await config.update_one({}, {"$set": {"queues.q.processors.b": spoilt}})).modified_count
    await audit.update_many({"target.kind": "queue"}, {"$set": {"after.processors.b": spoilt, "before": None}})
    await house.runtime.configs.refresh()
    names = {"id": job["id"], "queue": "q", "name": "q"}
    paths = [route.path for route in ROUTES if route.method == "GET" and route.role is not None]
    # Other roles may ask for none of them.
    readers = {token: text for token, text in house.tokens.items() if token not in {"work", "enqueue"}}
    found: dict[str, set[str]] = {token: set() for token in readers}
    masked: set[str] = set()
    for path in [*paths, *(page.path for page in TABLE)]:
        if path == "/v1/events":
            continue
        place = re.sub(r"{(\w+)}", lambda part: names.get(part[1], "0" * 24), path)
        place = place.replace("/alerts/q", "/alerts/a")
        for visitor, text in readers.items():
            headers = {"Authorization": f"Bearer {text}", "Accept": "*/*" if path.startswith("/v1") else "text/html"}
            async with house.client.get(place, headers=headers) as reply:
                told = html.unescape(await reply.text())
            assert "of-ann" not in told, (visitor, place)
            found[visitor] |= {place} if SECRET in told or "the-secret-of" in told else set()
            masked |= {place} if visitor == "read" and SHOWN in told else set()
    assert found.pop("admin") == SHOWS_OF_QUEUES | SHOWS_OF_ALERTS
    assert found.pop("admin of q") == SHOWS_OF_QUEUES
    assert not any(found.values()), found
    assert {Q, "/v1/queues", "/queues/q", f"/v1/jobs/{job['id']}/bundle"} <= masked


async def test_only_an_administrator_is_shown_the_whole_url(house: House) -> None:
    for path in (Q, "/v1/queues"):
        assert SECRET in str(await house.ask("admin", "GET", path))
        shown = str(await house.ask("read", "GET", path))
        assert SECRET not in shown
        assert SHOWN in shown
    assert SECRET in str(await house.ask("admin", "POST", f"{Q}/pause", {}))


async def test_the_audit_has_the_mask_also_where_an_earlier_version_has_written_it(house: House) -> None:
    await house.ask("admin", "PATCH", Q, {"processors": {"a": {"timeout": 5}}})
    audit = house.runtime.database.collection("audit")
    assert SECRET not in str([one async for one in audit.find()])
    after = {"processors": {"a": {"kind": "webhook", "url": URL}, "b": 5}}
    await audit.update_many({"target.kind": "queue"}, {"$set": {"before": after, "after": after}})
    for path in (f"{Q}/changes", "/v1/audit"):
        shown = str(await house.ask("admin", "GET", path))
        assert SECRET not in shown
        assert SHOWN in shown


async def test_a_mask_that_is_sent_back_stands_for_what_is_stored(house: House) -> None:
    shown = await house.ask("read", "GET", Q)
    await house.ask("admin", "PUT", Q, shown)
    assert await house.url() == URL
    await house.ask("admin", "PATCH", Q, {"processors": {"a": {"url": SHOWN, "timeout": 7}}})
    assert await house.url() == URL


@pytest.mark.parametrize("url", [SHOWN.replace("hook", "other"), f"https://{MASK}@example.com/hook", SHOWN + "&a=b"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_mask_that_stands_for_nothing_is_refused(house: House, method: str, url: str) -> None:
    body = {"processors": {"a": {"kind": "webhook", "url": url}}}
    problem = await house.ask("admin", method, Q, body, status=422)
    assert list(problem["errors"]) == ["processors.a.url"]
    problem = await house.ask("admin", method, Q, {"processors": {"b": {**body["processors"]["a"], "url": SHOWN}}}, 422)
    assert list(problem["errors"]) == ["processors.b.url"]
    assert await house.url() == URL


async def test_the_mask_of_a_header_that_is_not_there_is_refused(house: House) -> None:
    hook = {"kind": "webhook", "url": URL, "headers": {"X-Key": MASK}}
    problem = await house.ask("admin", "PATCH", Q, {"processors": {"a": hook}}, status=422)
    assert list(problem["errors"]) == ["processors.a.headers.X-Key"]
