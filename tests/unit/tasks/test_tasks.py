"""Tasks without a database: their definition, their options, and calls here and now."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, InvalidInputError, JobQueue, NewJob, Task, TaskJob
from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue import BlockingJob

queue = JobQueue()


@queue.task(queue="media", attempts=5, delay=3)
async def thumbnail(job: ActiveJob, src: str, width: int = 320) -> list[str]:
    """Shrink a picture."""
    await job.log("begun")
    await job.sleep("rest", 3600)
    await job.progress(40)
    tries: list[int] = []

    def shrink(size: int) -> int:
        tries.append(size)
        if len(tries) < 3:
            raise OSError("busy")
        return size

    size = await job.step("shrink", shrink, width, attempts=3, backoff=60)
    return [src, job.type, job.queue, str(job.data), str(size), str(job.steps["shrink"])]


@queue.task("double")
def double(n: int) -> int:
    return 2 * n


def test_a_task_is_named_as_its_function_and_keeps_its_text() -> None:
    assert (thumbnail.name, thumbnail.queue, double.queue) == ("thumbnail", "media", "default")
    assert (thumbnail.__doc__, repr(thumbnail)) == ("Shrink a picture.", "<Task thumbnail of queue media>")
    assert ("media", "thumbnail") in queue.handlers


async def test_a_task_runs_here_and_now_with_a_job_in_memory() -> None:
    data = "{'src': 'a.png', 'width': 64}"
    assert await thumbnail.run("a.png", width=64) == ["a.png", "thumbnail", "media", data, "64", "64"]
    assert await double.run(21) == 42
    assert await double.options(delay=3).run(n=21) == 42


async def test_a_plain_task_runs_in_a_thread_with_a_job_in_memory() -> None:
    other = JobQueue()
    threads: list[int] = []

    @other.task()
    def work(job: BlockingJob, n: int) -> int:
        job.log("begun")
        job.sleep("rest", 3600)
        threads.append(threading.get_ident())
        return job.step("twice", int.__mul__, n, 2)

    assert await work.run(4) == 8
    assert threads != [threading.get_ident()]


async def test_a_job_in_memory_has_no_relatives() -> None:
    other = JobQueue()

    @other.task()
    async def work(job: ActiveJob) -> None:
        await job.children()

    with pytest.raises(RuntimeError, match="children needs a job of a queue"):
        await work.run()


async def test_wrong_arguments_are_told_where_the_call_is() -> None:
    wrong: Any = thumbnail
    for call in (wrong.run, wrong.add, wrong.options(meta={}).add):
        with pytest.raises(TypeError, match="task thumbnail: got an unexpected keyword argument 'widht'; did you mean"):
            await call("a.png", widht=64)
        with pytest.raises(InvalidInputError, match=r"data\.width: expected int, got str"):
            await call("a.png", width="64")
    with pytest.raises(TypeError, match="missing a required argument: 'src'"):
        wrong.new()


def test_a_new_job_has_the_options_of_the_task_and_of_the_call() -> None:
    plain = thumbnail.new("a.png")
    assert isinstance(plain, TaskJob)
    assert json_form.new_job(plain) == json_form.new_job(
        NewJob(type="thumbnail", queue="media", attempts=5, delay=3, data={"src": "a.png"})
    )
    other = thumbnail.options(attempts=2, meta={"user_id": 42}, on_success=double.new(3)).new("a.png", 64)
    assert json_form.new_job(other) == {
        "type": "thumbnail",
        "queue": "media",
        "data": {"src": "a.png", "width": 64},
        "meta": {"user_id": 42},
        "attempts": 2,
        "delay": 3,
        "onSuccess": {"type": "double", "queue": "default", "data": {"n": 3}},
    }
    assert thumbnail.new("a.png") == plain


def test_options_add_up_and_a_date_takes_the_place_of_a_delay() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    later = thumbnail.options(delay_til=moment).options(priority=3).new("a.png")
    assert (later.delay, later.delay_til, later.priority, later.attempts) == (None, moment, 3, 5)
    assert thumbnail.options(delay_til=moment).options(delay=5).new("a.png").delay_til is None


def test_options_that_nobody_knows_are_refused() -> None:
    wrong: Any = thumbnail
    with pytest.raises(InvalidInputError, match="metta: is not a known option"):
        wrong.options(metta={})
    with pytest.raises(InvalidInputError, match="session: can be used with add only"):
        thumbnail.options(session=object()).new("a.png")
    wrong_queue: Any = JobQueue()
    with pytest.raises(InvalidInputError, match="prioritty: is not a known option"):
        wrong_queue.task(prioritty=3)


def test_a_result_is_decoded() -> None:
    assert double.decode(3) == 3
    assert double.new(3).decode(3) == 3
    assert double.ref("6b06105097b133d05ea55fc5").id == "6b06105097b133d05ea55fc5"


def refused(define: Callable[[JobQueue], Any], error: type[Exception], text: str) -> None:
    fresh = JobQueue()
    with pytest.raises(error, match=text):
        define(fresh)
    assert fresh.handlers == {}


def work(n: int) -> int:
    return n


def test_a_task_that_cannot_be_is_refused_at_once() -> None:
    bare: Any = work
    refused(lambda one: one.task(bare), TypeError, r"write @queue\.task\(\) above work, with parentheses")
    refused(lambda one: one.task("")(work), InvalidInputError, "type")
    refused(lambda one: one.task()(lambda: None), TypeError, 'has no name of its own: write @queue.task\\("NAME"')
    refused(lambda one: one.task(attempts=0)(work), InvalidInputError, "attempts")
    refused(lambda one: one.task(concurrency=0), InvalidInputError, "concurrency: must be at least 1")
    refused(lambda one: one.task(aliases="old")(work), InvalidInputError, "aliases: must be a list of names")
    refused(lambda one: one.task(aliases=["a", "a"])(work), InvalidInputError, "'a' of queue 'default' has a handler")
    refused(lambda one: one.task(aliases=["work"])(work), InvalidInputError, "'work' of queue 'default' has a handler")
    refused(lambda one: one.task(aliases=[""])(work), InvalidInputError, "type")
    not_a_function: Any = 3
    refused(lambda one: one.task("it")(not_a_function), TypeError, "a task must be a function, not 3")


def test_names_and_aliases_are_taken_once() -> None:
    fresh = JobQueue()
    fresh.task("a", aliases=["b"])(work)
    for kind in ("a", "b"):
        with pytest.raises(InvalidInputError, match=f"'{kind}' of queue 'default' has a handler already"):
            fresh.handler(kind)(lambda job: job)
        with pytest.raises(InvalidInputError, match="has a handler already"):
            fresh.task("c", aliases=[kind])(work)
    assert ("default", "c") not in fresh.handlers
    fresh.task("a", queue="other")(work)


def test_a_task_and_a_handler_are_different_things() -> None:
    assert isinstance(double, Task)
    assert not callable(double)
