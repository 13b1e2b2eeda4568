"""Run the function of a task: for a job, or here and now."""

from __future__ import annotations

import asyncio
import copy
import inspect
from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import Die, InvalidInputError
from jobqueue.domain.text import type_name
from jobqueue.processors.callbacks import value_types
from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
from jobqueue.processors.callbacks.trial_job import parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.processors.callbacks.calling import Function
    from jobqueue.processors.callbacks.signatures import Call, TaskSignature


def handler_of(signature: TaskSignature, upgrade: Callable[[dict[str, Any]], Mapping[str, Any]] | None) -> Function:
    """Return the function of a handler that runs a task.

    Args:
        signature: of the task.
        upgrade: makes the present arguments out of data that does not fit.
    """

    def call(job: Any) -> Any:
        args, kwargs = _arguments(signature, job.data, upgrade)
        return signature.function(job, *args, **kwargs) if signature.takes_job else signature.function(*args, **kwargs)

    async def run(job: Any) -> Any:
        return _stored(await call(job))

    def run_in_thread(job: Any) -> Any:
        result = call(job)
        return _later(result) if inspect.isawaitable(result) else _stored(result)

    return run if signature.is_async else run_in_thread


async def call_now(signature: TaskSignature, new: NewJob, *args: Any, **kwargs: Any) -> Any:
    """Call the function of a task with a job that is kept in memory, and return its result as it is."""
    if signature.takes_job:
        loop = asyncio.get_running_loop()
        job = ActiveJob(*parts(new)) if signature.is_async else BlockingJob(*parts(new), loop)
        args = (job, *args)
    if signature.is_async:
        return await signature.function(*args, **kwargs)
    result = await asyncio.to_thread(signature.function, *args, **kwargs)
    return await result if inspect.isawaitable(result) else result


def _arguments(
    signature: TaskSignature,
    data: Mapping[str, Any],
    upgrade: Callable[[dict[str, Any]], Mapping[str, Any]] | None,
) -> Call:
    """Return the arguments that the data of a job is.

    Raises:
        Die: the data does not fit, which no other attempt changes.
    """
    try:
        return signature.call(data)
    except InvalidInputError as error:
        if upgrade is None:
            raise Die(error) from None
    upgraded: object = upgrade(copy.deepcopy(dict(data)))
    if not isinstance(upgraded, dict):
        raise TypeError(f"upgrade has to return the data of a job, not {type_name(upgraded)}")
    try:
        return signature.call(upgraded)
    except InvalidInputError as error:
        raise Die(f"after the upgrade: {error}") from None


def _stored(result: Any) -> Any:
    """Return a result as JSON; a result that cannot be JSON as it is."""
    try:
        return value_types.to_json(result)
    except Exception:  # noqa: BLE001 - the queue says what is wrong with the result
        return result


async def _later(result: Awaitable[Any]) -> Any:
    return _stored(await result)
