"""Run the handlers of a JobQueue object that is found by name."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process import log_output, process
from jobqueue.cli.render import errors
from jobqueue.cli.render.output import announce
from jobqueue.journal import get_logger
from jobqueue.services.queue import JobQueue
from jobqueue.services.sync_queue import SyncJobQueue
from jobqueue.settings import Settings
from jobqueue.tasks.registry import HandlerRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from jobqueue.cli.process.process import StopSignals

log = get_logger(__name__)


class TargetError(click.ClickException):
    """MODULE:QUEUE that names nothing to run; the message is one line."""

    exit_code = errors.USAGE


def run(target: str, flags: Mapping[str, str | None]) -> int:
    """Run the handlers of a queue object until a signal, and return the exit code.

    Raises:
        TargetError: there is no such object, or nothing for it to run.
        SettingsError: with every mistake.
    """
    log_output.configure(Settings.load(flags), service=True)
    queue = find(target)
    if not queue.handlers:
        raise TargetError(f"{target} has no handlers: decorate functions with @queue.task() or @queue.handler(TYPE)")
    settings = queue.settle_for(flags)
    log_output.configure(settings, service=True)
    return process.run_service(lambda stop: _work(queue, settings, stop))


def find(target: str) -> JobQueue:
    """Return the queue object that MODULE:QUEUE names.

    Raises:
        TargetError: there is none; the message is one line.
    """
    found, others = _named(target)
    if not isinstance(found, JobQueue):
        raise TargetError(f"{target} is a {type(found).__qualname__}, not a JobQueue{others}")
    return found


def find_handlers(target: str) -> HandlerRegistry:
    """Return the queue object, or the worker over HTTP, that MODULE:QUEUE names.

    Raises:
        TargetError: there is none; the message is one line.
    """
    found, others = _named(target)
    if not isinstance(found, HandlerRegistry):
        raise TargetError(f"{target} is a {type(found).__qualname__}, not a JobQueue{others}")
    return found


def _named(target: str) -> tuple[Any, str]:
    """Return the object that a target names, and a phrase about queue objects of its module.

    Raises:
        TargetError: there is none; the message is one line.
    """
    name, colon, path = target.partition(":")
    if not name or not colon or not path:
        raise TargetError(f"{target!r} is not MODULE:QUEUE, such as app:queue for the object queue in app.py")
    module = _import(name)
    target_object: Any = module
    for step in path.split("."):
        try:
            target_object = getattr(target_object, step)
        except AttributeError:
            raise TargetError(f"module {name} has no {path}{_others(module)}") from None
    if isinstance(target_object, SyncJobQueue):
        target_object = target_object.calls
    return target_object, _others(module)


async def _work(queue: JobQueue, settings: Settings, stop: StopSignals) -> None:
    runtime = await process.open_runtime(stop, queue.open, embedded=settings.mongo_url is None)
    if runtime is None:
        return
    try:
        async with process.working(runtime, queue.lanes(runtime), stop) as claiming:
            queue.declare(runtime)
            announce(f"worker {runtime.name} ready: {', '.join('/'.join(key) for key in sorted(queue.handlers))}")
            await process.first(claiming, stop.asked)
    finally:
        await queue.close()


def _import(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            hint = f"; did you mean {name.removesuffix('.py')}?" if name.endswith(".py") else ""
            raise TargetError(f"there is no module {name} in {Path.cwd()} or installed{hint}") from None
        raise TargetError(_broken(name, error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's module raises is told on one line
        raise TargetError(_broken(name, error)) from None


def _broken(name: str, error: BaseException) -> str:
    """Return the message for a module whose import raised this error."""
    if isinstance(error, SyntaxError):
        return f"module {name} cannot be imported: {type(error).__name__}: {error}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"module {name} cannot be imported: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})"


def _others(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, JobQueue | SyncJobQueue)]
    return f"; JobQueue objects in it: {', '.join(names)}" if names else ""
