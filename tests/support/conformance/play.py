"""Little programs in the data of jobs, the same for every way to process them.

``{"do": [["log", "hello"], ["progress", 40], ["hold"], ["result", {"width": 320}]]}`` is played as a generator: it
yields the steps that each way does in its own manner, and returns the result or raises the end of the job. It uses the
standard library only, so that every processor can import it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator

Step: TypeAlias = tuple[Any, ...]
Game: TypeAlias = "Generator[Step, Any, Any]"
PAUSE = 0.02
DIRECTORY = "CONFORMANCE_DIR"
LATE = "timed out"
CONFLICT = 409
UNACCEPTABLE = frozenset({400, 413, 422})
"""Answers to a report that is refused for what it says, not for its claim."""


class FailedError(Exception):
    """This attempt does not succeed."""


class DeadError(Exception):
    """The job can never succeed."""


class AgainError(Exception):
    """The job is to run again, uncounted, after a delay in seconds."""

    def __init__(self, reason: str, delay: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.delay = delay


class StoppedError(Exception):
    """The way has stopped the job."""


class SuspendedError(Exception):
    """The job is suspended, so that this start of it ends: for a way that has to tell its server, and how."""

    def __init__(self, **how: Any) -> None:
        super().__init__(how)
        self.how = how


@dataclass(frozen=True, slots=True)
class Ground:
    """A directory by which a test and the processes of its jobs see each other."""

    path: Path

    @classmethod
    def here(cls) -> Ground:
        return cls(Path(os.environ[DIRECTORY]))

    def mark(self, name: str, what: str) -> None:
        (self.path / f"{name}.{what}").touch()

    def clear(self, name: str, what: str) -> None:
        (self.path / f"{name}.{what}").unlink()

    def has(self, name: str, what: str) -> bool:
        return (self.path / f"{name}.{what}").exists()

    def note(self, name: str, step: str) -> None:
        """Note that a step has run."""
        with (self.path / f"{name}.steps").open("a") as file:
            file.write(f"{step}\n")

    def noted(self, name: str) -> list[str]:
        """Return the steps of a job that have run, each as often as it has."""
        path = self.path / f"{name}.steps"
        return path.read_text().splitlines() if path.exists() else []


@dataclass(frozen=True, slots=True)
class Seen:
    """The fields of a job that a way shows to its program."""

    id: str
    data: dict[str, Any]
    meta: dict[str, Any]
    attempt: int
    parents: tuple[dict[str, Any], ...] = ()
    batch_id: str | None = None
    steps: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, sent: dict[str, Any]) -> Seen:
        """Read the JSON that webhooks, commands and polling workers get."""
        job = sent["job"]
        parents = tuple(job.get("parents") or ())
        attempt = sent.get("attempt", job["attemptsMade"])
        return cls(job["id"], job["data"], job["meta"], attempt, parents, job["batchId"], job["steps"])


def play(job: Seen, ground: Ground) -> Game:
    """Yield ``log LINE LEVEL``, ``progress PERCENT``, ``pause``, ``parent``, ``results`` and ``add JOBS``.

    The answer to ``parent`` is the parent's result, that to ``results`` the results of all jobs it depended on. Of
    steps: ``step NAME WAS FUNCTION``, to which the answer is its result, ``sleep NAME SECONDS``, and ``next``, where a
    way whose steps count only with its reply goes on in another call. ``signal NAME TIMEOUT`` is
    answered by the value or `LATE`, and ``call NAME JOBS FAILURES`` by the results of the children.
    """
    result: Any = None
    for verb, *words in _steps(job, ground):
        match verb:
            case "join" | "fan":
                result = yield from _of_batch(verb, words)
            case "parent" | "step":
                result = yield (("parent",) if verb == "parent" else _as_step(job, ground, *words))
            case "signal" | "call":
                result = yield (verb, *words, *_DEFAULTS[verb][len(words) :])
            case "sleep" | "next" | "progress":
                yield (verb, *words)
            case "log":
                yield ("log", *words, *[None] * (2 - len(words)))
            case "count":
                yield from (("log", f"line {number}", None) for number in range(words[0]))
            case "hold":
                ground.mark(job.id, "held")
                while not ground.has(job.id, "go"):
                    yield ("pause",)
            case _:
                result = _do(verb, words, job)
    return result


def _steps(job: Seen, ground: Ground) -> Iterator[list[Any]]:
    """Yield the steps of this run: those in ``once`` belong to the first run that reaches them."""
    for step in job.data["do"]:
        if step[0] != "once":
            yield step
        elif not ground.has(job.id, "once"):
            ground.mark(job.id, "once")
            yield from step[1:]


def _of_batch(verb: str, words: list[Any]) -> Game:
    if verb == "join":
        return [len(result) for result in (yield ("results",))]
    return (yield ("add", _parts(*words)))


def _parts(queue: str, start: int, end: int, size: int) -> list[dict[str, Any]]:
    """Return jobs, each with a result of its own size, for which the job ``join`` of the batch is to wait."""
    return [
        {
            "type": "play",
            "queue": queue,
            "ref": f"part{place}",
            "blocks": ["join"],
            "data": {"do": [["size", size + place]]},
        }
        for place in range(start, end)
    ]


def answered(step: Any) -> Any:
    """Return the value of a signal as a finished step shows it."""
    is_late = isinstance(step, dict) and step.get("error", {}).get("kind") == "timeout"
    return LATE if is_late else step


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def drive(game: Game, act: Callable[..., Any]) -> Any:
    answer = None
    while True:
        try:
            step = game.send(answer)
        except StopIteration as end:
            return end.value
        answer = act(*step)


async def drive_async(game: Game, act: Callable[..., Awaitable[Any]]) -> Any:
    answer = None
    while True:
        try:
            step = game.send(answer)
        except StopIteration as end:
            return end.value
        answer = await act(*step)


async def pause() -> None:
    await asyncio.sleep(PAUSE)


def _as_step(job: Seen, ground: Ground, name: str, do: list[Any], was: str | None = None) -> Step:
    return ("step", name, was, partial(_step, job, ground, name, do))


def _step(job: Seen, ground: Ground, name: str, do: list[Any]) -> Any:
    ground.note(job.id, name)
    return _do(do[0], do[1:], job)


def _do(verb: str, words: list[Any], job: Seen) -> Any:
    """Return the result of a step, or raise the end of the job."""
    if verb in _ENDS:
        raise _ENDS[verb](*words)
    return _MAKERS[verb](job, *words)


_ENDS: dict[str, Callable[..., Exception]] = {
    "fail": FailedError,
    "die": DeadError,
    "retry": AgainError,
    "crash": lambda: ZeroDivisionError("nobody foresaw this"),
}
_DEFAULTS: dict[str, tuple[Any, ...]] = {"signal": (None, None), "call": (None, None, "raise")}
_MAKERS: dict[str, Callable[..., Any]] = {
    "result": lambda _, value: value,
    "read": lambda _, text: json.loads(text),
    "size": lambda _, size: "x" * size,
    "echo": lambda job: {"data": job.data, "meta": job.meta, "attempt": job.attempt},
    "digest": lambda job: digest(job.data["blob"]),
}
