"""Backoffs, the waits before the next attempt: fixed, in steps, or exponentially growing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobqueue.domain.durations import LONGEST, is_number
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.unknown import unknown_names


@dataclass(frozen=True, slots=True)
class FixedBackoff:
    """Wait the same number of seconds after each attempt."""

    wait: float

    def seconds(self, attempt: int, *, chance: float) -> float:  # noqa: ARG002 - one signature for all three kinds
        """Return the wait in seconds after the given attempt, which is counted from 1."""
        return self.wait

    def wire(self) -> float:
        """Return the form documents and JSON have."""
        return self.wait


@dataclass(frozen=True, slots=True)
class SteppedBackoff:
    """Wait a number of seconds of its own after each attempt; the last number repeats."""

    waits: tuple[float, ...]

    def seconds(self, attempt: int, *, chance: float) -> float:  # noqa: ARG002 - as in Fixed
        """Return the wait in seconds after the given attempt, which is counted from 1."""
        return self.waits[min(max(attempt, 1), len(self.waits)) - 1]

    def wire(self) -> list[float]:
        """Return the form documents and JSON have."""
        return list(self.waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialBackoff:
    """Wait ``base * factor ** (attempt - 1)`` seconds, at most ``max``, spread by ``jitter`` (0.1 is ±10 %)."""

    base: float = 10
    factor: float = 2
    max: float = 3600
    jitter: float = 0.1

    def seconds(self, attempt: int, *, chance: float) -> float:
        """Return the wait in seconds after the given attempt, counted from 1; ``chance`` is from 0 to 1."""
        try:
            grown = self.base * float(self.factor) ** (max(attempt, 1) - 1)
        except OverflowError:
            grown = self.max if self.base else 0
        return min(min(grown, self.max) * (1 + self.jitter * (2 * chance - 1)), LONGEST)

    def wire(self) -> dict[str, Any]:
        """Return the form documents and JSON have."""
        return {
            "kind": "exponential",
            "base": self.base,
            "factor": self.factor,
            "max": self.max,
            "jitter": self.jitter,
        }


Backoff = FixedBackoff | SteppedBackoff | ExponentialBackoff
DEFAULT: Final = ExponentialBackoff()
_BOUNDS: Final = {"base": (0.0, LONGEST), "factor": (1.0, 1000.0), "max": (0.0, LONGEST), "jitter": (0.0, 1.0)}
_MOST_STEPS: Final = 1000


def parse(value: object, path: str = "backoff") -> Backoff:
    """Read a backoff from its wire form: a number, a list of numbers or an object.

    Raises:
        InvalidInputError: with the paths below ``path``.
    """
    if isinstance(value, FixedBackoff | SteppedBackoff | ExponentialBackoff):
        return parse(value.wire(), path)
    if isinstance(value, Mapping):
        return _exponential(value, path)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not 1 <= len(value) <= _MOST_STEPS:
            raise InvalidInputError({path: [f"takes 1 to {_MOST_STEPS} waits"]})
        return SteppedBackoff(tuple(_number(wait, f"{path}.{index}", 0, LONGEST) for index, wait in enumerate(value)))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return FixedBackoff(_number(value, path, 0, LONGEST))
    raise InvalidInputError({path: ["must be a number of seconds, a list of them, or an object with a kind"]})


def _exponential(value: Mapping[Any, Any], path: str) -> ExponentialBackoff:
    if value.get("kind") != "exponential":
        raise InvalidInputError({f"{path}.kind": ['must be "exponential"']})
    if unknown := unknown_names(value, {*_BOUNDS, "kind"}, path=path):
        raise InvalidInputError(unknown)
    numbers = {
        name: _number(value[name], f"{path}.{name}", low, high)
        for name, (low, high) in _BOUNDS.items()
        if name in value
    }
    return ExponentialBackoff(**numbers)


def _number(value: object, path: str, low: float, high: float) -> float:
    if not is_number(value):
        raise InvalidInputError({path: ["must be a number"]})
    if not low <= value <= high:
        raise InvalidInputError({path: [f"must be from {low:.15g} to {high:.15g}"]})
    return value
