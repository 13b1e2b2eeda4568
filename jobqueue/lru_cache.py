"""Memory of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Keep values by key, and forget the value that was used longest ago when there are too many.

    Nothing may depend on a value that is kept here: it can be forgotten at any time.

    Args:
        most: the number of values that are kept at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def get(self, key: K) -> V | None:
        """Return a value and count that as its use; ``None`` if it is not kept."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def peek(self, key: K) -> V:
        """Return a value that is kept, which does not count as its use.

        Raises:
            KeyError: it is not kept.
        """
        return self._values[key]

    def keep(self, key: K, value: V) -> K | None:
        """Keep a value; return the key of another value that is forgotten for it."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) <= self._most:
            return None
        forgotten, _ = self._values.popitem(last=False)
        return forgotten

    def forget(self, key: K) -> V | None:
        """Forget a value; return it if it was kept."""
        return self._values.pop(key, None)
