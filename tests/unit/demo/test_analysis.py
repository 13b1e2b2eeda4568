from __future__ import annotations

import gc
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from jobqueue.demo import analysis
from jobqueue.demo.analysis import EncodingError, analyse, decode
from jobqueue.domain.errors import Die

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    Analyse = Callable[[bytes], dict[str, Any]]

GOOD = b'''"""A module."""
from __future__ import annotations

import os.path, sys
from collections import Counter
from . import sibling


class Shop:
    def price(self, item, count):
        if item is None or count < 1:
            return 0
        elif item == "apple" and count > 10 and self:
            return 1
        else:
            for each in range(count):
                if each:
                    pass
        return [one for one in range(count) if one]

    async def close(self):
        def inner():
            return 1 if self else 2
        return inner()


def short(): return lambda: None
'''

PYTHON2 = [
    pytest.param(b"x = 1\nprint 'hello'\n", "print statement", 2, id="print"),
    pytest.param(b"def f():\n    print x, y\n", "print statement", 2, id="print-inside"),
    pytest.param(b"exec 'x = 1' in {}\n", "exec statement", 1, id="exec"),
    pytest.param(b"try:\n    pass\nexcept ValueError, error:\n    pass\n", "except X, name", 3, id="except"),
    pytest.param(b"\n\ntext = `1`\n", "backticks", 3, id="backticks"),
    pytest.param(b"if 1 <> 2:\n    pass\n", "operator <>", 1, id="unequal"),
    pytest.param(b"raise ValueError, 'no'\n", "raise X, value", 1, id="raise"),
    pytest.param(b"print 'crlf'\r\n", "print statement", 1, id="crlf"),
]

NOT_PYTHON = [
    pytest.param(b"def f(:\n", "pkg/a.py, line 1: invalid syntax", id="syntax"),
    pytest.param(b"return 1\n", "pkg/a.py, line 1: 'return' outside function", id="only-the-compiler-objects"),
    pytest.param(b"from __future__ import tea\n", "pkg/a.py, line 1: future feature tea is not defined", id="future"),
    pytest.param(b"x = 1\n  y = 2\n", "pkg/a.py, line 2: unexpected indent", id="indent"),
    pytest.param(b"x = '`' y\n", "pkg/a.py, line 1: invalid syntax", id="a-backtick-in-a-text"),
]

UNDECODABLE = [
    pytest.param(b"x = 1\ny = '\xe4'\n", "pkg/a.py, line 2: byte 0xe4 is not utf-8", id="latin-1"),
    pytest.param(b"x = 1\ny = 2\nz = '\xe4'\n", "line 3", id="late-latin-1"),
    pytest.param(b"# -*- coding: uft-8 -*-\n", "pkg/a.py: unknown encoding: uft-8", id="unknown"),
    pytest.param(b"# -*- coding: hex -*-\n", "pkg/a.py: 'hex' is not a text encoding", id="no-text"),
    pytest.param(b"\xef\xbb\xbf# -*- coding: latin-1 -*-\n", "pkg/a.py: encoding problem", id="two-encodings"),
    pytest.param("# coding: ascii\nx = 'ä'\n".encode(), "pkg/a.py, line 2: byte 0xc3 is not ascii", id="ascii"),
]


@pytest.fixture
def examine(tmp_path: Path) -> Analyse:
    (tmp_path / "pkg").mkdir()

    def examine(source: bytes) -> dict[str, Any]:
        (tmp_path / "pkg" / "a.py").write_bytes(source)
        return analyse(str(tmp_path), "pkg/a.py")

    return examine


def test_a_good_source_is_measured(examine: Analyse) -> None:
    found = examine(GOOD)

    assert found == {
        "bytes": len(GOOD),
        "lines": 27,
        "functions": 4,
        "classes": 1,
        "imports": ["__future__", "collections", "os", "pkg", "sys"],
        "longest": {"name": "Shop.price", "line": 10, "lines": 10},
        "mostComplex": {"name": "Shop.price", "line": 10, "complexity": 9},
        "depth": 5,
    }


def test_an_empty_source_has_no_functions(examine: Analyse) -> None:
    found = examine(b"")

    assert (found["lines"], found["functions"], found["longest"], found["depth"]) == (0, 0, None, 0)


def test_a_source_in_another_encoding_is_read_as_it_declares(examine: Analyse) -> None:
    found = examine("# -*- coding: latin-1 -*-\ndef größe(): pass\n".encode("latin-1"))

    assert found["longest"]["name"] == "größe"


def test_a_chain_of_elif_is_not_nested(examine: Analyse) -> None:
    chain = b"if a: pass\n" + b"elif a: pass\n" * 50
    nested = b"if a: pass\nelse:\n  if a: pass\n  else:\n    if a: pass\n"

    assert examine(chain)["depth"] == 1
    assert examine(nested)["depth"] == 3


@pytest.mark.parametrize(("source", "construct", "line"), PYTHON2)
def test_python_2_is_given_up_at_once(examine: Analyse, source: bytes, construct: str, line: int) -> None:
    with pytest.raises(Die) as caught:
        examine(source)

    assert caught.value.reason == f"Python 2 source: {construct}: pkg/a.py line {line}"


@pytest.mark.parametrize(("source", "message"), NOT_PYTHON)
def test_what_does_not_compile_fails_with_file_line_and_reason(examine: Analyse, source: bytes, message: str) -> None:
    with pytest.raises(SyntaxError) as caught:
        examine(source)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("source", "message"), UNDECODABLE)
def test_what_is_no_text_fails_with_file_and_reason(examine: Analyse, source: bytes, message: str) -> None:
    with pytest.raises(EncodingError) as caught:
        examine(source)

    assert message in str(caught.value)


def test_null_bytes_are_a_syntax_error(examine: Analyse) -> None:
    with pytest.raises(SyntaxError, match=r"^pkg/a\.py.*: source code .*cannot contain null bytes"):
        examine(b"x = 1\0\n")


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(b"x = " + b"-" * 100_000 + b"1\n", id="signs"),
        pytest.param(b"x = " + b"+".join([b"a"] * 100_000) + b"\n", id="sum"),
        pytest.param(b"x" + b"()" * 100_000 + b"\n", id="calls"),
        pytest.param(b"(" * 5_000 + b")" * 5_000 + b"\n", id="parentheses"),
        pytest.param(b"".join(b" " * level + b"if a:\n" for level in range(200)), id="indentation"),
    ],
)
def test_what_is_too_deep_for_the_parser_fails_with_a_reason(examine: Analyse, source: bytes) -> None:
    failures: list[BaseException] = []

    def body() -> None:
        try:
            examine(source)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            failures.append(error)

    # A thread has a smaller stack than the main one, and is where analyses run.
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()

    assert len(failures) == 1
    assert isinstance(failures[0], RecursionError | MemoryError | SyntaxError)
    assert str(failures[0]).startswith("pkg/a.py")
    assert "too" in str(failures[0])


def test_a_missing_file_fails_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.py"):
        analyse(str(tmp_path), "gone.py")


def test_bytes_of_another_encoding_name_the_line() -> None:
    with pytest.raises(EncodingError, match="line 2: byte 0xff"):
        decode(b"# coding: utf-8\n\xff\n", "a.py")


def test_the_warnings_of_the_compiler_are_silenced_below_the_directory_only(examine: Analyse) -> None:
    dubious = "x = '\\d'\ny = 1 is 1\n"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        examine(dubious.encode())
        examine(dubious.encode())
        silenced = len(caught)
        compile(dubious, "elsewhere.py", "exec")

    assert silenced == 0
    assert caught


def test_a_directory_is_silenced_once(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        analysis.quiet(str(tmp_path))
        before = len(warnings.filters)
        analysis.quiet(str(tmp_path))
        assert len(warnings.filters) == before


def test_threads_do_not_disturb_each_other_when_the_interpreter_switches_within_the_parser(tmp_path: Path) -> None:
    body = "".join(
        f"def f{n}(a, b):\n    return [a + b * {n} for _ in range(b)] or {{'k': (a, b)}}\n" for n in range(300)
    )
    for number in range(8):
        (tmp_path / f"m{number}.py").write_text(body)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            analyse(str(tmp_path), f"m{number}.py")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            failures.append(error)

    def switch(_phase: str, _info: object) -> None:
        time.sleep(0)

    # The garbage collector is what runs Python code, and so lets other threads run, while a tree is made.
    gc.callbacks.append(switch)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.callbacks.remove(switch)

    assert not failures
