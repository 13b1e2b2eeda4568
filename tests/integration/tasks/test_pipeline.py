"""The pipeline of the documentation runs as it is written there."""

from __future__ import annotations

import ast
import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tests.support.docs.readme import blocks

if TYPE_CHECKING:
    import pytest


async def execute(code: str, names: dict[str, Any]) -> None:
    compiled = compile(code, "docs/tasks.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    body = eval(compiled, names)  # noqa: S307 - the code of the documentation
    if inspect.isawaitable(body):
        await body


async def test_the_pipeline_of_the_documentation_runs(
    mongo_url: str, db_name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOBQUEUE_MONGO_URL", mongo_url)
    monkeypatch.setenv("JOBQUEUE_DB", db_name)
    code = next(code for code in blocks("python") if "async def publish" in code)
    definitions, calls, added = code.partition("flow = chain(")
    module = ModuleType("pipeline")
    monkeypatch.setitem(sys.modules, "pipeline", module)
    names = vars(module)
    await execute(definitions, names)
    async with names["queue"] as queue, queue.working():
        await execute(calls + added, names)
    assert capsys.readouterr().out == "Summer: 3 of 3 pictures, 960 wide to ann@example.com\n"
