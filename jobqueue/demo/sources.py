"""Find, copy and measure Python sources."""

from __future__ import annotations

import ast
import os
import shutil
import threading
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import Die

if TYPE_CHECKING:
    from collections.abc import Sequence

_SKIPPED: Final = frozenset({"site-packages", "dist-packages", "__pycache__"})
_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_BRANCHES: Final = (*_LOOPS, ast.If, ast.IfExp, ast.BoolOp, ast.ExceptHandler, ast.match_case)
_PYTHON_2: Final = ("Missing parentheses in call to", "multiple exception types must be parenthesized")
# CPython 3.11 shares its recursion counter between threads and raises SystemError when two of them parse at once.
_PARSER: Final = threading.Lock()


def find(root: Path) -> list[str]:
    """Return the relative paths of all ``.py`` files below a directory, sorted, with slashes.

    Installed packages, caches, hidden directories and names with unprintable characters are left out.

    Raises:
        OSError: the directory cannot be read.
    """
    os.scandir(root).close()
    files: list[str] = []
    for directory, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in _SKIPPED and not name.startswith(".")]
        paths = [Path(directory, name) for name in names if name.endswith(".py")]
        files += [path.relative_to(root).as_posix() for path in paths if path.is_file()]
    return sorted(file for file in files if file.isprintable())


def copy(root: Path, target: Path, files: Sequence[str]) -> None:
    """Copy files from one directory to another."""
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, target / file)


def measure(root: str, file: str) -> dict[str, Any]:
    """Compile one source and return its measures.

    Returns:
        Numbers of ``lines``, ``functions`` and ``classes``; names of top-level modules as ``imports``; a function or
        ``None`` as ``longest`` and ``mostComplex``.

    Raises:
        OSError: the file cannot be read.
        SyntaxError, ValueError, RecursionError, MemoryError: the source does not compile.
        Die: the source is Python 2.
    """
    raw = Path(root, file).read_bytes()
    nodes = list(ast.walk(_compile(raw, file)))
    functions: list[dict[str, Any]] = [
        {
            "name": node.name,
            "line": node.lineno,
            "lines": (node.end_lineno or node.lineno) - node.lineno + 1,
            "complexity": 1 + sum(isinstance(inner, _BRANCHES) for inner in ast.walk(node)),
        }
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    imports = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imports |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {
        "lines": len(raw.splitlines()),
        "functions": len(functions),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
        "imports": sorted({name.split(".")[0] for name in imports}),
        "longest": max(functions, key=itemgetter("lines"), default=None),
        "mostComplex": max(functions, key=itemgetter("complexity"), default=None),
    }


def _compile(raw: bytes, file: str) -> ast.Module:
    try:
        with _PARSER:
            tree = ast.parse(raw, file)
        compile(tree, file, "exec", dont_inherit=True)
    except SyntaxError as error:
        reason = f"{file}{f', line {error.lineno}' if error.lineno else ''}: {error.msg}"
        if (error.msg or "").startswith(_PYTHON_2):
            raise Die(f"Python 2 source: {reason}") from None
        raise SyntaxError(reason) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise type(error)(f"{file}: {str(error) or 'nested too deeply for the parser'}") from None
    return tree
