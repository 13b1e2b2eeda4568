from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobqueue.demo import sources
from jobqueue.domain.errors import Die

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Measure = Callable[[bytes], dict[str, Any]]

GOOD = b'''"""A module."""
from __future__ import annotations

import os.path, sys
from collections import Counter
from . import sibling


class Shop:
    def price(self, item, count):
        if item is None or count < 1:
            return 0
        for each in range(count):
            pass
        return [one for one in range(count) if one]

    async def close(self):
        def inner():
            return 1 if self else 2
        return inner()


def short(): return lambda: None
'''

PYTHON_2 = [
    pytest.param(b"x = 1\nprint 'hello'\n", 2, id="print"),
    pytest.param(b"exec 'x = 1' in {}\n", 1, id="exec"),
    pytest.param(b"try:\n    pass\nexcept ValueError, error:\n    pass\n", 3, id="except"),
]

NOT_PYTHON = [
    pytest.param(b"def f(:\n", "pkg/a.py, line 1: invalid syntax", id="syntax"),
    pytest.param(b"return 1\n", "pkg/a.py, line 1: 'return' outside function", id="only-the-compiler-objects"),
    pytest.param(b"from __future__ import tea\n", "pkg/a.py, line 1: future feature tea is not defined", id="future"),
    pytest.param(b"y = '\xe4'\n", "pkg/a.py, line 1: (unicode error) 'utf-8' codec can't decode", id="latin-1"),
    pytest.param(b"# -*- coding: uft-8 -*-\n", "pkg/a.py: unknown encoding: uft-8", id="unknown-encoding"),
]

TOO_DEEP = [
    pytest.param(b"x = " + b"-" * 100_000 + b"1\n", id="signs"),
    pytest.param(b"x = " + b"+".join([b"a"] * 100_000) + b"\n", id="sum"),
    pytest.param(b"(" * 5_000 + b")" * 5_000 + b"\n", id="parentheses"),
    pytest.param(b"".join(b" " * level + b"if a:\n" for level in range(200)), id="indentation"),
]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    (tmp_path / "pkg").mkdir()

    def measure(source: bytes) -> dict[str, Any]:
        (tmp_path / "pkg" / "a.py").write_bytes(source)
        return sources.measure(str(tmp_path), "pkg/a.py")

    return measure


def make(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")


def test_sources_are_found_in_order_without_what_is_installed_cached_or_hidden(tmp_path: Path) -> None:
    make(tmp_path, "b.py", "a.py", "pkg/c.py", "pkg/data.txt", ".venv/d.py")
    make(tmp_path, "site-packages/e.py", "pkg/__pycache__/f.py", "pkg/dist-packages/g.py")

    assert sources.find(tmp_path) == ["a.py", "b.py", "pkg/c.py"]


def test_pipes_directories_broken_links_and_names_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "folder.py/a.txt")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "broken.py").symlink_to(tmp_path / "nowhere.py")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).write_text("x = 1\n")

    assert sources.find(tmp_path) == ["a.py"]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sources.find(tmp_path / "gone")


def test_a_good_source_is_measured(measure: Measure) -> None:
    assert measure(GOOD) == {
        "lines": 23,
        "functions": 4,
        "classes": 1,
        "imports": ["__future__", "collections", "os", "sys"],
        "longest": {"name": "price", "line": 10, "lines": 6, "complexity": 5},
        "mostComplex": {"name": "price", "line": 10, "lines": 6, "complexity": 5},
    }


def test_an_empty_source_has_no_functions(measure: Measure) -> None:
    measures = measure(b"")

    assert (measures["lines"], measures["functions"], measures["longest"]) == (0, 0, None)


def test_a_source_in_another_encoding_is_read_as_it_declares(measure: Measure) -> None:
    measures = measure("# -*- coding: latin-1 -*-\ndef größe(): pass\n".encode("latin-1"))

    assert measures["longest"]["name"] == "größe"


@pytest.mark.parametrize(("source", "line"), PYTHON_2)
def test_python_2_is_given_up_at_once(measure: Measure, source: bytes, line: int) -> None:
    with pytest.raises(Die) as caught:
        measure(source)

    assert str(caught.value.reason).startswith(f"Python 2 source: pkg/a.py, line {line}: ")


@pytest.mark.parametrize(("source", "message"), NOT_PYTHON)
def test_a_source_that_does_not_compile_fails_with_file_line_and_reason(
    measure: Measure, source: bytes, message: str
) -> None:
    with pytest.raises(SyntaxError) as caught:
        measure(source)

    assert str(caught.value).startswith(message)


def test_null_bytes_are_an_error(measure: Measure) -> None:
    with pytest.raises((SyntaxError, ValueError), match=r"^pkg/a\.py.*: source code .*cannot contain null bytes"):
        measure(b"x = 1\0\n")


@pytest.mark.parametrize("source", TOO_DEEP)
def test_a_source_that_is_too_deep_for_the_parser_fails_with_a_reason(measure: Measure, source: bytes) -> None:
    failures: list[BaseException] = []

    def body() -> None:
        try:
            measure(source)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            failures.append(error)

    # A thread has a smaller stack than the main one, and is where analyses run.
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()

    assert len(failures) == 1
    assert isinstance(failures[0], RecursionError | MemoryError | SyntaxError)
    assert str(failures[0]).startswith("pkg/a.py")
    assert len(str(failures[0])) > len("pkg/a.py: ")


def test_a_missing_file_fails_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.py"):
        sources.measure(str(tmp_path), "gone.py")


def test_files_are_copied_with_their_directories(tmp_path: Path) -> None:
    make(tmp_path / "from", "a.py", "pkg/b.py", "pkg/c.py")

    sources.copy(tmp_path / "from", tmp_path / "to", ["a.py", "pkg/c.py"])

    assert sources.find(tmp_path / "to") == ["a.py", "pkg/c.py"]
