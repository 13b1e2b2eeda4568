"""Type checkers accept the examples of the documentation, and find mistakes in calls."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from jobqueue import JobOptions, NewJob
from tests.support.docs.readme import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = "from jobqueue import JobQueue\n\nqueue = JobQueue()\n\n"


def _as_module(code: str) -> str:
    """Put the statements of an example that await into a function; type checkers accept no other ``await``."""
    lines = code.splitlines()
    tree = ast.parse(f"async def _() -> None:\n{textwrap.indent(code, '    ')}").body[0]
    assert isinstance(tree, ast.AsyncFunctionDef)
    for node in reversed(tree.body):
        if not isinstance(node, ast.AsyncFunctionDef) and any(isinstance(part, ast.Await) for part in ast.walk(node)):
            start, end = node.lineno - 2, (node.end_lineno or node.lineno) - 1
            inside = textwrap.indent("\n".join(lines[start:end]), "    ").splitlines()
            lines[start:end] = [f"async def main_{start}() -> None:", *inside]
    return "\n".join(lines) + "\n"


def _mypy(directory: Path, *modules: str) -> str:
    """Return what mypy says of modules of users, checked as strictly as it can."""
    for number, module in enumerate(modules):
        (directory / f"example_{number}.py").write_text(module, encoding="utf-8")
    (directory / "mypy.ini").write_text("[mypy]\nstrict = True\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--follow-imports=silent", "."]
    done = subprocess.run(
        command, cwd=directory, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=500
    )
    return done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_the_examples_satisfy_mypy_and_mistakes_do_not(tmp_path: Path) -> None:
    examples = blocks("python")
    assert len(examples) >= 3
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    modules = [code if "JobQueue()" in code else _HEAD + code for code in examples]
    said = _mypy(good, *map(_as_module, modules))
    assert said.startswith("Success: "), said
    mistakes = 'await queue.add("a", {}, prioritty=5)\nawait queue.add("a", attempts="five")\n'
    said = _mypy(bad, _as_module(_HEAD + mistakes))
    assert 'Unexpected keyword argument "prioritty"' in said
    assert 'Argument "attempts" to "add" of "JobQueue" has incompatible type "str"' in said


def test_options_are_the_fields_of_a_new_job() -> None:
    fields = {field.name for field in dataclasses.fields(NewJob)}
    assert JobOptions.__optional_keys__ == fields - {"type", "data"}
