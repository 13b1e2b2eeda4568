"""Processes that die by themselves or are killed, and are replaced."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.unmeasured import environment
from tests.support.workers.crashing_worker import CRASHED
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LOOKS_BETWEEN_KILLS = 25


class Mortals:
    """Workers that are replaced when they have died; now and then one is killed."""

    def __init__(self, program: str, url: str, name: str, *, seed: int, share: float) -> None:
        self._words = [program, url, name]
        self._seed = seed
        self._share = share
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self.running: list[ModuleProcess] = []
        self.deaths: Counter[str] = Counter()
        self._looks = 0

    def start(self) -> None:
        self._seed += 1
        arguments = [str(self._seed), str(self._share)]
        self.running.append(ModuleProcess(*self._words, *arguments, cwd=ROOT, env=environment()))

    def look_after(self) -> None:
        self._looks += 1
        if self._looks % LOOKS_BETWEEN_KILLS == 0:
            self._rng.choice(self.running).kill()
        for process in [process for process in self.running if process.poll() is not None]:
            assert process.returncode in {CRASHED, -9}, process.returncode
            self.deaths["crashed" if process.returncode == CRASHED else "killed"] += 1
            self.running.remove(process)
            self.start()


@contextlib.contextmanager
def mortals(url: str, name: str, *, program: str, count: int, seed: int, share: float) -> Iterator[Mortals]:
    """Keep some processes running while the block lasts.

    Args:
        url: of MongoDB.
        name: of the database.
        program: a module of this directory that takes both, a seed and a share of writes to die at.
        count: how many at a time.
        seed: for whatever is left to chance.
        share: of all writes.
    """
    made = Mortals(program, url, name, seed=seed, share=share)
    try:
        for _ in range(count):
            made.start()
        yield made
    finally:
        for process in made.running:
            process.kill()
            process.wait(10)
