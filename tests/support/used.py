"""The names that a test uses, as far as its module tells: those it calls, and those they call in turn."""

from __future__ import annotations

import dis
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def uses(request: pytest.FixtureRequest, module: str) -> bool:
    """Return True if a test, a fixture of it or what they use in their own module has a name of another module."""
    present = vars(request.module)
    if not any(getattr(value, "__module__", "") == module for value in present.values()):
        return False
    names = [request.node.function.__name__, *request.fixturenames]
    names += [getattr(value, "__name__", "") for value in getattr(request.node, "callspec", _None).params.values()]
    seen: set[str] = set()
    while names:
        name = names.pop()
        if name in seen or name not in present:
            continue
        seen.add(name)
        if getattr(present[name], "__module__", "") == module:
            return True
        names += _names(present[name], request.module.__name__)
    return False


class _None:
    params: dict[str, Any] = {}  # noqa: RUF012 - never changed


def _names(value: Any, module: str) -> Iterator[str]:
    """Yield the names in the code of a function, a fixture or a class of a module, and of what containers hold."""
    if isinstance(value, type):
        for inner in vars(value).values() if value.__module__ == module else ():
            yield from _names(inner, module)
    elif isinstance(value, (list, tuple, set, frozenset, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield getattr(inner, "__name__", "")
    else:
        while inner := getattr(value, "__wrapped__", None) or getattr(value, "__func__", None):
            value = inner
        if isinstance(code := getattr(value, "__code__", None), types.CodeType):
            yield from _of_code(code)


def _of_code(code: types.CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _of_code(constant)
