"""`@queue.cron()`: schedules beside the functions that run their jobs."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.options import new_job
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.schedules.declaration import Declaration, application
from jobqueue.domain.values.checks import check_queue
from jobqueue.processors.callbacks.handlers import name_of
from jobqueue.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.processors.callbacks.handlers import Handler

_MAIN: Final = "__main__"
_MOST_BYTES: Final = 65_536
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_:-]", re.ASCII)
_LONGEST_NAME: Final = 100


class CodeSchedules:
    """The schedules that decorators have declared for one queue object."""

    def __init__(self) -> None:
        self.by_name: dict[str, Declaration] = {}
        _ALL.add(self)

    def add(self, definition: Mapping[str, Any], name: str, job: NewJob, function: object) -> None:
        """Declare a schedule.

        Args:
            definition: ``cron``, ``timezone``, ``every`` and ``missed``, as far as they were given.
            name: of the schedule.
            job: that is made each time.
            function: that was decorated.

        Raises:
            InvalidInputError: naming each unacceptable value, or a name that was declared before.
        """
        check_queue(name, "name")
        if name in self.by_name:
            raise InvalidInputError({"name": [f"there is a schedule {name!r} in the code already: give another name="]})
        schedule = schedules.read(name, {**definition, "job": {}}, lambda *_: job)
        if len(json.dumps(schedule.wire())) > _MOST_BYTES:
            raise InvalidInputError({"data": ["must be at most 64 KiB in a schedule of the code"]})
        self.by_name[name] = Declaration(schedule=schedule, by=module_of(function))


_ALL: Final[WeakSet[CodeSchedules]] = WeakSet()
"""Those of all queue objects: a module may declare schedules for more than one."""


def job_of(
    function: object, handlers: Iterable[Handler], data: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> NewJob:
    """Return the job of a decorated task or handler.

    Args:
        function: the task, or the function of a handler.
        handlers: of the queue object.
        data: of the job; the arguments of the task by name.
        options: other fields of the job.

    Raises:
        TypeError: it is no task or handler of the queue object, or the task cannot be called with this data.
        InvalidInputError: naming each unacceptable field.
    """
    known = list(handlers)
    if isinstance(function, Task):
        task: Task[Any, Any] = function.options(**cast("Any", options))
        if not any(handler.queue == function.queue and function.name in handler.types for handler in known):
            raise TypeError(f"{function!r} is no task of this queue object: use the cron of the object that made it")
        return task.new(**(data or {}))
    mine = {(handler.queue, handler.type) for handler in known if handler.function is function}
    if not mine:
        raise TypeError(f"write @queue.cron() above @queue.task() or @queue.handler() of {name_of(function)}")
    if len(mine) > 1:
        raise TypeError(f"{name_of(function)} has several types: make a task of it, or put a schedule for each type")
    [(queue, kind)] = mine
    return new_job(kind, data, **cast("Any", {"queue": queue, **options}))


def schedule_name(kind: str) -> str:
    """Return the name of the schedule of a type of jobs, with a hyphen for what no name may have."""
    return _NO_NAME.sub("-", kind)[:_LONGEST_NAME]


def module_of(function: object) -> str:
    """Return the module of a function; that of a program is named as if it had been imported."""
    module = str(getattr(function, "__module__", None) or _MAIN)
    return _main_module() if module == _MAIN else module


def is_dropped(module: str, name: str) -> bool:
    """Return true if a schedule that a module once declared is in the code of this process no more.

    That is so if the module was imported here and declares no such schedule, or if its package was and has no such
    module. Nothing is known of a module that another worker imports.
    """
    mine = [declaration for declared in list(_ALL) for declaration in declared.by_name.values()]
    if any(each.name == name and application(each.by) == application(module) for each in mine):
        return False
    if module == _main_module():
        return True
    steps = module.split(".")
    for count in range(1, len(steps) + 1):
        part = ".".join(steps[:count])
        if part not in sys.modules:
            return count > 1 and _is_missing(part)
    return True


def _is_missing(module: str) -> bool:
    """Return true if a package that was imported has no such module; nothing is imported."""
    try:
        return find_spec(module) is None
    except (ImportError, AttributeError, ValueError):
        return True


def _main_module() -> str:
    main = sys.modules.get(_MAIN)
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(f".{_MAIN}")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else _MAIN
