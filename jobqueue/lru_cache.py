"""A cache of bounded size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Keep values by key; the least recently used value is forgotten when there are too many.

    A value can be forgotten at any time.

    Args:
        most: the largest number of values.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def get(self, key: K) -> V | None:
        """Return a value and count its use; ``None`` if there is no such value."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def peek(self, key: K) -> V:
        """Return a value without counting its use.

        Raises:
            KeyError: there is no such value.
        """
        return self._values[key]

    def keep(self, key: K, value: V) -> K | None:
        """Keep a value; return the key of a value that is forgotten in its place."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) <= self._most:
            return None
        forgotten, _ = self._values.popitem(last=False)
        return forgotten

    def forget(self, key: K) -> V | None:
        """Forget a value and return it, if there is one."""
        return self._values.pop(key, None)

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()
