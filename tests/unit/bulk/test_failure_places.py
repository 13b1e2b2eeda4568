"""Tracebacks of real functions, async and plain: the place in the code that they tell."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain import traceback_text
from jobqueue.domain.attempts.fingerprint import fingerprint, summary
from jobqueue.domain.work.verdict import Failure
from jobqueue.processors.callbacks.calling import in_loop, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.attempts.attempt import JobError

EMPTY: dict[str, Any] = {}


def of(one: JobError) -> str:
    return fingerprint("bill", one)


def vat(_: Any) -> Any:
    return EMPTY["vat_id"]


def iban(_: Any) -> Any:
    return EMPTY["iban"]


def parsed(_: Any) -> Any:
    return json.loads("{")


def chosen(_: Any) -> Any:
    return [EMPTY[name] for name in ("vat_id",)]


async def grouped(job: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(vat, job))


async def pooled(job: Any) -> Any:
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, vat, job)


async def wrapped(job: Any) -> Any:
    try:
        vat(job)
    except KeyError as cause:
        raise RuntimeError("it broke") from cause


class Job:
    """A job of a function that runs in a thread."""

    id = "1"
    cancelled = False

    def cancel(self) -> None:
        raise AssertionError


async def failed(function: Callable[[Any], Any], *, thread: bool = False) -> JobError:
    ended = await (in_thread(function, Job()) if thread else in_loop(lambda: function(None), "job"))
    assert isinstance(ended.verdict, Failure)
    return ended.verdict.error


@pytest.mark.parametrize("thread", [False, True])
@pytest.mark.parametrize(
    ("function", "place"),
    [
        (vat, "vat"),
        (iban, "iban"),
        (parsed, "parsed"),
        (chosen, "chosen"),
        (grouped, "vat"),
        (pooled, "vat"),
        (wrapped, "vat"),
    ],
)
async def test_tracebacks_of_callbacks_tell_the_place(
    function: Callable[[Any], Any], place: str, *, thread: bool
) -> None:
    error = await failed(function, thread=thread)
    assert summary(error)[1] == f"{Path(__file__).name} in {place}"


async def test_keys_of_callbacks_are_told_apart_and_both_kinds_of_functions_are_not() -> None:
    first, second = await failed(vat), await failed(iban)
    assert of(first) != of(second)
    assert of(first) == of(await failed(vat, thread=True))


def test_a_long_run_of_spaces_in_a_trace_costs_no_more_than_other_text() -> None:
    lines = [f"  | {' ' * 50}x"] * 3
    assert [traceback_text._without_margin(line) for line in lines] == [f"{' ' * 50}x"] * 3
    spaces = " " * 16_200
    # Tried from every place of the run, the pattern would take a hundred million steps.
    assert traceback_text._GROUP_LINE.match(f"{spaces}x") is None
    assert traceback_text._without_margin(f"{spaces}x") == f"{spaces}x"
