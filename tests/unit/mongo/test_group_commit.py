"""Group commit: everybody gets his own answer, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from jobqueue.store.mongo.group_commit import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence

LONG = 5


class Writer:
    """Answers each number with its double, a number over 1,000 with an error; writes when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.broken: Exception | None = None
        self.active = self.most_active = 0

    async def __call__(self, calls: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(calls))
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            await self.gate.wait()
        finally:
            self.active -= 1
        if self.broken:
            raise self.broken
        return [ValueError(str(one)) if one > 1000 else one * 2 for one in calls]


async def begin(group: Batcher[int, int], calls: Sequence[int]) -> list[asyncio.Task[int]]:
    """Begin calls one after another; the first is under way and the others wait for it."""
    tasks = []
    for one in calls:
        tasks.append(asyncio.create_task(group(one)))
        await asyncio.sleep(0)
    return tasks


async def test_a_lone_call_goes_out_at_once_and_alone() -> None:
    writer = Writer()
    writer.gate.set()
    group: Batcher[int, int] = Batcher(writer)
    assert [await group(1), await group(2)] == [2, 4]
    assert writer.batches == [[1], [2]]


async def test_calls_made_while_one_is_under_way_share_the_next_write_in_their_order() -> None:
    writer = Writer()
    group: Batcher[int, int] = Batcher(writer)
    tasks = await begin(group, range(10))
    assert writer.batches == [[0]]
    writer.gate.set()
    assert await asyncio.gather(*tasks) == [one * 2 for one in range(10)]
    assert writer.batches == [[0], list(range(1, 10))]


async def test_a_batch_takes_no_more_than_its_most() -> None:
    writer = Writer()
    group: Batcher[int, int] = Batcher(writer, most=4)
    tasks = await begin(group, range(10))
    writer.gate.set()
    assert await asyncio.gather(*tasks) == [one * 2 for one in range(10)]
    assert writer.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


async def test_one_batch_is_under_way_at_a_time() -> None:
    writer = Writer()
    group: Batcher[int, int] = Batcher(writer, most=2)
    tasks = await begin(group, range(20))
    writer.gate.set()
    await asyncio.gather(*tasks)
    assert writer.most_active == 1
    assert sorted(one for batch in writer.batches for one in batch) == list(range(20))


async def test_each_call_of_a_batch_gets_its_own_error() -> None:
    writer = Writer()
    group: Batcher[int, int] = Batcher(writer)
    tasks = await begin(group, [1, 2, 2000, 3, 3000])
    writer.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one if isinstance(one, int) else str(one) for one in found] == [2, 4, "2000", 6, "3000"]
    with pytest.raises(ValueError, match="4000"):
        await group(4000)


async def test_when_a_write_fails_all_of_it_hear_so_and_the_next_ones_go_on() -> None:
    writer = Writer()
    writer.broken = OSError("gone")
    group: Batcher[int, int] = Batcher(writer)
    tasks = await begin(group, range(5))
    writer.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [OSError] * 5
    writer.broken = None
    assert await group(7) == 14


@pytest.mark.parametrize("cancelled", [0, 1, 3, 4])
async def test_one_callers_cancellation_does_not_touch_the_others(cancelled: int) -> None:
    writer = Writer()
    group: Batcher[int, int] = Batcher(writer)
    tasks = await begin(group, range(5))
    tasks[cancelled].cancel()
    await asyncio.wait({tasks[cancelled]}, timeout=LONG)
    writer.gate.set()
    async with asyncio.timeout(LONG):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found.pop(cancelled), asyncio.CancelledError)
    assert found == [one * 2 for one in range(5) if one != cancelled]
    assert await group(9) == 18


async def test_a_call_that_comes_just_as_the_last_batch_ends_is_not_forgotten() -> None:
    for steps in range(12):
        writer = Writer()
        writer.gate.set()
        group: Batcher[int, int] = Batcher(writer)
        first = await begin(group, [1, 2])
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(LONG):
            assert await group(3) == 6
            assert await asyncio.gather(*first) == [2, 4]


async def test_many_callers_who_come_and_go_are_all_served() -> None:
    writer = Writer()
    writer.gate.set()
    group: Batcher[int, int] = Batcher(writer, most=7)

    async def caller(number: int) -> list[int]:
        answers = []
        for turn in range(20):
            answers.append(await group(number + turn))
            for _ in range((number * turn) % 4):
                await asyncio.sleep(0)
        return answers

    async with asyncio.timeout(LONG):
        found = await asyncio.gather(*(caller(number) for number in range(30)))
    assert found == [[(number + turn) * 2 for turn in range(20)] for number in range(30)]
    assert sum(map(len, writer.batches)) == 600


async def test_calls_whose_results_are_not_all_there_hear_of_it() -> None:
    gate = asyncio.Event()

    async def short(calls: Sequence[int]) -> list[int | BaseException]:
        await gate.wait()
        return list(calls[:1])

    group: Batcher[int, int] = Batcher(short)
    tasks = await begin(group, [1, 2, 3])
    gate.set()
    async with asyncio.timeout(LONG):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[0] == 1
    assert [type(one) for one in found[1:]] == [RuntimeError, RuntimeError]
    async with asyncio.timeout(LONG):
        assert await group(4) == 4
