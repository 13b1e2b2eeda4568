"""What stays in the audit of changes that break off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobqueue.domain.errors import DatabaseUnavailableError, NotFoundError
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.insight.audit import Audit

BY = Actor(name="ann", via="cli")


class Trail:
    """Notes in memory."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    async def begin(self, *_: Any) -> int:
        self.steps.append("begin")
        return 1

    async def complete(self, *_: Any) -> None:
        self.steps.append("complete")

    async def discard(self, _: Any) -> None:
        self.steps.append("discard")


async def test_a_change_that_is_cancelled_stays_noted_as_begun() -> None:
    trail, changed = Trail(), asyncio.Event()

    async def change() -> None:
        async with Audit(trail).noting(("job", "x"), "kill", BY):  # type: ignore[arg-type]
            changed.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(change())
    await changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trail.steps == ["begin"]


@pytest.mark.parametrize(
    ("error", "steps"),
    [
        (NotFoundError("job", "x"), ["begin", "discard"]),
        (DatabaseUnavailableError("gone"), ["begin"]),
        (RuntimeError("a mistake"), ["begin"]),
    ],
)
async def test_only_what_was_refused_is_forgotten(error: Exception, steps: list[str]) -> None:
    trail = Trail()
    with pytest.raises(type(error)):
        async with Audit(trail).noting(("job", "x"), "kill", BY):  # type: ignore[arg-type]
            raise error
    assert trail.steps == steps
