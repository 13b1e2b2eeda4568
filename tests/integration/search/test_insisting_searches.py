"""Searches that insist: a token has one at a time, so that another one has a place too."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientTimeout
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.application import Runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.settings import Settings

ADMIN = "the-token-of-the-settings"
PATIENCE = ClientTimeout(total=15)
COUNT = {"pipeline": [{"$count": "n"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server whose searches end when they are let go."""

    client: TestClient[web.Request, web.Application]
    runtime: Runtime
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: list[str] = field(default_factory=list)

    async def ask(self, token: str | None, path: str = "search", body: Any = None) -> tuple[int, str | None, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        body = {"slow": True, **(body or {"filter": {"data.n": 1}})}
        async with self.client.post(f"/v1/jobs/{path}", json=body, headers=headers, timeout=PATIENCE) as answer:
            return answer.status, answer.headers.get("Retry-After"), await answer.json()

    async def runs(self, count: int) -> None:
        await eventually(lambda: len(self.under_way) == count)


@pytest.fixture(params=[ADMIN, None], ids=["tokens", "open"])
async def house(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    runtime = await Runtime.open(replace(settings, admin_token=request.param))
    async with TestClient(TestServer(make_app(runtime))) as client:
        made = House(client=client, runtime=runtime)
        for store, name in ((runtime.searches._store, "page"), (runtime.searches._aggregates, "rows")):
            run = getattr(store, name)

            async def hold(*given: Any, run: Any = run, **more: Any) -> Any:
                made.under_way.append("")
                await made.let_go.wait()
                return await run(*given, **more)

            monkeypatch.setattr(store, name, hold)
        yield made
        made.let_go.set()
    await runtime.close()


@pytest.mark.parametrize("house", [ADMIN], indirect=True)
@pytest.mark.parametrize(("path", "body"), [("search", None), ("aggregate", COUNT)])
async def test_a_second_search_of_a_token_is_refused_and_that_of_another_one_is_not(
    house: House, path: str, body: Any
) -> None:
    by = Actor(name="test", via="python")
    tokens = [(await house.runtime.access.create(roles=["read"], by=by))[1] for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        first = group.create_task(house.ask(tokens[0], path, body))
        await house.runs(1)
        for other in (("search", None), ("aggregate", COUNT)):
            status, seconds, problem = await house.ask(tokens[0], *other)
            assert (status, problem["type"]) == (429, "/problems/one-at-a-time"), problem
            assert 1 <= int(str(seconds)) <= 62
        second = group.create_task(house.ask(tokens[1]))
        await house.runs(2)
        house.let_go.set()
    assert [one.result()[0] for one in (first, second)] == [200, 200]
    assert (await house.ask(tokens[0], path, body))[0] == 200


@pytest.mark.parametrize("house", [ADMIN], indirect=True)
async def test_the_token_of_the_settings_is_one_of_them(house: House) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(house.ask(ADMIN))
        await house.runs(1)
        assert (await house.ask(ADMIN))[0] == 429
        house.let_go.set()


@pytest.mark.parametrize("house", [ADMIN], indirect=True)
async def test_a_search_that_fails_leaves_its_place(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_given: Any, **_more: Any) -> Any:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(house.runtime.searches._store, "page", fail)
        assert (await house.ask(ADMIN))[0] == 500
    house.let_go.set()
    assert (await house.ask(ADMIN))[0] == 200


@pytest.mark.parametrize("house", [None], indirect=True)
async def test_where_no_token_is_needed_both_places_are_for_everybody(house: House) -> None:
    async with asyncio.TaskGroup() as group:
        both = [group.create_task(house.ask(None)) for _ in range(2)]
        await house.runs(2)
        house.let_go.set()
    assert [one.result()[0] for one in both] == [200, 200]
