"""The catalogue of faults names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| (\d+) \|.*\| `([^`]+)::(\w+)` \|")


def test_every_case_has_a_test_that_exists() -> None:
    rows = ROW.findall((Path(__file__).parent / "README.md").read_text())
    assert {int(number) for number, _, _ in rows} == {*range(1, 45), 51, 52, 53}
    for _, file, name in rows:
        tree = ast.parse((ROOT / file).read_text())
        functions = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, (file, name)
