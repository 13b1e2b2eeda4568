"""Groups of very many failures: a bounded number of keys, and right after a known time."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.access.access import Scope
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, FailureQuery
from jobqueue.services.insight import count_keeper
from jobqueue.services.insight.count_keeper import FailureCountKeeper
from jobqueue.store.bulk import failure_counts, failures
from jobqueue.store.bulk.failure_counts import FailureCountStore
from tests.support.data.factories import claimed_job, fail, open_runtime

if TYPE_CHECKING:
    from jobqueue.domain.work.failure import FailureGroup
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

LAST = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("apple", "pear", "plum", "fig", "date", "lime", "kiwi", "nut", "leek", "bean")


async def insert(runtime: Runtime, count: int, groups: int = 10, **fields: Any) -> None:
    """Write failures of some groups and two queues, as this package leaves them, a second after each other."""
    marks = {}
    made: list[dict[str, Any]] = []
    for number in range(count):
        name = KINDS[number % groups] if groups <= len(KINDS) else _word(number % groups)
        error = {"kind": "Boom", "message": f"no {name}"}
        if name not in marks:
            marks[name] = fingerprint("work", JobError(**error))
        ended = LAST - timedelta(seconds=count - number)
        state = "killed" if number % 3 == 0 else "failed"
        one = {"_id": ObjectId(), "queue": f"q{number % 7 % 2}", "type": "work", "state": state, "run": 0}
        made.append(one | {"insertAt": ended, "endAt": ended, "error": error, "fingerprint": marks[name]} | fields)
    for start in range(0, count, 30_000):
        await runtime.jobs.collection.insert_many(made[start : start + 30_000], ordered=False)


def _word(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


async def turn(runtime: Runtime) -> None:
    """Take a turn as if the last one were long ago."""
    await runtime.database.collection("streams").delete_many({"_id": "failures"})
    assert await keeper(runtime).run_once() is not None


def keeper(runtime: Runtime) -> FailureCountKeeper:
    return FailureCountKeeper(FailureCountStore(runtime.database), runtime.database.clock)


async def groups(runtime: Runtime, scope: Scope | None = None, **wanted: Any) -> list[FailureGroup]:
    found, _ = await runtime.failures.page(FailureQuery(**wanted), scope=scope or Scope())
    return found


def gist(found: list[FailureGroup]) -> list[Any]:
    return [(one.fingerprint, one.count, one.states, one.first_at, one.last_at, one.queues) for one in found]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep counts of more than 20 failures."""
    monkeypatch.setattr(failure_counts, "FEW", 20)
    monkeypatch.setattr(count_keeper, "SETTLED", timedelta(seconds=0))


WANTED: list[dict[str, Any]] = [
    {},
    {"sort": BY_LAST},
    {"queue": "q1"},
    {"type": "work"},
    {"type": "other"},
    {"states": (State.KILLED,)},
    {"queue": "q0", "states": (State.FAILED,), "sort": BY_LAST},
    {"inserted_after": LAST - timedelta(seconds=50)},
    {"inserted_before": LAST - timedelta(seconds=50), "queue": "q1"},
    {"ended_after": LAST - timedelta(seconds=50)},
    {"ended_after": LAST - timedelta(seconds=50), "queue": "q1", "states": (State.KILLED,)},
]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("scope", [Scope(), Scope(queues=("q0",)), Scope(queues=("*1", "x"))])
async def test_kept_groups_are_as_counted_one_by_one(idle_runtime: Runtime, scope: Scope) -> None:
    await insert(idle_runtime, 200)
    exact = [gist(await groups(idle_runtime, scope, **wanted)) for wanted in WANTED]
    assert exact[0]
    await turn(idle_runtime)
    assert await FailureCountStore(idle_runtime.database).kept() is not None
    assert [gist(await groups(idle_runtime, scope, **wanted)) for wanted in WANTED] == exact
    whole = await groups(idle_runtime, scope)
    one = whole[0]
    assert gist(await groups(idle_runtime, scope, fingerprint=one.fingerprint)) == gist([one])
    assert one.sample.queue in one.queues
    for sort in (BY_COUNT, BY_LAST):
        seen: list[FailureGroup] = []
        query, more = FailureQuery(sort=sort, limit=3), True
        while more:
            page, more = await idle_runtime.failures.page(query, scope=scope)
            seen += page
            query = query.at(query.cursor(page[-1]))
        assert gist(seen) == gist(await groups(idle_runtime, scope, sort=sort))


@pytest.mark.usefixtures("few")
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("seed", range(2))
async def test_after_any_changes_and_a_count_all_is_right(idle_runtime: Runtime, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    jobs = idle_runtime.jobs.collection
    await insert(idle_runtime, 60)
    for _ in range(12):
        match chance.randrange(4):
            case 0:
                await insert(idle_runtime, chance.randrange(1, 30))
            case 1:
                some = [one["_id"] async for one in jobs.aggregate([{"$sample": {"size": 9}}])]
                await jobs.delete_many({"_id": {"$in": some}})
            case 2:
                failed = await jobs.find_one({"state": {"$in": ["failed", "killed"]}})
                if failed is not None:
                    await idle_runtime.manager.requeue(str(failed["_id"]))
            case _:
                await turn(idle_runtime)
    await turn(idle_runtime)
    kept = gist(await groups(idle_runtime))
    await idle_runtime.database.collection("failureGroups").delete_many({})
    assert kept == gist(await groups(idle_runtime))


@pytest.mark.usefixtures("few")
async def test_a_new_failure_is_there_at_once_and_a_group_that_is_gone_is_not(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, 100)
    await turn(idle_runtime)
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1), JobError(kind="New", message="new"))
    newest = (await groups(idle_runtime, sort=BY_LAST))[0]
    assert (newest.message, newest.count) == ("new", 1)
    gone = (await groups(idle_runtime))[0].fingerprint
    await idle_runtime.jobs.collection.update_many({"fingerprint": gone}, {"$set": {"state": "pending"}})
    assert gone not in [one.fingerprint for one in await groups(idle_runtime)]
    assert len(await groups(idle_runtime, limit=10)) == 10
    await idle_runtime.jobs.collection.delete_many({})
    await turn(idle_runtime)
    assert await FailureCountStore(idle_runtime.database).kept() is None


@pytest.mark.usefixtures("few")
async def test_a_group_that_is_not_kept_is_found_by_its_fingerprint(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_counts, "KEPT", 3)
    await insert(idle_runtime, 300)
    exact = gist(await groups(idle_runtime))
    await turn(idle_runtime)
    kept = gist(await groups(idle_runtime))
    assert 3 <= len(kept) <= 6
    left_out = next(group for group in exact if group not in kept)
    assert gist(await groups(idle_runtime, fingerprint=left_out[0])) == [left_out]


@pytest.mark.usefixtures("few")
async def test_a_token_for_a_value_sees_its_own_groups(idle_runtime: Runtime) -> None:
    mine = [await claimed_job(idle_runtime, attempts=1, meta={"user": user}) for user in (1, 1, 2)]
    for claimed in mine:
        await fail(idle_runtime, claimed)
    await insert(idle_runtime, 100)
    await turn(idle_runtime)
    (group,) = await groups(idle_runtime, Scope(meta=(("user", 1),)))
    assert (group.count, group.sample.id) == (2, mine[1].job.id)


@pytest.mark.usefixtures("few")
async def test_too_many_between_dates_are_refused(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    await insert(idle_runtime, 100)
    monkeypatch.setattr(failures, "MOST", 30)
    assert len(await groups(idle_runtime, ended_after=LAST - timedelta(seconds=30))) == 10
    with pytest.raises(InvalidInputError, match="narrow them"):
        await groups(idle_runtime, ended_after=LAST - timedelta(seconds=31))


async def test_one_process_counts_at_a_time(idle_runtime: Runtime, settings: Settings) -> None:
    async with open_runtime(settings) as other:
        turns = [await keeper(runtime).run_once() for runtime in (idle_runtime, other)]
    assert [pause is not None for pause in turns] == [True, False]


@pytest.mark.parametrize(("count", "number"), [(3_000, 2_500), (30_000, 10)])
async def test_what_is_looked_at_is_bounded(idle_runtime: Runtime, count: int, number: int) -> None:
    await insert(idle_runtime, count, number)
    await turn(idle_runtime)
    raw = idle_runtime.database.raw
    for wanted in ({}, {"sort": BY_LAST}, {"queue": "q1", "limit": 200}, {"states": (State.KILLED,)}):
        await raw.drop_collection("system.profile")
        await raw.command("profile", 2)
        assert await groups(idle_runtime, **wanted)
        await raw.command("profile", 0)
        looked = [one async for one in raw["system.profile"].find({"ns": {"$regex": r"\.(jobs|failureGroups)$"}})]
        seen = sum(one.get("keysExamined", 0) + one.get("docsExamined", 0) for one in looked)
        # To tell whether there are few takes a thousand and one, and each sample three.
        assert seen <= 1_001 + 3 * 200 + 50, (wanted, seen)
