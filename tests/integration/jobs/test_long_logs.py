"""A log of 100,000 lines: whole, in order, read by indexes, and no burden to the job that writes it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import INLINE_LOGS
from jobqueue.domain.work.logs import LOOKED_THROUGH, LogQuery
from jobqueue.services.signals import log_signals as log_services
from jobqueue.services.signals.log_signals import TooManyFollowingError
from jobqueue.store.documents import statements
from jobqueue.store.jobs import logs
from jobqueue.store.mongo.clock import SERVER_NOW
from tests.support.data.factories import claim, claimed_job, document, fail, succeed
from tests.support.mongo.plans import explain
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.work.logs import LogPage
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

LINES = 100_000
AT_ONCE = 1000
WRITERS = 4


async def write(runtime: Runtime, claimed: ClaimedJob, *lines: str, level: str | None = None) -> None:
    assert await runtime.work.report(claimed.job, claimed.token, lines=[(line, level) for line in lines])


async def texts(runtime: Runtime, job_id: str, query: LogQuery | None = None) -> list[str]:
    found = []
    async for part in runtime.logs.all(job_id, query or LogQuery()):
        found += [line.m for _, line in part]
    return found


class Held:
    """Holds heartbeats up between counting their lines and storing them, until they are let go one by one."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self._store = runtime.claims._keep_outside
        self._waiting: list[tuple[str, asyncio.Event]] = []
        monkeypatch.setattr(runtime.claims, "_keep_outside", self._hold)

    async def _hold(self, found: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], *rest: Any) -> None:
        gate = asyncio.Event()
        self._waiting.append((lines[0]["m"], gate))
        await gate.wait()
        await self._store(found, lines, *rest)

    async def reached(self, text: str) -> None:
        await eventually(lambda: any(first == text for first, _ in self._waiting))

    def let_go(self, text: str) -> None:
        next(gate for first, gate in self._waiting if first == text).set()


async def test_100_000_lines_of_concurrent_heartbeats_come_back_in_order_and_burden_nobody(
    idle_runtime: Runtime,
) -> None:
    claimed = await claimed_job(idle_runtime)
    job_id = claimed.job.id
    await write(idle_runtime, claimed, *("first" for _ in range(INLINE_LOGS)))
    small = len(bson.encode(await document(idle_runtime, job_id)))

    async def write_some(writer: int) -> None:
        count = LINES // WRITERS
        for start in range(0, count, AT_ONCE):
            lines = [(f"{writer} {number}", _level(number)) for number in range(start, start + AT_ONCE)]
            assert await idle_runtime.work.report(claimed.job, claimed.token, lines=lines)

    await asyncio.gather(*map(write_some, range(WRITERS)))
    found = (await texts(idle_runtime, job_id))[INLINE_LOGS:]
    assert len(found) == len(set(found)) == LINES
    for writer in range(WRITERS):
        own = [int(text.split()[1]) for text in found if text.startswith(f"{writer} ")]
        assert own == list(range(LINES // WRITERS))
    errors = LogQuery(levels=("error", "fatal"), attempt=1)
    assert await texts(idle_runtime, job_id, errors) == [one for one in found if int(one.split()[1]) % 1000 in {7, 8}]
    grown = len(bson.encode(await document(idle_runtime, job_id)))
    assert grown - small < 100
    await _explain_all(idle_runtime, claimed)
    assert (await succeed(idle_runtime, claimed)).state is State.SUCCESS
    last = await idle_runtime.logs.store.page(job_id, LogQuery(after=INLINE_LOGS + LINES - 1))
    assert (len(last.lines), last.more, last.ended) == (1, False, True)


def _level(number: int) -> str | None:
    return {7: "error", 8: "fatal"}.get(number % 1000, "info" if number % 2 else None)


async def _explain_all(runtime: Runtime, claimed: ClaimedJob) -> None:
    """Look at how a heartbeat, the end of the job and the pages of its log are done."""
    job = claimed.job
    held = statements.held(job.id, job.queue, claimed.token)
    beat = statements.renew(SERVER_NOW, None, [{"m": "x"}])
    await explain(runtime.database, {"findAndModify": "jobs", "query": held, "update": beat}, keys=1)
    end = {"q": held, "u": {"$set": {"state": "success"}}, "multi": False}
    await explain(runtime.database, {"update": "jobs", "updates": [end]}, keys=1)
    for query in (
        LogQuery(after=70_000, limit=100),
        LogQuery(after=70_000, limit=100, levels=("info",)),
        LogQuery(after=70_000, limit=10, levels=("error",)),
        LogQuery(limit=100, levels=("error", "fatal", "none")),
        LogQuery(after=50_000, limit=100, attempt=1),
        LogQuery(after=50_000, limit=100, attempt=2),
        LogQuery(limit=100, levels=("info", "error"), attempt=1),
        LogQuery(limit=100, levels=("info",), attempt=2),
        LogQuery(before=70_000, limit=100),
        LogQuery(before=70_000, limit=100, levels=("info",)),
        LogQuery(before=90_000, limit=100, levels=("info", "error"), attempt=1),
    ):
        found = logs.lines(ObjectId(job.id), query, None)
        command = {
            "find": "logs",
            "filter": found,
            "sort": {"seq": 1 if query.before is None else -1},
            "limit": query.limit,
            "hint": logs.index(query),
        }
        await explain(runtime.database, command, keys=query.limit + 5)
    search = logs.lines(ObjectId(job.id), LogQuery(text="nowhere"), None)
    command = {"find": "logs", "filter": search, "sort": {"seq": 1}, "hint": logs.LINE_INDEX}
    await explain(runtime.database, command, keys=LOOKED_THROUGH)


async def test_a_log_is_read_backwards_from_a_line_and_searched_for_a_text(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime)
    await write(idle_runtime, claimed, *(f"Row {number} ok" for number in range(INLINE_LOGS + 300)))

    async def look(**query: Any) -> tuple[list[int], int, int | None]:
        page = await idle_runtime.logs.store.page(claimed.job.id, LogQuery(**query))
        return [number for number, _ in page.lines], page.resume, page.earlier

    assert await look(before=10**9, limit=3) == ([497, 498, 499], 500, 497)
    assert await look(before=INLINE_LOGS + 1, limit=3) == ([198, 199, 200], 201, 198)
    assert await look(before=2, limit=3) == ([0, 1], 2, None)
    assert await look(text="rOW 49", limit=20) == ([49, *range(490, 500)], 500, None)
    monkeypatch.setattr("jobqueue.domain.work.logs.LOOKED_THROUGH", 250)
    assert await look(text="row 49 ", limit=20) == ([49], 250, None)
    assert await look(text="row 49 ", after=250, limit=20) == ([], 500, 250)
    assert await look(text="row 49 ", before=500, limit=20) == ([], 500, 250)


async def test_lines_that_are_counted_and_not_stored_yet_are_waited_for(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime)
    await write(idle_runtime, claimed, *("first" for _ in range(INLINE_LOGS)))
    held = Held(idle_runtime, monkeypatch)
    slow = asyncio.create_task(write(idle_runtime, claimed, "slow 1", "slow 2"))
    await held.reached("slow 1")
    quick = asyncio.create_task(write(idle_runtime, claimed, "quick", level="info"))
    await held.reached("quick")
    held.let_go("quick")
    await quick
    for query in (LogQuery(after=150), LogQuery(after=150, levels=("info",)), LogQuery(after=150, attempt=1)):
        page = await idle_runtime.logs.store.page(claimed.job.id, query)
        assert "quick" not in [line.m for _, line in page.lines]
        assert (page.more, page.resume, page.ended) == (False, INLINE_LOGS, False)
    held.let_go("slow 1")
    await slow
    page = await idle_runtime.logs.store.page(claimed.job.id, LogQuery(after=INLINE_LOGS))
    assert [line.m for _, line in page.lines] == ["slow 1", "slow 2", "quick"]
    assert page.resume == INLINE_LOGS + 3


async def test_a_log_has_not_ended_before_its_last_lines_are_stored(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime)
    await write(idle_runtime, claimed, *("first" for _ in range(INLINE_LOGS)))
    held = Held(idle_runtime, monkeypatch)
    writing = asyncio.create_task(write(idle_runtime, claimed, "last"))
    await held.reached("last")
    await fail(idle_runtime, claimed)
    await idle_runtime.manager.kill(claimed.job.id)
    assert not (await idle_runtime.logs.store.page(claimed.job.id, LogQuery(after=100))).ended
    held.let_go("last")
    await writing
    page = await idle_runtime.logs.store.page(claimed.job.id, LogQuery(after=100))
    assert ([line.m for _, line in page.lines][-1], page.ended) == ("last", True)


async def _lose(runtime: Runtime, *, old: bool) -> str:
    """Return a job with 100 lines that were counted, and lost in a crash before they were stored."""
    claimed = await claimed_job(runtime)
    await write(runtime, claimed, *(f"line {number}" for number in range(INLINE_LOGS + 500)))
    await runtime.database.collection("logs").delete_many({"seq": {"$gte": 300, "$lt": 400}})
    if old:
        age = {"$subtract": ["$t", round((logs.STORED_AFTER + timedelta(seconds=5)).total_seconds() * 1000)]}
        await runtime.database.collection("logs").update_many({}, [{"$set": {"t": age}}])
    return claimed.job.id


@pytest.mark.parametrize("query", [LogQuery(limit=150), LogQuery(attempt=1), LogQuery(limit=1000)])
async def test_lines_that_were_lost_in_a_crash_are_passed_over_after_a_while(
    idle_runtime: Runtime, query: LogQuery
) -> None:
    fresh = await _lose(idle_runtime, old=False)
    assert await texts(idle_runtime, fresh, query) == [f"line {number}" for number in range(300)]
    old = await _lose(idle_runtime, old=True)
    assert await texts(idle_runtime, old, query) == [
        f"line {number}" for number in range(700) if not 300 <= number < 400
    ]


async def test_a_narrowed_page_of_a_log_that_is_being_written_does_not_look_at_what_is_old(
    idle_runtime: Runtime,
) -> None:
    claimed = await claimed_job(idle_runtime)
    for _ in range(8):
        await write(idle_runtime, claimed, *("line" for _ in range(AT_ONCE)), level="info")
    past = (await idle_runtime.database.clock.now()) - timedelta(hours=1)
    of_job = {"jobId": ObjectId(claimed.job.id)}
    await idle_runtime.database.collection("logs").update_many(of_job | {"seq": {"$lt": 6000}}, {"$set": {"t": past}})
    # A line that is missing among the old ones is not even noticed.
    await idle_runtime.database.collection("logs").delete_one(of_job | {"seq": 3000})
    head = await idle_runtime.logs.store._head(claimed.job.id, 200, EVERYTHING)
    assert await idle_runtime.logs.store._recent(head, 200) == 4000
    assert len(await texts(idle_runtime, claimed.job.id, LogQuery(levels=("info",)))) == 7999


async def test_attempts_and_levels_are_told_apart_also_in_the_document(idle_runtime: Runtime) -> None:
    first = await claimed_job(idle_runtime, backoff=0)
    await write(idle_runtime, first, "a", level="error")
    await write(idle_runtime, first, "b")
    await fail(idle_runtime, first)
    second = await claim(idle_runtime)
    await write(idle_runtime, second, *("c" for _ in range(INLINE_LOGS)), level="error")
    for query, count in (
        (LogQuery(levels=("error",)), 201),
        (LogQuery(attempt=1), 2),
        (LogQuery(attempt=2), 200),
        (LogQuery(attempt=1, levels=("error",)), 1),
        (LogQuery(attempt=1, levels=("debug", "info")), 0),
        (LogQuery(attempt=3), 0),
    ):
        assert len(await texts(idle_runtime, first.job.id, query)) == count


async def test_whoever_waits_for_lines_gets_them_at_once_and_the_end_too(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    waiting = asyncio.create_task(idle_runtime.logs.following(claimed.job.id, LogQuery(levels=("info",)), 60))
    await eventually(lambda: idle_runtime.logs._waiting)
    await write(idle_runtime, claimed, "not this one")
    await write(idle_runtime, claimed, "hello", level="info")
    page = await waiting
    assert ([line.m for _, line in page.lines], page.resume, page.ended) == (["hello"], 2, False)
    ending = asyncio.create_task(idle_runtime.logs.following(claimed.job.id, LogQuery(after=2), 60))
    await eventually(lambda: idle_runtime.logs._waiting)
    await succeed(idle_runtime, claimed)
    page = await ending
    assert (page.lines, page.ended) == ((), True)
    assert not idle_runtime.logs._waiting


async def test_what_another_process_is_told_is_found_by_looking(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime)
    monkeypatch.setattr(idle_runtime.logs, "news", lambda _job_id: None)
    waiting = asyncio.create_task(idle_runtime.logs.following(claimed.job.id, LogQuery(), 60))
    await eventually(lambda: idle_runtime.logs._waiting)
    await write(idle_runtime, claimed, "hello")
    assert len((await waiting).lines) == 1


@pytest.mark.parametrize("leave", ["time", "close", "gone"])
async def test_nobody_waits_for_ever(idle_runtime: Runtime, leave: str) -> None:
    claimed = await claimed_job(idle_runtime)
    seconds = 0.05 if leave == "time" else 60
    left: Callable[[], bool] = lambda: leave == "gone"  # noqa: E731 - a test double
    waiting = asyncio.create_task(idle_runtime.logs.following(claimed.job.id, LogQuery(), seconds, gone=left))
    if leave == "close":
        await eventually(lambda: idle_runtime.logs._waiting)
        idle_runtime.logs.close()
    page: LogPage = await waiting
    assert (page.lines, page.ended) == ((), False)


async def test_too_many_do_not_wait(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_services, "MOST_FOLLOWING", 1)
    claimed = await claimed_job(idle_runtime)
    waiting = asyncio.create_task(idle_runtime.logs.following(claimed.job.id, LogQuery(), 60))
    await eventually(lambda: idle_runtime.logs._waiting)
    with pytest.raises(TooManyFollowingError):
        await idle_runtime.logs.following(claimed.job.id, LogQuery(), 60)
    idle_runtime.logs.close()
    await waiting
