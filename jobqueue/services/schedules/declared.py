"""Store the schedules that the code of this process declares, beside workers with other code and people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import ChangedMeanwhileError, InvalidInputError, TooLargeError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.schedules.declaration import Declaration, application, digest, edited
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.schedules.schedule import Declared, StoredSchedule
    from jobqueue.services.schedules.schedules import Schedules
    from jobqueue.services.work.worker_registry import WorkerRegistry
    from jobqueue.store.work.workers import WorkerStore

log = get_logger(__name__)
DECLARE_SECONDS: Final = 15.0
"""Seconds between looks for workers with other code, as long as there are such workers."""
_UNSEEN_SECONDS: Final = 0.2
_PAGE: Final = 200


class DeclaredSchedules:
    """Keeps schedules as the code of the worker in this process declares them.

    A changed definition waits until no living worker declares the one before: then neither the workers of an old
    version nor those of a new one undo what the others do, and whichever remains has its way.

    Args:
        schedules: all schedules.
        workers: the signs of life of all workers, with the schedules in their code.
        registry: the sign of this process.
        name: of this process.

    Attributes:
        begun: is called when there is something to declare.
    """

    begun: Callable[[], None] | None = None

    def __init__(self, schedules: Schedules, workers: WorkerStore, registry: WorkerRegistry, name: str) -> None:
        self._schedules, self._workers, self._registry, self._name = schedules, workers, registry, name
        self._pending: dict[str, Declaration] = {}
        self._known: set[str] = set()
        self._is_dropped: Callable[[str, str], bool] | None = None
        self._waiting: set[str] = set()

    def hold(self, declarations: Mapping[str, Declaration], is_dropped: Callable[[str, str], bool]) -> None:
        """Declare schedules from now on, in turns of `run_once`.

        Args:
            declarations: by name.
            is_dropped: returns true for the module and the name of a schedule that is in the code no more.
        """
        self._pending |= declarations
        self._known |= set(declarations)
        self._is_dropped = is_dropped
        self._registry.schedules |= {name: each.digest for name, each in declarations.items()}
        if self.begun is not None:
            self.begun()

    async def run_once(self) -> float | None:
        """Declare what is not declared yet; return the seconds until the next turn if others have to see this worker.

        The worker signs before it looks at the others, so that of two workers at least one sees the other.
        """
        if not self._pending and self._is_dropped is None:
            return None
        if not self._registry.is_signed:
            return _UNSEEN_SECONDS
        others = [worker for worker in await self._workers.alive() if worker.name != self._name]
        theirs = {pair for worker in others for pair in worker.schedules}
        for declaration in list(self._pending.values()):
            if await self._declare(declaration, theirs):
                self._pending.pop(declaration.name, None)
        if self._is_dropped is not None and await self._report(self._is_dropped, {name for name, _ in theirs}):
            self._is_dropped = None
        return None

    async def declare(self, declarations: Sequence[Declaration]) -> None:
        """Declare schedules at once, whatever other workers declare."""
        for declaration in declarations:
            await self._declare(declaration, set())

    async def _declare(self, declaration: Declaration, theirs: set[tuple[str, str]]) -> bool:
        """Declare a schedule; return false if that has to wait for workers with other code."""
        name, mine = declaration.name, declaration.digest

        def is_held(last: Declared) -> bool:
            if application(last.by) != application(declaration.by):
                return True
            return (
                last.schedule is not None and mine != digest(last.schedule) and (name, digest(last.schedule)) in theirs
            )

        try:
            stored = await self._schedules.declare(declaration, by=_actor(declaration.by), is_held=is_held)
        except ChangedMeanwhileError:
            return False
        except (InvalidInputError, TooLargeError) as error:
            log.error("schedule not declared", schedule=name, by=declaration.by, error=str(error)[:500])  # noqa: TRY400 - it is no fault of this program
            return True
        last = stored.declared
        if stored.schedule is None or last is None:
            log.error("schedule unreadable", schedule=name, hint="delete it, or put it anew")
            return True
        if application(last.by) != application(declaration.by):
            log.error("schedule name taken", schedule=name, by=last.by, hint="give one of both another name")
            return True
        if is_held(last):
            if name not in self._waiting:
                log.warning("schedule held back", schedule=name, hint="workers with other code declare it differently")
            self._waiting.add(name)
            return False
        if differing := edited(stored.schedule, last):
            log.warning("schedule edited", schedule=name, fields=", ".join(differing), hint="a person's edit counts")
        return True

    async def _report(self, is_dropped: Callable[[str, str], bool], theirs: set[str]) -> bool:
        """Report schedules that the code does not declare any more; return false if other workers still do."""
        after, is_whole = "", True
        while page := await self._schedules.store.declared(after, _PAGE):
            after = page[-1].name
            for stored in page:
                if stored.name in self._known or not _is_dropped(stored, is_dropped):
                    continue
                if stored.name in theirs:
                    is_whole = False
                    continue
                await self._miss(stored)
        return is_whole

    async def _miss(self, stored: StoredSchedule) -> None:
        by = stored.declared.by if stored.declared is not None else ""
        await self._schedules.miss(stored, by=_actor(by))
        log.warning(
            "schedule not in the code", schedule=stored.name, by=by, hint="it goes on: delete it, or declare it again"
        )


def _is_dropped(stored: StoredSchedule, is_dropped: Callable[[str, str], bool]) -> bool:
    return stored.declared is not None and is_dropped(stored.declared.by, stored.name)


def _actor(module: str) -> Actor:
    return Actor(name=module, via="python")
