"""Jobs and batches found by the first or the last digits of their ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue import Member, NewBatch, NewJob
from jobqueue.api.app import make_app
from jobqueue.domain.access.access import Scope
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, NotFoundError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.short_ids import ShortId, only
from jobqueue.store.search.short_ids import ShortIdStore, tails
from tests.support.mongo.plans import stages

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

ANN = Actor(name="ann", via="cli")
LAST = datetime(2031, 1, 1, tzinfo=UTC)


async def insert(runtime: Runtime, *ids: str, **fields: Any) -> None:
    """Write jobs, the first of which is the newest."""
    await runtime.jobs.collection.insert_many(
        [
            {
                "_id": ObjectId(job_id),
                "type": "import",
                "state": "success",
                "queue": "q",
                "run": 0,
                "insertAt": LAST - timedelta(seconds=age),
                **fields,
            }
            for age, job_id in enumerate(ids)
        ]
    )


async def found(runtime: Runtime, text: str, **options: Any) -> list[str]:
    store = ShortIdStore(runtime.database, **options)
    return [match["id"] for match in await store.jobs(ShortId.read(text), 6)]


async def test_a_job_is_found_by_either_end_of_its_id(idle_runtime: Runtime) -> None:
    first, second = "6b0db02090670000000a1b2c", "6b0db02090670000000a1b2d"
    await insert(idle_runtime, first, second)
    assert await found(idle_runtime, "…0A1B2C") == [first]
    assert await found(idle_runtime, "0a1b2d") == [second]
    assert sorted(await found(idle_runtime, "6b0db0")) == [first, second]
    assert await found(idle_runtime, "...6b0db0") == []
    assert await found(idle_runtime, "0a1b2d…") == []
    assert await found(idle_runtime, first) == [first]
    # A deleted job leaves its id behind for a while.
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(first)}, {"$unset": {"state": ""}})
    assert await found(idle_runtime, "0a1b2c") == []


async def test_the_last_digits_cover_the_newest_jobs_and_those_that_somebody_asks_for(idle_runtime: Runtime) -> None:
    ids = [f"{number:018x}{number:06x}" for number in range(1, 7)]
    await insert(idle_runtime, *ids)
    assert await found(idle_runtime, ids[2][-6:], covered=3) == [ids[2]]
    assert await found(idle_runtime, ids[3][-6:], covered=3) == []
    assert await found(idle_runtime, ids[3][:20], covered=3) == [ids[3]]
    for state in ("processing", "failed", "killed"):
        await idle_runtime.jobs.collection.update_one({"_id": ObjectId(ids[5])}, {"$set": {"state": state}})
        assert await found(idle_runtime, ids[5][-6:], covered=3) == [ids[5]]


@pytest.mark.parametrize("state", [None, State.FAILED])
async def test_the_last_digits_are_looked_up_in_an_index_alone(idle_runtime: Runtime, state: State | None) -> None:
    await insert(idle_runtime, *(f"{number:024x}" for number in range(50)), state="failed")
    index = "newest" if state is None else "newestOfState"
    command = {"aggregate": "jobs", "pipeline": tails(ShortId.read("0000ff"), 6, state=state, covered=20)}
    plan = await idle_runtime.database.raw.command(
        "explain", {**command, "cursor": {}, "hint": index}, verbosity="executionStats"
    )
    examined = plan["stages"][0]["$cursor"]["executionStats"]
    assert "PROJECTION_COVERED" in set(stages(plan))
    assert examined["totalKeysExamined"] <= 20
    assert examined["totalDocsExamined"] == 0


async def test_an_ambiguous_or_unknown_form_is_refused(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, *(f"{number:018x}abcdef" for number in range(8)))
    matches = await idle_runtime.short_ids.jobs(ShortId.read("abcdef"), 6)
    with pytest.raises(InvalidInputError) as caught:
        only("job", "abcdef", matches)
    [message] = caught.value.problems["id"]
    assert message.startswith("abcdef stands for several jobs: ")
    assert message.count("(import, success)") == 5
    assert message.endswith("and others")
    with pytest.raises(NotFoundError, match="there is no job abcdee"):
        only("job", "abcdee", await idle_runtime.short_ids.jobs(ShortId.read("abcdee"), 6))


@pytest.mark.parametrize("text", ["", "42", "abcde", "…abcde", "xyzxyz", "…abcdef…", "a" * 25, "abcdef/", "…" * 9])
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(InvalidInputError, match="must be 24 hexadecimal digits, or at least the first six"):
        ShortId.read(text)


async def test_jobs_outside_of_a_scope_take_no_place(idle_runtime: Runtime) -> None:
    older, newer = f"6b0db0{1:012x}abcdef", f"6b0db0{2:012x}abcdef"
    await insert(idle_runtime, newer, queue="mail")
    await insert(idle_runtime, older, queue="media")
    for text in ("6b0db0", "abcdef"):
        matches = await idle_runtime.short_ids.jobs(ShortId.read(text), 1, Scope(queues=("media",)))
        assert [match["id"] for match in matches] == [older]


async def listed(runtime: Runtime, path: str, token: str = "", status: int = 200) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with TestClient(TestServer(make_app(runtime))) as client, client.get(path, headers=headers) as reply:
        assert reply.status == status, await reply.text()
        return await reply.json(content_type=None)


async def test_the_api_lists_by_short_ids_within_the_scope_of_the_token(idle_runtime: Runtime) -> None:
    view, [job] = await idle_runtime.batches.create(NewBatch(members=[Member(job=NewJob(type="work", queue="media"))]))
    batch = view.batch.id
    for short in (job.id, job.id[:12], job.id[-6:], f"…{job.id[-6:]}"):
        page = await listed(idle_runtime, f"/v1/jobs?id={short}&fields=type")
        assert page == {"items": [{"id": job.id, "type": "work"}], "next": None}
    assert (await listed(idle_runtime, f"/v1/jobs?id={job.id[-6:]}&state=failed"))["items"] == []
    assert (await listed(idle_runtime, "/v1/jobs?id=ffffff"))["items"] == []
    for path in ("jobs", "batches"):
        problem = await listed(idle_runtime, f"/v1/{path}?id=xyz", status=422)
        assert list(problem["errors"]) == ["id"]
    assert [each["id"] for each in (await listed(idle_runtime, f"/v1/batches?id={batch[-6:]}"))["items"]] == [batch]
    assert (await listed(idle_runtime, f"/v1/batches?id={batch[-6:]}&state=finished"))["items"] == []
    other = (await idle_runtime.access.create(roles=["read"], queues=["mail"], by=ANN))[1]
    for path in (f"/v1/jobs?id={job.id[-6:]}", f"/v1/jobs?id={job.id}", f"/v1/batches?id={batch[-6:]}"):
        assert (await listed(idle_runtime, path, other))["items"] == []
