"""Operations on many jobs: one process takes the request, any process carries it out, each job changes once."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk import course
from jobqueue.domain.bulk.operation import Action, ErasurePreview, Operation, Stage, Tally
from jobqueue.domain.bulk.rules import Rules, Watched
from jobqueue.domain.errors import (
    ConflictError,
    DatabaseError,
    JobQueueError,
    KeyConflictError,
    NotFoundError,
    WrongStateError,
)
from jobqueue.journal import get_logger
from jobqueue.services.bulk.data_patches import DataPatches
from jobqueue.services.bulk.erasures import Eraser
from jobqueue.store.bulk.operation_statements import LEASE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.bulk.operation import NewOperation
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.bulk.data_patches import DataSample
    from jobqueue.services.jobs.manage import JobManager
    from jobqueue.store.bulk.operations import OperationStore
    from jobqueue.store.jobs.jobs import JobStore

log = get_logger(__name__)
MOST_SAMPLES: Final = 5
_AT_ONCE: Final = 100
_TOGETHER: Final = 10
_SLICE_SECONDS: Final = 2.0
"""Seconds after which another operation has its turn."""
_LONGEST_REASON: Final = 500
INTERNAL: Final = "an internal error: the server's log tells more"


class Operations:
    """Creates, shows, stops and carries out operations."""

    def __init__(self, store: OperationStore, jobs: JobStore, manager: JobManager) -> None:
        self.store = store
        self._jobs = jobs
        self.manager = manager
        self.eraser = Eraser(store.erasures, manager)
        self.patches = DataPatches(jobs, manager)
        self._look_at: float | None = None
        self.begun: Callable[[], None] = lambda: None
        """Called for each operation that begins or goes on."""

    async def create(self, new: NewOperation) -> Operation:
        """Create an operation.

        Raises:
            InvalidInputError: as `NewOperation.check`.
        """
        new.check()
        made = await self.store.create(new)
        log.info("operation started", operation_id=made.id, action=new.action.value, matched=made.matched)
        self.begun()
        return made

    async def preview(self, new: NewOperation) -> tuple[int | None, bool, list[Job]]:
        """Return the number of jobs that an operation would change, true if the number is exact, and a few of the jobs.

        Raises:
            InvalidInputError: as `NewOperation.check`.
        """
        new.check()
        return await self.store.preview(new, MOST_SAMPLES)

    async def preview_erasure(self, new: NewOperation) -> ErasurePreview:
        """Return what an erasure would erase, and what it would leave.

        Raises:
            InvalidInputError: as `NewOperation.check`.
        """
        matched, is_exact, samples = await self.preview(new)
        left = await self.eraser.store.left(new)
        return ErasurePreview(matched=matched, is_exact=is_exact, samples=tuple(samples), left=left)

    async def preview_data(self, new: NewOperation, samples: Sequence[Job]) -> list[DataSample]:
        """Return the data of a few jobs before and after the patch of an operation."""
        return [] if new.data_patch is None else await self.patches.preview(samples, new.data_patch)

    async def resume(
        self, operation_id: str, changes: Mapping[str, Any], by: Actor, *, scope: Scope = EVERYTHING
    ) -> Operation:
        """Go on with a stopped operation.

        Args:
            operation_id: of the operation.
            changes: other values of ``pace`` and ``stop_after``; ``None`` for none.
            by: for the audit.
            scope: of the caller.

        Raises:
            NotFoundError: a caller of this scope sees no such operation.
            ConflictError: the operation has not stopped, or another tool has spoilt its document.
            InvalidInputError: a rule is not acceptable.
        """
        stopped = await self.store.get(operation_id, scope)
        if stopped.new.action is Action.UNKNOWN:
            raise ConflictError(f"operation {operation_id} cannot be resumed: {stopped.error}")
        rules = stopped.new.rules
        kept = {"trial": rules.trial, "then": rules.then, "stop_after": rules.stop_after}
        changed = Rules.of(kept | {"pace": rules.pace and rules.pace.wire} | dict(changes))
        replace(stopped.new, rules=changed).check()
        await self.store.watch.resume(stopped, changed, by)
        log.info("operation resumed", operation_id=operation_id)
        self.begun()
        return await self.store.get(operation_id, scope)

    async def run_once(self) -> float | None:
        """Carry out a part of one operation; return the seconds until the next one, if there may be more."""
        wait = await self._turn()
        now = asyncio.get_running_loop().time()
        if wait:
            self._look_at = min(now + wait, self._look_at or float("inf"))
        if wait is not None:
            return 0.0
        look_at, self._look_at = self._look_at, None
        return None if look_at is None else max(look_at - now, 0.0)

    async def carry_on(self, operation_id: str | None = None) -> bool:
        """Carry out a part of an operation; return false if no operation was free to take.

        Args:
            operation_id: of a certain operation; ``None`` for any.
        """
        return await self._turn(operation_id) is not None

    async def _turn(self, operation_id: str | None = None) -> float | None:
        """Carry on as `carry_on`; return ``None`` if none was free, else the seconds until it has to go on."""
        token = secrets.token_hex(12)
        taken = await self.store.take(token, operation_id)
        if taken is None:
            return None
        wait = 0.0
        try:
            if taken.new.action is Action.UNKNOWN:
                await self.store.give_up(taken, token, taken.error or INTERNAL)
            else:
                wait = await self._carry(taken, token)
        except DatabaseError:
            # The outcome is not known. The next process that takes the operation finds out.
            raise
        except JobQueueError as error:
            await self.store.give_up(taken, token, str(error))
        except Exception:
            log.exception("operation broken off", operation_id=taken.id)
            await self.store.give_up(taken, token, INTERNAL)
        finally:
            if not wait:
                with contextlib.suppress(DatabaseError):
                    await asyncio.shield(self.store.release(taken.id, token))
        return wait

    async def _carry(self, taken: Operation, token: str) -> float:
        """Choose, change and count jobs until all are done or the time is over; return the seconds of a pause."""
        clock = asyncio.get_running_loop().time
        until = clock() + _SLICE_SECONDS
        operation: Operation | None = taken
        inherited = bool(taken.chosen)
        while operation is not None:
            if not operation.chosen and operation.stage is Stage.RUNNING:
                if clock() >= until:
                    return 0.0
                operation, wait = await self._next(operation, token)
                if wait:
                    return wait
            if operation is not None and not operation.chosen and operation.stage is not Stage.RUNNING:
                log.info("operation ended", operation_id=operation.id, done=operation.done, failed=operation.failed)
                return 0.0
            if operation is not None and operation.chosen:
                tally = await self._change(operation, token, inherited=inherited)
                operation = None if tally is None else await self.store.count_off(operation, token, tally)
            inherited = False
        return 0.0

    async def _next(self, operation: Operation, token: str) -> tuple[Operation | None, float]:
        """Choose the jobs that come next, as far as the rules allow any now.

        Returns:
            The operation, or ``None`` if it is not held any more; and the seconds until the next look at its jobs.
        """
        if not operation.new.rules.watches:
            return await self.store.choose(operation, token, _AT_ONCE), 0.0
        seen = await self.store.watch.look(operation, token)
        if seen is not None and (ending := course.ending(seen)) is not None:
            return await self.store.watch.end(seen, token, *ending), 0.0
        if seen is not None and course.is_tried(seen):
            seen = await self.store.watch.leave_trial(seen, token)
        if seen is None or seen.held_at is None:
            return None, 0.0
        now = seen.held_at
        if most := min(course.room(seen, now), _AT_ONCE):
            return await self.store.choose(seen, token, most, partial(course.turn_after, seen, now)), 0.0
        pause = course.pause(seen, now)
        await self.store.watch.pause(seen, token, pause)
        return None, pause.total_seconds()

    async def _change(self, operation: Operation, token: str, *, inherited: bool) -> Tally | None:
        """Change the chosen jobs, some at a time; return ``None`` if the hold on the operation is lost."""
        tally = Tally()
        clock = asyncio.get_running_loop().time
        renewed_at = clock()
        for start in range(0, len(operation.chosen), _TOGETHER):
            if clock() - renewed_at > LEASE_SECONDS / 3:
                if not await self.store.renew(operation, token):
                    return None
                renewed_at = clock()
            part = operation.chosen[start : start + _TOGETHER]
            changes = [self._change_one(operation, job_id, tally, inherited=inherited) for job_id in part]
            # All changes end before another process takes the operation, also when one fails.
            for error in await asyncio.gather(*changes, return_exceptions=True):
                if error is not None:
                    raise error
        return tally

    async def _change_one(self, operation: Operation, job_id: str, tally: Tally, *, inherited: bool) -> None:
        changed = await self._changed(operation, job_id) if inherited else None
        if changed is not None:
            _note(operation, changed, tally)
        elif operation.stage is Stage.RUNNING:
            await self._try(operation, job_id, tally)
        else:
            tally.left.append(job_id)

    async def _try(self, operation: Operation, job_id: str, tally: Tally) -> None:
        """Change a job and count the outcome; an error may also come after the change."""
        reason = None
        try:
            job = await self.store.job_of(operation, job_id)
            if job is not None and await self._apply(operation, job):
                _note(operation, Watched(id=job.id, vanishes=job.on_success_delete), tally)
                return
        except DatabaseError:
            raise
        except KeyConflictError as error:
            # A caller of a limited scope may not see the job that has the key.
            reason = str(error) if operation.new.scope.is_everything else f"an unfinished job has the key {error.key!r}"
        except JobQueueError as error:
            reason = str(error)
        except Exception:
            log.exception("job not changed", operation_id=operation.id, job_id=job_id)
            reason = INTERNAL
        if (changed := await self._changed(operation, job_id)) is not None:
            _note(operation, changed, tally)
        elif reason is None:
            tally.skipped += 1
        else:
            tally.failures.append({"id": job_id, "reason": reason[:_LONGEST_REASON]})

    async def _apply(self, operation: Operation, job: Job) -> bool:
        """Change a job; return false if the state of the job excludes the change.

        Raises:
            JobQueueError: the change fails.
        """
        try:
            match operation.new.action:
                case Action.REQUEUE:
                    await self.patches.restart(operation, job, partial(self.store.job_of, operation, job.id))
                case Action.KILL:
                    await self.manager.kill(job.id, operation.reason, operation=operation.id)
                case Action.DELETE:
                    await self.manager.delete(job.id, operation=operation.id)
                case Action.ERASE:
                    return await self.eraser.erase(job.id, operation.id)
        except (NotFoundError, WrongStateError):
            return False
        return True

    async def _changed(self, operation: Operation, job_id: str) -> Watched | None:
        """Return a chosen job that the operation has changed, and that is not counted yet."""
        if (changed := await self.store.changed(operation, job_id)) is not None:
            return changed
        if operation.soon is not None or operation.new.action is not Action.KILL:
            return None
        # An older version chose the job; that version notes no operation in the jobs that it kills.
        job = await self._jobs.find(job_id)
        is_killed = (
            job is not None
            and job.state is State.KILLED
            and job.end_at is not None
            and job.end_at >= operation.insert_at
            and job.error is not None
            and job.error.message == operation.reason
        )
        return Watched(id=job_id) if is_killed else None


def _note(operation: Operation, changed: Watched, tally: Tally) -> None:
    """Count a changed job, and remember it if the operation watches its jobs."""
    tally.done += 1
    if operation.new.rules.watches:
        tally.watched.append(changed)
