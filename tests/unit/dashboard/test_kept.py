"""Values that pages keep for some seconds."""

from __future__ import annotations

import asyncio

import pytest

from jobqueue.dashboard.frame.kept import Kept


async def test_visits_within_some_seconds_share_a_value() -> None:
    now, made = [0.0], []
    kept = Kept(lambda: now[0])

    async def make() -> int:
        made.append(1)
        await asyncio.sleep(0)
        return len(made)

    assert await asyncio.gather(*(kept.get("ann", 5, make) for _ in range(3))) == [1, 1, 1]
    assert await kept.get("bob", 5, make) == 2
    now[0] = 6
    assert await kept.get("ann", 5, make) == 3


async def test_a_failed_look_is_repeated() -> None:
    kept = Kept(lambda: 0.0)
    errors = [ValueError("no"), None]

    async def make() -> str:
        if error := errors.pop(0):
            raise error
        return "yes"

    with pytest.raises(ValueError, match="no"):
        await kept.get("ann", 5, make)
    assert await kept.get("ann", 5, make) == "yes"


async def test_nobody_waits_for_a_slow_value_but_has_the_one_before() -> None:
    now = [0.0]
    kept = Kept(lambda: now[0])
    going = asyncio.Event()

    async def slow() -> str:
        await going.wait()
        return "new"

    assert await kept.soon("ann", 5, slow, patience=0) is None
    going.set()
    assert await kept.get("ann", 5, slow) == "new"
    now[0] = 6
    going.clear()
    assert await kept.soon("ann", 5, slow, patience=0) == "new"
    going.set()
    assert await kept.get("ann", 5, slow) == "new"
    now[0] = 20
    going.clear()
    assert await kept.soon("ann", 5, slow, patience=0, oldest=14) == "new"
    assert await kept.soon("ann", 5, slow, patience=0, oldest=13) is None
    going.set()
    assert await kept.get("ann", 5, slow) == "new"
