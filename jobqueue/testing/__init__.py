"""Tests of programs that use a queue: a pytest plugin with the fixture `jobqueue_test`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobqueue.testing.errors import EndlessDrainError, UnexpectedEndError
    from jobqueue.testing.queue import QueueForTests
    from jobqueue.testing.replays.call import replay
    from jobqueue.testing.replays.replay import Replayed

__all__ = ["EndlessDrainError", "QueueForTests", "Replayed", "UnexpectedEndError", "replay"]

# Loaded at first use: pytest imports this package in every project of the environment.
_HOMES: Final = {
    "EndlessDrainError": "errors",
    "QueueForTests": "queue",
    "Replayed": "replays.replay",
    "UnexpectedEndError": "errors",
    "replay": "replays.call",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
