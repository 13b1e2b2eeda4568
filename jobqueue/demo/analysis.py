"""Reading, decoding, compiling and measuring one Python source."""

from __future__ import annotations

import ast
import io
import os
import re
import threading
import tokenize
import warnings
from pathlib import Path
from typing import Any, Final

from jobqueue.demo import python2
from jobqueue.demo.survey import survey
from jobqueue.domain.errors import Die

_FILTERS: Final = threading.Lock()
_TREES: Final = threading.Lock()


class EncodingError(ValueError):
    """Say why the bytes of a source are no text."""


def analyse(root: str, file: str) -> dict[str, Any]:
    """Return what there is to know about one source.

    Args:
        root: the directory.
        file: the path below it, with slashes.

    Returns:
        ``bytes``, ``lines``, ``functions``, ``classes``, ``imports`` (names of top-level modules), ``longest`` and
        ``mostComplex`` (a function, or ``None``), ``depth`` (of nested blocks).

    Raises:
        OSError: it cannot be read.
        EncodingError: it cannot be decoded.
        SyntaxError: it does not compile, with file, line and reason as its message.
        RecursionError, MemoryError: it is nested too deeply for the parser.
        Die: it is Python 2.
    """
    path = Path(root, file)
    raw = path.read_bytes()
    source = decode(raw, file)
    quiet(root)
    tree = parse(source, file, str(path))
    return {"bytes": len(raw), "lines": source.count("\n") + (not source.endswith(("\n", "\r")) and bool(source))} | (
        survey(tree, file)
    )


def decode(raw: bytes, file: str) -> str:
    """Return the text of a source by its encoding declaration (PEP 263).

    Raises:
        EncodingError: with the file and, where one is to blame, the line.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        wrong = f"byte 0x{raw[error.start]:02x} is not {error.encoding} ({error.reason})"
        raise EncodingError(f"{file}, line {line}: {wrong}") from None
    except SyntaxError as error:
        raise EncodingError(f"{file}: {error.msg}") from None
    except (LookupError, ValueError) as error:
        raise EncodingError(f"{file}: {error}") from None


def parse(source: str, file: str, path: str) -> ast.Module:
    """Compile a source as far as bytecode and return its tree.

    Args:
        source: the text.
        file: what the messages call it.
        path: what tracebacks and warnings call it.

    Raises:
        SyntaxError, RecursionError, MemoryError, Die: as `analyse`.
    """
    try:
        tree = _tree(source, path)
        compile(tree, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        place = f"{file}, line {error.lineno}" if error.lineno else file
        if name := python2.construct(error):
            raise Die(f"Python 2 source: {name}: {file} line {error.lineno}") from None
        raise SyntaxError(f"{place}: {error.msg}") from None
    except ValueError as error:
        raise SyntaxError(f"{file}: {error}") from None
    except (RecursionError, MemoryError) as error:
        reason = f": {error}" if str(error) else ""
        raise type(error)(f"{file}: nested too deeply for the parser{reason}") from None
    return tree


def quiet(root: str) -> None:
    """Silence what the compiler has to say about sources below a directory, for the rest of the process.

    `warnings.catch_warnings` swaps state of the whole process, so that threads undo each other's; a filter on the path,
    which the compiler's warnings have in the place of the module, touches nobody else and is only ever added.
    """
    pattern = re.escape(root.rstrip(os.sep) + os.sep)
    with _FILTERS:
        if all(getattr(module, "pattern", None) != pattern for _, _, _, module, _ in tuple(warnings.filters)):
            warnings.filterwarnings("ignore", module=pattern)


def _tree(source: str, path: str) -> ast.Module:
    """Make a tree, alone if possible.

    Some versions of CPython (3.11.7 is one) share its recursion counter between threads, and raise `SystemError` when
    two make trees at once. Waiting costs nothing, for only one runs at a time anyway. Who formats a traceback makes
    trees too, and does not wait: then the second try succeeds.
    """
    with _TREES:
        try:
            return ast.parse(source, path)
        except SystemError:
            return ast.parse(source, path)
