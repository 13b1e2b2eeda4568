"""Forms that were sent lately, and what stays of them."""

from __future__ import annotations

import asyncio

import pytest

from jobqueue.dashboard.frame.acts.deeds import KEPT_SECONDS, Deeds
from jobqueue.dashboard.frame.acts.form import Preview


async def test_a_form_is_carried_out_once_until_its_time_is_over() -> None:
    now, made = [0.0], []
    deeds = Deeds(lambda: now[0])

    async def do() -> int:
        made.append(1)
        await asyncio.sleep(0)
        return len(made)

    assert await asyncio.gather(*(deeds.once("a", do) for _ in range(3))) == [(1, False), (1, True), (1, True)]
    now[0] = KEPT_SECONDS
    assert await deeds.once("b", do) == (2, False)
    assert len(deeds) == 1, "what is over is forgotten, such as the text of a token"


async def test_what_does_not_count_keeps_no_memory() -> None:
    deeds = Deeds(lambda: 0.0)

    async def fail() -> None:
        raise ValueError("no")

    async def look() -> Preview:
        return Preview(values={})

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await deeds.once("a", fail)
        assert (await deeds.once("b", look))[1] is False
        assert len(deeds) == 0
