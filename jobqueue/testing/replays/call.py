"""`replay`: run the handler of a bundle in a test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.steps.step import UNFORGOTTEN
from jobqueue.domain.work.bundle import Bundle
from jobqueue.services.sync_queue import SyncJobQueue
from jobqueue.testing.replays.replay import Replay, handler_of, past

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobqueue.domain.steps.step import FromStep
    from jobqueue.tasks.registry import HandlerRegistry
    from jobqueue.testing.replays.replay import Replayed


async def replay(
    bundle: Path | bytes | Mapping[str, Any],
    queue: HandlerRegistry | SyncJobQueue,
    *,
    data: Mapping[str, Any] | None = None,
    attempt: int | None = None,
    from_step: FromStep = UNFORGOTTEN,
    run_once: Collection[str] = (),
    signals: Mapping[str, Any] | None = None,
) -> Replayed:
    """Run the handler of a job with its past from a bundle, without a database; return the end of the run.

    Args:
        bundle: the file of ``jobqueue bundle``, its content, or the JSON value.
        queue: has the handler.
        data: other input.
        attempt: the number of the attempt that is run and compared; the last one by default.
        from_step: the first step that runs here though it has finished; ``None`` for all steps.
        run_once: steps that must not run twice, and may run here.
        signals: values by the name of the signal.

    Raises:
        BadBundleError: it is no bundle.
        InvalidInputError: the queue has no handler for the job, or an argument does not fit the job.
    """
    if isinstance(bundle, Mapping):
        known = Bundle.of(dict(bundle))
    else:
        known = Bundle.read(await asyncio.to_thread(bundle.read_bytes) if isinstance(bundle, Path) else bundle)
    handlers = (queue.calls if isinstance(queue, SyncJobQueue) else queue).handlers
    handler = handler_of(known, handlers)
    if handler is None:
        job = known.job
        raise InvalidInputError({"queue": [f"has no handler for jobs of type {job.type} in queue {job.queue}"]})
    begin = past(known, attempt=attempt, from_step=from_step, data=data)
    return await Replay(known, begin, may_run=run_once, signals=signals).by_handler(handler)
