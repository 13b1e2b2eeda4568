"""Bundles over HTTP: what is in them, what is cut, and what a limited token gets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue import AsyncClient
from jobqueue.api.app import make_app
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.bundle import Bundle
from jobqueue.services import bundles
from tests.support.data.factories import claim, fail, open_runtime, succeed

if TYPE_CHECKING:
    from jobqueue.settings import Settings

HOOK = {"kind": "webhook", "url": "https://example.com/?key=planted-key", "headers": {"X-Key": "planted-header"}}


async def test_a_bundle_has_all_and_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_RESULTS", 60_000)
    monkeypatch.setattr(bundles, "MOST_LINES", 5)
    monkeypatch.setattr(bundles, "MOST_CHILDREN", 1)
    mine, theirs = {"user_id": 7}, {"user_id": 8}
    async with open_runtime(replace(settings, admin_token="planted-admin-token")) as runtime:  # noqa: S106 - planted
        await runtime.queues.put("default", {"processors": {"other": HOOK}, "concurrency": 3})
        first = await runtime.producer.add(NewJob(type="first", meta=theirs))
        await succeed(runtime, await claim(runtime), {"of": "first"})
        job = await runtime.producer.add(NewJob(type="work", meta=mine, depends_on=(first.id,), attempts=1))
        claimed = await claim(runtime)
        for name, size in (("small", 10), ("outside", 20_000), ("large", 50_000), ("last", 10)):
            await runtime.work.steps.record(claimed.job, claimed.token, name, "x" * size)
        planted = f"planted-admin-token planted-key planted-header {claimed.token}"
        lines = [(f"{number} {planted}", None) for number in range(9)]
        await runtime.work.report(claimed.job, claimed.token, lines=lines)
        error = JobError(kind="E", message="no", step="pay")
        await fail(runtime, claimed, error)
        for meta in (mine, theirs):
            child = await runtime.producer.add(NewJob(type="child", meta=meta))
            parent = {"$set": {"parentId": ObjectId(job.id)}}
            await runtime.jobs.collection.update_one({"_id": ObjectId(child.id)}, parent)
        by = Actor(name="test", via="python")
        tokens = {
            name: (await runtime.access.create(roles=["read"], meta=meta, by=by))[1]
            for name, meta in (("all", ()), ("mine", (("user_id", 7),)))
        }
        async with TestClient(TestServer(make_app(runtime))) as server:
            url = str(server.make_url("/"))
            async with AsyncClient(url, tokens["all"]) as client:
                form = await client.bundle(job.id)
                with pytest.raises(InvalidInputError, match="is not a path such as data"):
                    await client.bundle(job.id, redact=["password"])
            async with AsyncClient(url, tokens["mine"]) as client:
                limited = await client.bundle(job.id)
    sizes = {name: len(result) for name, result in form["results"].items()}
    assert sizes == {"small": 10, "outside": 20_000, "last": 10}
    assert form["cut"] == [
        "the result of step large: there is no room for its 50,007 bytes",
        "logs: the first 4 of 9 lines",
        "children: all but the first 1 are only named",
    ]
    assert [line["number"] for line in form["logs"]] == [5, 6, 7, 8, 9]
    assert "planted" not in str(form)
    assert claimed.token not in str(form)
    assert form["fingerprint"] == fingerprint("work", error)
    assert (form["queue"]["concurrency"], len(form["queue"]["revision"])) == (3, 16)
    assert [parent["result"] for parent in form["job"]["parents"]] == [{"of": "first"}]
    assert [relative["type"] for relative in form["relatives"]] == ["child", "child"]
    assert Bundle.of(form).job.id == job.id

    # A limited token gets nothing of others.
    assert limited["job"]["parents"] == [{"id": first.id, "deleted": True}]
    assert [relative["type"] for relative in limited["relatives"]] == ["child"]
    assert limited["queue"] == {"name": "default"}
