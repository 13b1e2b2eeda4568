"""The page of the audit: by person, kind, target and time, with differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue.dashboard.frame.texts import short
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.html import first, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client

ANN = Actor(name="ann", via="http", address="10.0.0.7")
JONAS = Actor(name="jonas", via="cli")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


def rows(page: object) -> list[str]:
    return [words(row).partition(" ")[2] for row in page.select("tbody tr")]  # type: ignore[attr-defined]


async def test_changes_are_found_by_person_kind_target_and_time(client: Client, idle_runtime: Runtime) -> None:
    assert "Nobody has changed anything yet" in words(await main_of(client, "/audit"))
    await idle_runtime.queues.put("media", {"concurrency": 8}, by=ANN)
    await idle_runtime.queues.patch("media", {"concurrency": 4}, by=JONAS)
    job = await add(idle_runtime)
    await idle_runtime.manager.kill(job.id, "a test", by=ANN)

    page = await main_of(client, "/audit?x")
    assert [words(cell) for cell in page.select("tbody td:nth-child(3)")] == [
        f"kill job {short(job.id)}",
        "patch queue media",
        "put queue media",
    ]
    patched = page.select("tbody tr")[1]
    assert [words(line) for line in patched.select("del, ins")] == ["concurrency: 8", "concurrency: 4"]
    assert [str(link["href"]) for link in page.select("td:nth-child(3) a")] == [
        f"/jobs/{job.id}",
        "/queues/media",
        "/queues/media",
    ]
    for query, count in (
        ("actor=ann", 2),
        ("kind=queue", 2),
        ("kind=queue&name=media&actor=jonas", 1),
        ("action=kill", 1),
        ("after=2020-01-01T00:00", 3),
        ("before=2020-01-01T00:00", 0),
        ("kind=&name=&actor=&after=&before=", 3),
    ):
        assert len((await main_of(client, f"/audit?{query}")).select("tbody tr")) == count, query
    filtered = await main_of(client, "/audit?actor=jonas&kind=queue")
    assert (first(filtered, "input[name=actor]")["value"], words(first(filtered, "option[selected]"))) == (
        "jonas",
        "queue",
    )


async def test_the_audit_pages_and_is_for_admins(client: Client, idle_runtime: Runtime) -> None:
    for number in range(23):
        await idle_runtime.queues.set_paused("media", paused=number % 2 == 0, by=ANN)
    page = await main_of(client, "/audit?actor=ann")
    older = await main_of(client, str(first(page, "a[rel=next]")["href"]))
    assert (len(page.select("tbody tr")), len(older.select("tbody tr"))) == (20, 3)
    assert first(older, "a[rel=prev]")["href"] == "/audit?actor=ann"

    _, secret = await idle_runtime.access.create(roles=["read"], by=ANN)
    async with visitor(idle_runtime, open_to_all=False) as guarded:
        await guarded.post("/login", data={"token": secret})
        assert "Not for this token: this needs the role admin" in words(await main_of(guarded, "/audit"))
        assert words(first(await main_of(guarded, "/inbox"), "h1")) == "Nothing waits for you"
