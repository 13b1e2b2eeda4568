"""The recipes, done from their text alone: their Python in one run of pytest, their commands at one server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.docs.console import file_name
from tests.support.docs.readme import ROOT, blocks_of

_RECIPES: Final = sorted((ROOT / "docs" / "recipes").glob("*.md"))
_SETTINGS: Final = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
pythonpath = .
addopts = -q -p no:cacheprovider -p no:timeout -p no:xdist -p no:schemathesis -p no:hypothesispytest
filterwarnings = error
"""


def test_each_recipe_has_a_problem_code_a_look_and_pitfalls() -> None:
    for page in _RECIPES:
        text = page.read_text(encoding="utf-8")
        assert "**Look at** " in text, page.name
        assert "**What can go wrong**\n\n* " in text, page.name
        assert 30 <= len(text.splitlines()) <= 200, page.name
    assert len(_RECIPES) >= 15


@pytest.mark.timeout(300)
def test_the_python_recipes_pass_the_tests_that_they_show(tmp_path: Path, mongo_url: str) -> None:
    tested = set()
    for page in _RECIPES:
        for block in blocks_of(page, "python"):
            name = file_name(block)
            assert name is not None, f"{page.name}: {block[:40]}"
            (tmp_path / name).write_text(block)
            tested |= {page.stem} if name.startswith("test_") else set()
    (tmp_path / "pytest.ini").write_text(_SETTINGS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JOBQUEUE_", "PYTEST_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest"],
        cwd=tmp_path,
        env=environment | {"JOBQUEUE_TEST_MONGODB_URI": mongo_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert len(tested) >= 12
