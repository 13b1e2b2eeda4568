"""Forms that are carried out once, whatever server of the database they reach.

A form has a record in the database from before its act on, and its server renews that until the act ends. The same form
finds the record: it waits for the outcome, and leads to the page that followed. A record without an outcome is that of
a server that died, or lost the database, on the way: nobody knows whether the act has happened. An act of which a
second one is refused, or does nothing, is then carried out again. For any other act the page says so, and a person
decides.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http import problems
from jobqueue.api.http.problems import ProblemError
from jobqueue.dashboard.frame.acts.form import Deed, Preview
from jobqueue.domain.errors import JobQueueError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from jobqueue.store.workflow.forms import FormRecord, FormStore

_LOOK_SECONDS: Final = 0.1
KEEP_SECONDS: Final = 2.5
"""Seconds between the signs of life of a server that carries a form out."""
_SERVER_ERROR: Final = 500


class UnsureError(Exception):
    """A form was sent before, and nobody knows whether it was carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a form, without the large texts that it may have come from.

    Attributes:
        to: the page that follows.
        said: the sentence that tells what was done; empty if another server, or an earlier request, has done it.
        shown: the reply, if that is shown in place of the page that follows.
        was_shown: the reply was shown to the sender of an earlier request, and is gone.
    """

    to: str
    said: str = ""
    shown: Any = None
    was_shown: bool = False


@dataclass(frozen=True, slots=True)
class RecordedForm:
    """A form with its record."""

    forms: FormStore
    key: str

    async def carry_out(
        self, prepare: Callable[[], Awaitable[Deed | Preview]], do: Callable[[Deed], Awaitable[Outcome]]
    ) -> Outcome | Preview:
        """Return the outcome of the form, which is carried out unless it was before; a preview counts as none.

        Args:
            prepare: reads the form, and changes nothing.
            do: carries it out.

        Raises:
            UnsureError: nobody knows whether it was carried out.
            JobQueueError: as `prepare` and `do`.
            ProblemError: as `prepare` and `do`.
        """
        if (before := await self._before()) is not None:
            return before
        try:
            deed = await prepare()
        except (JobQueueError, ProblemError):
            # The same form may have changed the subject just now.
            if (before := await self._before()) is not None:
                return before
            raise
        if isinstance(deed, Preview):
            return deed
        turn = await self._turn(deed)
        return turn if isinstance(turn, Outcome) else await self._do(deed, turn, do)

    async def _before(self) -> Outcome | None:
        """Return the outcome of an earlier request, which may come in a moment."""
        record = await self.forms.find(self.key)
        while record is not None and record.is_busy:
            await asyncio.sleep(_LOOK_SECONDS)
            record = await self.forms.find(self.key)
        return None if record is None else _outcome(record)

    async def _turn(self, deed: Deed) -> FormRecord | Outcome:
        while True:
            record = await self.forms.begin(self.key)
            if record.is_new:
                return record
            if (before := await self._before()) is not None:
                return before
            left = await self.forms.find(self.key)
            if left is None or left.is_busy or left.to is not None:
                continue
            if not deed.is_safe_again:
                raise UnsureError
            if (taken := await self.forms.take_over(self.key, left)) is not None:
                return taken

    async def _do(self, deed: Deed, turn: FormRecord, do: Callable[[Deed], Awaitable[Outcome]]) -> Outcome:
        try:
            async with self._kept(turn):
                outcome = await do(deed)
        except BaseException as error:
            with contextlib.suppress(JobQueueError):
                note = self.forms.let_go if _is_refusal(error) else self.forms.leave
                await asyncio.shield(note(self.key, turn.holder))
            raise
        # The act has happened: a record without its outcome is the lesser evil.
        with contextlib.suppress(JobQueueError):
            await self.forms.end(self.key, turn.holder, outcome.to, was_shown=outcome.shown is not None)
        return outcome

    @contextlib.asynccontextmanager
    async def _kept(self, turn: FormRecord) -> AsyncIterator[None]:
        """Keep others from taking a form for one that was left, however long the block takes."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(KEEP_SECONDS)
                with contextlib.suppress(JobQueueError):
                    await self.forms.keep(self.key, turn.holder)

        task = asyncio.create_task(keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _outcome(record: FormRecord) -> Outcome | None:
    return None if record.to is None else Outcome(to=record.to, was_shown=record.was_shown)


def _is_refusal(error: BaseException) -> bool:
    """Return True for an error that says that nothing was done."""
    if isinstance(error, ProblemError):
        return error.problem.status < _SERVER_ERROR
    return isinstance(error, JobQueueError) and problems.of_error(error).status < _SERVER_ERROR
