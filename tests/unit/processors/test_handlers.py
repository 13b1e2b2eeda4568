"""Registration of handlers: a function that cannot work is refused at once, with the reason."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue
from jobqueue.processors.callbacks.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Callable


async def work(job: Any, factor: int = 2) -> int:
    return int(job.data["n"]) * factor


def plain(job: Any) -> Any:
    return job


class Worker:
    async def __call__(self, job: Any) -> Any:
        return job

    async def method(self, job: Any) -> Any:
        return job

    @staticmethod
    async def static(job: Any) -> Any:
        return job

    @classmethod
    async def of_class(cls, job: Any) -> Any:
        return job

    def thread(self, job: Any) -> Any:
        return job


def handler(function: Any) -> Handler:
    return Handler(type="work", queue="default", function=function)


@pytest.mark.parametrize(
    "function",
    [
        work,
        functools.partial(work, factor=3),
        functools.partial(functools.partial(work), factor=3),
        Worker(),
        Worker().method,
        Worker.static,
        Worker.__dict__["static"],
        Worker.of_class,
        functools.partial(Worker()),
        functools.partial(Worker().method),
    ],
)
def test_an_async_function_is_known_behind_what_wraps_it(function: Any) -> None:
    assert handler(function).is_async


@pytest.mark.parametrize("function", [plain, functools.partial(plain), Worker().thread, str, lambda job, x=1: (job, x)])
def test_a_plain_function_is_none(function: Any) -> None:
    assert not handler(function).is_async


def generator(job: Any) -> Any:
    yield job


async def async_generator(job: Any) -> Any:
    yield job


async def nothing() -> None:
    pass


def two(first: Any, second: Any) -> Any:
    return first, second


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (generator, "generator is a generator function, whose body would not run: remove yield, return a list"),
        (async_generator, "async_generator is a generator function"),
        (functools.partial(generator), "is a generator function"),
        (nothing, "nothing must take exactly one argument, the job: too many positional arguments"),
        (two, "two must take exactly one argument, the job: missing a required argument: 'second'"),
        (Worker.method, "Worker.method must take exactly one argument, the job: missing a required argument: 'job'"),
        (lambda *, job: job, "must take exactly one argument"),
        (7, "a handler must be a function, not 7"),
        (None, "a handler must be a function, not None"),
    ],
)
def test_a_function_that_cannot_work_is_refused(function: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        JobQueue().handler("work")(function)


def test_a_wrapper_is_taken_as_it_is() -> None:
    @functools.wraps(two)
    def given(job: Any) -> Any:
        return two(job, 2)

    @functools.wraps(generator)
    def collected(job: Any) -> list[Any]:
        return list(generator(job))

    for function in (given, collected, lambda *args: args):
        assert not handler(function).is_async


def test_a_bare_decorator_says_how_to_write_it() -> None:
    bare: Callable[..., Any] = JobQueue().handler
    with pytest.raises(TypeError, match=r'write @queue\.handler\("TYPE"\) above work'):
        bare(work)
