"""One walker through JSON in MongoDB's language, for the readers of filters, expressions and pipelines.

Each reader has a table of operators and turns JSON into typed values. The walker knows the path of each part, for
messages, and bounds the number of parts and their depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from jobqueue.domain.durations import is_whole
from jobqueue.domain.errors import InvalidInputError, Problems

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from jobqueue.domain.search.fields import Vocabulary

T = TypeVar("T")


class OverBudgetError(InvalidInputError):
    """End the reading of a value that is too large or nested too deep."""


@dataclass(slots=True)
class Budget:
    """The number of parts and levels that a reader accepts; ``noun`` names the parts in messages."""

    most: int
    deepest: int
    noun: str
    spent: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One part of a JSON value. All methods that check the part raise an `InvalidInputError` with its path.

    Attributes:
        at: the path of the part, for messages.
        names: the fields that the part may name.
        depth: the levels above the part. A member of a list is one level deeper; a member of an object is not.
        name: the key or the index of the part.
    """

    value: Any
    at: str
    names: Vocabulary
    budget: Budget
    depth: int = 0
    name: Any = None

    def error(self, message: str) -> InvalidInputError:
        """Return an error about this part."""
        return InvalidInputError({self.at: [message]})

    def count(self) -> None:
        """Count this part, and check that there are not too many parts or levels."""
        self.budget.spent += 1
        if self.budget.spent > self.budget.most:
            raise OverBudgetError({self.at: [f"is one of more than {self.budget.most} {self.budget.noun}"]})
        if self.depth > self.budget.deepest:
            raise OverBudgetError({self.at: [f"is nested deeper than {self.budget.deepest} levels"]})

    def deeper(self) -> Node:
        """Return this part one level deeper."""
        return replace(self, depth=self.depth + 1)

    def child(self, name: Any, value: Any, shown: object = None) -> Node:
        """Return a member of this part; ``shown`` stands in its path in place of its name."""
        return replace(self, value=value, at=f"{self.at}.{name if shown is None else shown}", name=name)

    def each(self, values: Sequence[Any]) -> list[Node]:
        """Return values as the members of a list."""
        return [self.child(index, value).deeper() for index, value in enumerate(values)]

    def items(self, most: int, noun: str = "") -> list[Node]:
        """Return the 1 to ``most`` members of a list."""
        if not isinstance(self.value, list) or not 1 <= len(self.value) <= most:
            raise self.error(f"must be a list of 1 to {most} {noun}".rstrip())
        return self.each(self.value)

    def fields(self, most: int) -> list[Node]:
        """Return the 1 to ``most`` members of an object."""
        if not isinstance(self.value, dict) or not 1 <= len(self.value) <= most:
            raise self.error(f"must be an object with 1 to {most} fields")
        return [self.child(name, value) for name, value in self.value.items()]

    def only(self, noun: str, known: Collection[str]) -> Node:
        """Return the only member of an object, whose name is one of the known ones."""
        if not isinstance(self.value, dict) or len(self.value) != 1:
            raise self.error(f"must be an object with one {noun}")
        ((name, value),) = self.value.items()
        if name not in known:
            raise self.error(f"{str(name)[:80]!a} is not one of {', '.join(sorted(known))}")
        return self.child(name, value)

    def whole(self, least: int, most: int) -> int:
        """Return a whole number from ``least`` to ``most``."""
        if not is_whole(self.value) or not least <= self.value <= most:
            raise self.error(f"must be a whole number from {least} to {most:,}")
        return self.value

    def is_operator(self) -> bool:
        """Tell whether the part is an object with a key that begins with a dollar sign."""
        return isinstance(self.value, dict) and any(isinstance(key, str) and key[:1] == "$" for key in self.value)


def gathered(read: Callable[[Node], T], nodes: Iterable[Node]) -> list[T]:
    """Read several parts; an error has the problems of all of them."""
    parts: list[T] = []
    problems: Problems = {}
    for node in nodes:
        try:
            parts.append(read(node))
        except InvalidInputError as error:
            problems |= error.problems
            if isinstance(error, OverBudgetError):
                raise OverBudgetError(problems) from None
    if problems:
        raise InvalidInputError(problems)
    return parts
