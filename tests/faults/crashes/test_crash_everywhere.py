"""Whatever writes more than once, with a crash before and after each write; the next process sees to the rest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.support.crashes.crash_everywhere import Crash, Mortal, process, reaping
from tests.support.crashes.crash_recovery import clear, counts, recover, violations
from tests.support.crashes.crash_scenes import QUICK, REST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.support.crashes.crash_everywhere import Reaping
    from tests.support.crashes.crash_scenes import Scene
    from tests.support.faults.figures import Figures

MOST = 80
"""Writes that nothing here comes near to."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("phase", ["after", pytest.param("before", marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "scene", [*QUICK, *(pytest.param(one, marks=pytest.mark.full) for one in REST)], ids=lambda one: one.__name__
)
async def test_whoever_dies_at_any_write_leaves_nothing_undone_or_done_twice(
    idle_runtime: Runtime,
    settings: Settings,
    scene: Callable[[Runtime], Awaitable[Scene]],
    phase: str,
    figures: Figures,
) -> None:
    found: list[str] = []
    with reaping() as reaper:
        for nth in range(1, MOST):
            await clear(idle_runtime)
            mortal = Mortal(nth=nth, after=phase == "after")
            found += await play(idle_runtime, settings, await scene(idle_runtime), mortal, reaper)
            if mortal.at is None:
                break
            figures.fault("process crashed just before or after a certain write")
    assert found == []
    assert 1 < nth < MOST


async def play(runtime: Runtime, settings: Settings, scene: Scene, mortal: Mortal, reaper: Reaping) -> list[str]:
    """Crash a process, recover in the next one, and return what is not as promised."""
    async with process(settings, mortal) as dying:
        with reaper.watching(mortal), contextlib.suppress(Crash):
            await scene.act(dying)
        if scene.then is not None:
            await scene.then(runtime)
        await recover(runtime)
    found = await violations(runtime)
    seen = await counts(runtime)
    wanted = [scene.after] if scene.settled or mortal.at is None else [scene.before, scene.after]
    if scene.counted and seen not in wanted:
        found.append(f"{seen} is none of {wanted}")
    return [f"{mortal.at}: {one}" for one in found]
