"""The messages for common mistakes are those that the documentation shows."""

from __future__ import annotations

import asyncio
import gc
import re
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue import JobQueue

    Mistake = Callable[[JobQueue], Awaitable[Any]]

PAGE = Path(__file__).parents[3] / "docs/mistakes.md"
LONG = 60


async def forgotten_await(queue: JobQueue) -> str:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        queue.add("thumbnail")  # type: ignore[unused-coroutine]
        gc.collect()
    return f"RuntimeWarning: {told[-1].message}"


async def two_loops(queue: JobQueue) -> None:
    await queue.open()

    def elsewhere() -> None:
        async def call() -> None:
            await queue.add("thumbnail")

        asyncio.run(call())

    await asyncio.to_thread(elsewhere)


async def no_worker(queue: JobQueue) -> str:
    job = await queue.add("thumbnail", queue="media")
    return (await queue.why(job.id)).reasons[0].message


async def generator(queue: JobQueue) -> None:
    def make(job: Any) -> Any:
        yield job

    # The name as a module's function has it.
    make.__qualname__ = "make"
    queue.handler("make")(make)


async def second_handler(queue: JobQueue) -> None:
    async def run(job: Any) -> None: ...

    queue.handler("thumbnail", queue="media")(run)
    queue.handler("thumbnail", queue="media")(run)


async def naive_date(queue: JobQueue) -> None:
    await queue.add("thumbnail", delay_til=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the mistake


async def misspelt_option(queue: JobQueue) -> None:
    await queue.add("thumbnail", prioritty=5)  # type: ignore[call-arg]


async def duration(queue: JobQueue) -> None:
    await queue.add("thumbnail", delay=timedelta(minutes=1))  # type: ignore[arg-type]


def _shrink(queue: JobQueue) -> Any:
    @queue.task("shrink")
    async def shrink(src: str, width: int) -> str:
        return f"{src} {width}"

    return shrink


async def wrong_name(queue: JobQueue) -> None:
    await _shrink(queue).add("a.png", widht=5)


async def wrong_type(queue: JobQueue) -> None:
    await _shrink(queue).add("a.png", width="5")


async def not_json(queue: JobQueue) -> None:
    class Path: ...

    await queue.add("thumbnail", {"file": Path()})


async def bad_result(queue: JobQueue) -> str:
    @queue.handler("names")
    async def names(job: Any) -> Any:
        return {job.id}

    job = await queue.add("names", attempts=1)
    async with queue.working():
        ended = await queue.wait(job.id, LONG)
    assert ended.error is not None
    assert ended.error.kind == "invalid-result"
    return ended.error.message


async def misspelt_setting(_: JobQueue) -> None:
    Settings.load({}, environ={"JOBQUEUE_MONGO_URI": "mongodb://localhost"}, cwd=PAGE.parent)


MISTAKES: list[Mistake] = [
    forgotten_await,
    two_loops,
    no_worker,
    generator,
    second_handler,
    naive_date,
    misspelt_option,
    duration,
    wrong_name,
    wrong_type,
    not_json,
    bad_result,
    misspelt_setting,
]


def _shown() -> list[str]:
    """Return the last message of each row of the page."""
    rows = re.findall(r"^\| (?!mistake|---).*\| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.findall(r"`([^`]+)`", row)[-1] for row in rows]


def test_each_row_of_the_page_is_tried() -> None:
    assert len(_shown()) == len(MISTAKES)


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[mistake.__name__ for mistake in MISTAKES])
async def test_a_mistake_says_what_the_page_shows(number: int, queue: JobQueue) -> None:
    try:
        told = await MISTAKES[number](queue)
    except Exception as error:  # noqa: BLE001 - each mistake has its own kind of exception
        told = f"{type(error).__name__}: {error}"
    assert told == _shown()[number]
