"""Results of steps: to JSON, and back to the type that the function of the step returns."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec

from jobqueue.processors.callbacks.value_types import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

_AS_THEY_ARE: Final = (None, Any, type(None), bool, int, float, str, dict, list, object)


class Codec:
    """Converts the results of one step.

    Args:
        function: of the step; its annotation tells the type of its results.
        into: the type instead.
    """

    def __init__(self, function: Callable[..., Any] | None, into: Any = None) -> None:
        self._type = into if into is not None else _returned(function)

    def encode(self, value: Any) -> Any:
        """Return a result as JSON; a result without a declared type is JSON already.

        Raises:
            TypeError, ValueError: it cannot be.
        """
        return value if self._type is None else to_json(value)

    def decode(self, stored: Any) -> Any:
        """Return a stored result in the type.

        Raises:
            ValueError: it is of another type.
        """
        return stored if self._type is None else from_json(stored, self._type)


def _returned(function: Callable[..., Any] | None) -> Any:
    """Return the type of the results of a function; ``None`` if they are JSON, or nothing tells."""
    try:
        declared: Any = get_type_hints(inspect.unwrap(function)).get("return") if function is not None else None
        if any(declared is plain for plain in _AS_THEY_ARE):
            return None
        msgspec.convert(None, declared | None)
    except Exception:  # noqa: BLE001 - an annotation may be anything: then the result is JSON
        return None
    return declared
