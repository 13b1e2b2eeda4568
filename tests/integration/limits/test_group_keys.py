"""A limit for each value holds whatever happens to the values: the key of a waiting job is that of its value."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64, ObjectId, encode
from bson.raw_bson import RawBSONDocument

from jobqueue.domain.errors import InvalidInputError, WrongStateError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.limits import limits
from jobqueue.services.limits.group_keys import LimitKeys
from jobqueue.store.external.adoption import ExternalStore
from jobqueue.store.limits import group_key_statements, group_keys
from jobqueue.store.limits.group_keys import LimitKeyStore
from tests.support.data.factories import add, claim, document, fail, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

PATHS = (None, "meta.user", "data.user", "meta.user.id")
JSON_VALUES: list[Any] = [
    1,
    1.0,
    True,
    "1",
    "true",
    None,
    "ann",
    'a"b',
    "a\\b",
    "x" * 300,
    {"id": 1},
    {"id": "ann"},
    [1],
    2**60,
    1.5,
    "é",
]
ODD_VALUES: list[Any] = [
    ObjectId("0" * 24),
    datetime(2026, 1, 1, tzinfo=UTC),
    Decimal128("1"),
    Int64(1),
    -0.0,
    2.0**53,
    1e300,
    float("nan"),
    float("inf"),
    b"ann",
    "a\nb",
    "a\n",
    "a\x7f",
    "a\x1f",
    "$x",
    "",
    "x" * 198,
    "x" * 199,
    "é" * 198,
    '"' * 150,
    [{"id": 1}],
    {},
]


async def limit(runtime: Runtime, path: str | None, **more: Any) -> None:
    config = {"limitBy": path} if path else {}
    await runtime.queues.put("default", {"concurrency": 1, **config, **more})
    await runtime.configs.refresh()


async def sweep(runtime: Runtime) -> None:
    """Look at the keys of all waiting jobs once."""
    await LimitKeys(runtime.configs, runtime.limit_keys, runtime.notifier).run_once()


async def edit(runtime: Runtime, job_id: str, **fields: Any) -> None:
    """Change a job by hand, as with a tool of MongoDB."""
    await runtime.jobs.collection.update_one({"_id": ObjectId(job_id)}, {"$set": fields})


async def wrong_keys(runtime: Runtime, path: str) -> list[Any]:
    """Return the waiting jobs whose key is not that of their value."""
    found = runtime.jobs.collection.find({"state": {"$in": ["pending", "delayed"]}})
    return [
        (one["limitKey"], one["meta"], one["data"]) if "limitKey" in one else one["_id"]
        async for one in found
        if one.get("limitKey") != limits.limit_key(path, one["data"], one["meta"])
    ]


async def claim_all(runtime: Runtime) -> list[Any]:
    """Claim as long as there is something to be had."""
    claimed = []
    while (one := await runtime.work.claim("default", None, worker="w")) is not None:
        claimed.append(one)
    return claimed


async def running(runtime: Runtime, path: str) -> Counter[str]:
    """Return how many jobs of each value run."""
    found = runtime.jobs.collection.find({"state": "processing"})
    return Counter([limits.limit_key(path, one["data"], one["meta"]) async for one in found])


async def test_a_value_that_is_changed_while_there_is_no_limit_counts_when_there_is_one_again(
    idle_runtime: Runtime,
) -> None:
    await limit(idle_runtime, "meta.user")
    jobs = [await add(idle_runtime, meta={"user": user}) for user in ("ann", "bob")]
    await limit(idle_runtime, None)
    await idle_runtime.manager.patch(jobs[1].id, {"meta": {"user": "ann"}})
    await limit(idle_runtime, "meta.user")
    await sweep(idle_runtime)
    assert await wrong_keys(idle_runtime, "meta.user") == []
    assert len(await claim_all(idle_runtime)) == 1


@pytest.mark.parametrize("between", ["data.user", None])
async def test_a_path_that_was_another_one_for_a_while_finds_no_old_keys(
    idle_runtime: Runtime, between: str | None
) -> None:
    await limit(idle_runtime, "meta.user")
    jobs = [await add(idle_runtime, meta={"user": user}, delay=600) for user in ("ann", "bob")]
    for how in ({"meta": {"user": "ann"}}, {"data": {"user": 7}}, {"priority": 3}):
        await limit(idle_runtime, between)
        await idle_runtime.manager.patch(jobs[1].id, how)
        expected = None if between is None else limits.limit_key(between, how.get("data", {"user": 7}), {})
        stored = (await document(idle_runtime, jobs[1].id)).get("limitKey")
        assert stored == expected or "data" not in how
        await limit(idle_runtime, "meta.user")
        await sweep(idle_runtime)
        assert await wrong_keys(idle_runtime, "meta.user") == []
        await idle_runtime.manager.patch(jobs[1].id, {"meta": {"user": "bob"}})


async def test_a_change_without_meta_takes_away_a_key_that_is_not_of_the_value_any_more(idle_runtime: Runtime) -> None:
    await limit(idle_runtime, "meta.user")
    job = await add(idle_runtime, meta={"user": "ann"}, delay=600)
    read = await idle_runtime.jobs.get(job.id)
    await idle_runtime.manager.patch(job.id, {"meta": {"user": "bob"}})
    # As read before: the other change came in between.
    await idle_runtime.jobs.editions.patch(read, {"priority": 1}, group_key_statements.regrouped("meta.user", read, {}))
    assert "limitKey" not in await document(idle_runtime, job.id)
    await idle_runtime.manager.patch(job.id, {"priority": 2})
    assert (await document(idle_runtime, job.id))["limitKey"] == 'meta.user="bob"'


async def test_a_requeue_that_races_with_a_change_leaves_no_old_key(idle_runtime: Runtime) -> None:
    await limit(idle_runtime, "meta.user")
    await add(idle_runtime, meta={"user": "ann"}, attempts=1)
    failed = await fail(idle_runtime, await claim(idle_runtime))
    await idle_runtime.manager.patch(failed.id, {"meta": {"user": "bob"}})
    await idle_runtime.manager.restart(failed, {"data": {"n": 1}})
    assert "limitKey" not in await document(idle_runtime, failed.id)
    await sweep(idle_runtime)
    assert await wrong_keys(idle_runtime, "meta.user") == []


async def test_the_sweep_does_not_undo_a_change_that_comes_while_it_looks(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime, meta={"user": "ann"}, delay=600)
    await limit(idle_runtime, "meta.user")
    write: Any = idle_runtime.limit_keys._write

    async def late(updates: Any) -> Any:
        if updates:
            await idle_runtime.manager.patch(job.id, {"meta": {"user": "bob"}})
        return await write(updates)

    monkeypatch.setattr(idle_runtime.limit_keys, "_write", late)
    await sweep(idle_runtime)
    assert (await document(idle_runtime, job.id))["limitKey"] == 'meta.user="bob"'


async def test_a_document_that_is_changed_while_it_is_taken_over_gets_no_old_key(idle_runtime: Runtime) -> None:
    await limit(idle_runtime, "meta.user")
    job_id = ObjectId()
    await idle_runtime.jobs.collection.insert_one({"_id": job_id, "type": "a", "meta": {"user": "ann"}})
    store = ExternalStore(idle_runtime.database)
    [[read]] = [page async for page in store.pages()]
    await edit(idle_runtime, str(job_id), **{"meta.user": "bob"})
    new = idle_runtime.configs.of("default").fill(NewJob(type="a"))
    assert await store.adopt(read, new, 'meta.user="ann"', {}) is None
    await idle_runtime.adopter.run_once()
    assert (await document(idle_runtime, str(job_id)))["limitKey"] == 'meta.user="bob"'


async def test_a_value_changed_by_hand_counts_at_the_very_next_claim(settings: Settings, idle_runtime: Runtime) -> None:
    await limit(idle_runtime, "meta.user")
    jobs = [await add(idle_runtime, meta={"user": user}) for user in ("ann", "bob", "eve")]
    first = await claim(idle_runtime)
    await edit(idle_runtime, jobs[1].id, **{"meta.user": "ann"})
    async with open_runtime(settings) as other:
        assert [one.job.id for one in await claim_all(other)] == [jobs[2].id]
        await succeed(idle_runtime, first)
        assert (await claim(other)).job.id == jobs[1].id
    assert max((await running(idle_runtime, "meta.user")).values()) == 1


async def test_a_value_changed_by_hand_is_seen_by_running_processes(runtime: Runtime) -> None:
    await limit(runtime, "meta.user")
    values = [*JSON_VALUES, *ODD_VALUES]
    jobs = [await add(runtime, meta={"user": number}, delay=600) for number in range(len(values))]
    for job, value in zip(jobs, values, strict=True):
        await edit(runtime, job.id, **{"meta.user": value})

    async def is_right() -> bool:
        return not await wrong_keys(runtime, "meta.user")

    await eventually(is_right)


async def test_the_server_makes_the_same_keys_as_the_program_or_none(idle_runtime: Runtime) -> None:
    rng = random.Random(5)  # noqa: S311 - no secret
    texts = ["".join(rng.choices('ab"\\\n\x00\x1f\x7f$é😀', k=rng.randrange(6))) for _ in range(200)]
    numbers = [rng.choice([1, -1]) * rng.random() * 10 ** rng.randrange(30) for _ in range(50)]
    values = [*JSON_VALUES, *ODD_VALUES, *texts, *numbers, *(float(round(one)) for one in numbers)]
    shapes: list[dict[str, Any]] = [{"meta": {"user": one}} for one in values]
    shapes += [{"meta": {"user": {"id": one}}} for one in values]
    shapes += [{}, {"meta": None}, {"meta": 5}, {"meta": []}, {"meta": [{"user": 1}]}, {"meta": {"user": None}}]
    raw = idle_runtime.database.raw["shapes"]
    await raw.insert_many([{"_id": number, **one} for number, one in enumerate(shapes)])
    told = 0
    for path in ("meta.user", "meta.user.id", "data.user"):
        pipeline: list[Any] = [{"$set": {"key": group_key_statements.key_at(path)}}, {"$sort": {"_id": 1}}]
        async for one in raw.aggregate(pipeline):
            if one["key"] is not None:
                told += 1
                assert one["key"] == limits.limit_key(path, one.get("data"), one.get("meta")), one
    assert told > len(shapes)


async def test_a_claim_agrees_with_the_key_that_the_program_makes_and_with_no_other(idle_runtime: Runtime) -> None:
    values = [*JSON_VALUES, *ODD_VALUES]
    raw = idle_runtime.database.raw["shapes"]
    await raw.insert_many([{"_id": number, "meta": {"user": one}} for number, one in enumerate(values)])
    keys = {number: limits.limit_key("meta.user", {}, {"user": one}) for number, one in enumerate(values)}
    scalars = {number for number, one in enumerate(values) if isinstance(one, bool | int | str | None)}
    for key in {*keys.values(), "meta.user=", "meta.user=1.0", "meta.user=[1]", 'meta.user="\\ud800"', "meta.user=x"}:
        found = {one["_id"] async for one in raw.find(group_key_statements.agrees(key))}
        assert {number for number, one in keys.items() if one == key} <= found
        short = found & {number for number in scalars if len(str(values[number])) < 30}
        assert {number for number in short if keys[number] != key} == set() or "sha256" in key


async def test_a_walk_takes_parts_and_loses_none(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_keys, "PART", 4)
    new = [NewJob(type="a", meta={"user": number}, delay=number % 3 * 100) for number in range(25)]
    await idle_runtime.producer.add_all(new)
    # Many of the same moment.
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    await idle_runtime.jobs.collection.update_many({"meta.user": {"$lt": 14}}, {"$set": {"insertAt": moment}})
    store = LimitKeyStore(idle_runtime.database)
    changed, place = await store.correct_part("default", "meta.user", None)
    counts = [changed]
    while place is not None:
        changed, place = await store.correct_part("default", "meta.user", place)
        counts.append(changed)
    assert sum(counts) == len(new)
    assert max(counts) <= 4
    assert await wrong_keys(idle_runtime, "meta.user") == []
    assert (await store.correct_part("default", "meta.user", None))[0] == 0


async def test_an_old_limit_is_walked_by_and_by_and_a_new_one_at_once(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_keys, "PART", 10)
    await idle_runtime.producer.add_all([NewJob(type="a", meta={"user": 1}) for _ in range(35)])
    await limit(idle_runtime, "meta.user")
    keys = LimitKeys(idle_runtime.configs, idle_runtime.limit_keys, idle_runtime.notifier)
    await keys.run_once()
    assert await wrong_keys(idle_runtime, "meta.user") == []
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"meta.user": 2, "insertAt": long_ago}})
    for one in keys._seen:
        keys._seen[one] -= 60
        keys._walked[one] -= 120
    left = []
    for _ in range(7):
        await keys.run_once()
        left.append(len(await wrong_keys(idle_runtime, "meta.user")))
    # A step for delayed jobs, of which there are none, and four for the others; then a minute without any.
    assert left == [35, 25, 15, 5, 0, 0, 0]


class Chaos:
    """Does to jobs and to the limit of their queue what people and tools may do, at random."""

    def __init__(self, runtime: Runtime, seed: int) -> None:
        self.runtime = runtime
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self.path: str | None = None
        self.claimed: list[Any] = []

    def value(self, *, odd: bool = False) -> Any:
        return self.rng.choice([*JSON_VALUES, *ODD_VALUES] if odd else JSON_VALUES)

    async def step(self) -> None:
        steps = [self.configure, self.add, self.add, self.patch, self.patch, self.requeue, self.edit, self.adopt]
        await self.rng.choice([*steps, self.work, self.work, self.end])()

    async def any_job(self) -> str:
        ids = [str(one["_id"]) async for one in self.runtime.jobs.collection.find({}, {"_id": 1})]
        return self.rng.choice(ids) if ids else (await add(self.runtime)).id

    async def configure(self) -> None:
        self.path = self.rng.choice(PATHS)
        await limit(self.runtime, self.path)

    async def add(self) -> None:
        meta, data = {"user": self.value()}, {"user": self.value()}
        await add(self.runtime, meta=meta, data=data, delay=self.rng.choice([0, 0, 600]))

    async def patch(self) -> None:
        changes: list[Any] = [{"meta": {"user": self.value()}}, {"data": {"user": self.value()}}, {"priority": 2}]
        change = self.rng.choice(changes)
        await self._anyhow(self.runtime.manager.patch(await self.any_job(), change))

    async def requeue(self) -> None:
        change: Any = self.rng.choice([{"data": {"user": self.value()}}, {}])
        await self._anyhow(self.runtime.manager.requeue(await self.any_job(), change))

    async def edit(self) -> None:
        field = self.rng.choice(["meta.user", "data.user"])
        waiting = {"_id": ObjectId(await self.any_job()), "state": {"$ne": "processing"}}
        await self.runtime.jobs.collection.update_one(waiting, {"$set": {field: self.value(odd=True)}})

    async def adopt(self) -> None:
        found = {"type": "a", "meta": {"user": self.value(odd=True)}, "limitKey": "meta.user=1"}
        await self.runtime.jobs.collection.insert_one(found)
        await self.runtime.adopter.run_once()

    async def work(self) -> None:
        one = await self.runtime.work.claim("default", None, worker="w")
        self.claimed += [one] if one else []

    async def end(self) -> None:
        if self.claimed:
            one = self.claimed.pop(self.rng.randrange(len(self.claimed)))
            await (succeed if self.rng.random() < 0.5 else fail)(self.runtime, one)

    async def _anyhow(self, doing: Any) -> None:
        with contextlib.suppress(WrongStateError, InvalidInputError):
            await doing


@pytest.mark.parametrize("seed", range(8))
async def test_after_any_changes_keys_are_right_and_no_two_jobs_of_a_value_run(
    idle_runtime: Runtime, seed: int
) -> None:
    chaos = Chaos(idle_runtime, seed)
    for _ in range(70):
        await chaos.step()
    for one in chaos.claimed:
        await succeed(idle_runtime, one)
    chaos.path = chaos.rng.choice(PATHS[1:])
    await limit(idle_runtime, chaos.path)
    await sweep(idle_runtime)
    assert await wrong_keys(idle_runtime, str(chaos.path)) == []
    waiting = await idle_runtime.jobs.collection.distinct("limitKey", {"state": "pending"})
    claimed = await asyncio.gather(*(claim_all(idle_runtime) for _ in range(3)))
    assert sum(map(len, claimed)) == len(waiting)
    assert set((await running(idle_runtime, str(chaos.path))).values()) <= {1}


async def test_a_text_that_is_no_utf_8_is_a_group_and_holds_up_no_claim(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.put("default", {"limitBy": "data.user", "concurrency": 1})
    await idle_runtime.configs.refresh()
    jobs = [await add(idle_runtime, data={"user": user}) for user in ("xx", "xx", "ann")]
    odd = RawBSONDocument(encode({"user": "xx"}).replace(b"xx", b"\xff\xfe"))
    for job in jobs[:2]:
        await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": {"data": odd}})
    keys = LimitKeys(idle_runtime.configs, idle_runtime.limit_keys, idle_runtime.notifier)
    await keys.run_once()
    await idle_runtime.limit_keys.correct_some("default", "data.user", [ObjectId(job.id) for job in jobs])
    claimed = [await claim(idle_runtime), await claim(idle_runtime)]
    assert {held.job.id for held in claimed} == {jobs[0].id, jobs[2].id}
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    await succeed(idle_runtime, next(held for held in claimed if held.job.id == jobs[0].id))
    assert (await claim(idle_runtime)).job.id == jobs[1].id
