"""Measuring a syntax tree, however deep, without recursion."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Final

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_LEAVES: Final = frozenset(
    {ast.Name, ast.Constant, ast.alias, ast.Pass, ast.Break, ast.Continue, ast.Global, ast.Nonlocal}
)
_BRANCHES: Final = frozenset(
    {
        ast.If,
        ast.IfExp,
        ast.For,
        ast.AsyncFor,
        ast.While,
        ast.ExceptHandler,
        ast.Assert,
        ast.comprehension,
        ast.match_case,
    }
)
_BLOCKS: Final = frozenset(
    {
        ast.If,
        ast.For,
        ast.AsyncFor,
        ast.While,
        ast.With,
        ast.AsyncWith,
        ast.Try,
        ast.TryStar,
        ast.Match,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
    }
)


@dataclass(slots=True)
class _Function:
    """A function and its cyclomatic complexity (McCabe, 1976): one more than it has branches."""

    name: str
    line: int
    lines: int
    complexity: int = 1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the tree a node is: in how many blocks, in which function, under which names."""

    depth: int = 0
    function: _Function | None = None
    scope: str = ""


class _Survey:
    """One walk through a tree."""

    def __init__(self, file: str) -> None:
        self._package = file.split("/", maxsplit=1)[0] if "/" in file else None
        self.functions: list[_Function] = []
        self.classes = 0
        self.depth = 0
        self.imports: set[str] = set()

    def walk(self, tree: ast.Module) -> None:
        todo: list[tuple[ast.AST, _Place]] = [(tree, _Place())]
        while todo:
            node, place = todo.pop()
            kind = type(node)
            inside = self._enter(node, place) if kind in _BLOCKS else place
            if place.function is not None:
                if kind in _BRANCHES:
                    place.function.complexity += 1
                elif isinstance(node, ast.BoolOp):
                    place.function.complexity += len(node.values) - 1
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node)
            for name in node._fields:
                value = getattr(node, name)
                if isinstance(value, ast.AST):
                    if type(value) not in _LEAVES and value._fields:
                        todo.append((value, inside))
                elif isinstance(value, list):
                    below = place if name == "orelse" and _is_elif(node, value) else inside
                    todo += [(one, below) for one in value if isinstance(one, ast.AST) and type(one) not in _LEAVES]

    def _enter(self, node: ast.AST, place: _Place) -> _Place:
        depth = place.depth + 1
        self.depth = max(self.depth, depth)
        if isinstance(node, _FUNCTIONS):
            name = place.scope + node.name
            function = _Function(name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1)
            self.functions.append(function)
            return _Place(depth, function, f"{name}.")
        if isinstance(node, ast.ClassDef):
            self.classes += 1
            return _Place(depth, None, f"{place.scope}{node.name}.")
        return _Place(depth, place.function, place.scope)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            self.imports.update(alias.name.split(".")[0] for alias in node.names)
        elif not node.level and node.module:
            self.imports.add(node.module.split(".")[0])
        elif self._package is not None:
            self.imports.add(self._package)


def survey(tree: ast.Module, file: str) -> dict[str, Any]:
    """Return the measures of a tree, as JSON; ``file`` tells which package relative imports mean."""
    found = _Survey(file)
    found.walk(tree)
    longest = max(found.functions, key=lambda one: one.lines, default=None)
    complex_ = max(found.functions, key=lambda one: one.complexity, default=None)
    return {
        "functions": len(found.functions),
        "classes": found.classes,
        "imports": sorted(found.imports),
        "longest": longest and {"name": longest.name, "line": longest.line, "lines": longest.lines},
        "mostComplex": complex_ and {"name": complex_.name, "line": complex_.line, "complexity": complex_.complexity},
        "depth": found.depth,
    }


def _is_elif(node: ast.AST, branch: list[ast.stmt]) -> bool:
    return (
        isinstance(node, ast.If)
        and len(branch) == 1
        and isinstance(branch[0], ast.If)
        and branch[0].col_offset == node.col_offset
    )
