"""Type checkers accept the examples of the documentation, and find mistakes in calls."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Final

import pytest

from jobqueue import JobOptions, NewJob
from tests.support.docs.console import edited, file_name
from tests.support.docs.readme import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = "from jobqueue import JobQueue\n\nqueue = JobQueue()\n\n"


def _is_without_await(node: ast.stmt) -> bool:
    return not any(isinstance(part, ast.Await) for part in ast.walk(node))


def _as_module(code: str) -> str:
    """Put the statements of an example that await, and those after them, into functions, as type checkers ask for."""
    lines = code.splitlines()
    tree = ast.parse(f"async def _() -> None:\n{textwrap.indent(code, '    ')}").body[0]
    assert isinstance(tree, ast.AsyncFunctionDef)
    definitions = (ast.AsyncFunctionDef, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    groups = [[*nodes] for _, nodes in itertools.groupby(tree.body, key=lambda node: isinstance(node, definitions))]
    for group in reversed(groups):
        awaiting = [] if isinstance(group[0], definitions) else [*itertools.dropwhile(_is_without_await, group)]
        if awaiting:
            start, end = awaiting[0].lineno - 2, (awaiting[-1].end_lineno or awaiting[-1].lineno) - 1
            inside = textwrap.indent("\n".join(lines[start:end]), "    ").splitlines()
            lines[start:end] = [f"async def main_{start}() -> None:", *inside]
    return "\n".join(lines) + "\n"


def _mypy(directory: Path, *modules: str) -> str:
    """Return what mypy says of modules of users, checked as strictly as it can; tests of one run share its cache."""
    for number, module in enumerate(modules):
        # A first line such as "# pipeline.py" is the name under which other examples import one.
        named = re.match(r"# (\w+\.py)\n", module)
        (directory / (named[1] if named else f"example_{number}.py")).write_text(module, encoding="utf-8")
    (directory / "mypy.ini").write_text("[mypy]\nstrict = True\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--follow-imports=silent"]
    cache = f"--cache-dir={directory.parent / 'mypy'}"
    done = subprocess.run(
        [*command, cache, "."],
        cwd=directory,
        env={"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    return done.stdout + done.stderr


def whole(examples: list[str]) -> list[str]:
    """Return examples after the changes that later ones make to their files."""
    files: dict[str, str] = {}
    for number, code in enumerate(examples):
        name = file_name(code) or str(number)
        files[name] = edited(files.get(name, ""), code)
    return list(files.values())


@pytest.mark.timeout(600)
def test_the_examples_satisfy_mypy_and_mistakes_do_not(tmp_path: Path) -> None:
    examples = blocks("python")
    assert len(examples) >= 3
    good, bad = tmp_path.with_name("good"), tmp_path.with_name("bad")
    good.mkdir()
    bad.mkdir()
    for path in (ROOT / "examples").rglob("*.py"):
        # The frameworks of these are not installed.
        if not path.name.endswith("_app.py"):
            shutil.copy(path, good)
    modules = [code if "JobQueue()" in code or code.startswith("# ") else _HEAD + code for code in whole(examples)]
    said = _mypy(good, *map(_as_module, modules))
    assert said.startswith("Success: "), said
    mistakes = 'await queue.add("a", {}, prioritty=5)\nawait queue.add("a", attempts="five")\n'
    said = _mypy(bad, _as_module(_HEAD + mistakes))
    assert 'Unexpected keyword argument "prioritty"' in said
    assert 'Argument "attempts" to "add" of "JobQueue" has incompatible type "str"' in said


_TASKS: Final = """\
from dataclasses import dataclass

from jobqueue import ActiveJob, AsyncClient, BlockingJob, Client, JobQueue, SyncJobQueue

queue = JobQueue()
client, far, plain = Client("http://localhost"), AsyncClient("http://localhost"), SyncJobQueue()


@dataclass
class Size:
    width: int


@queue.task(queue="media", attempts=5)
async def shrink(job: ActiveJob, src: str, width: int = 320) -> Size:
    return Size(width)


@queue.task("plain")
def in_thread(job: BlockingJob, src: str, *, deep: bool = False) -> list[Size]:
    return []


@queue.task()
def alone(n: int) -> None: ...


async def main() -> None:
"""
_RIGHT: Final = {
    "reveal_type(await shrink.add('a.png', width=64))": "Ref[example_0.Size]",
    "reveal_type(await (await shrink.add(src='a.png')).result(timeout=30))": "example_0.Size",
    "reveal_type(await shrink.options(priority=3).run('a.png'))": "example_0.Size",
    "reveal_type(await in_thread.add_all([in_thread.new('a.png', deep=True)]))": "list[.*Ref[list[example_0.Size]]]",
    "reveal_type(shrink.decode(None))": "example_0.Size",
    "reveal_type(shrink.using(client).add('a.png', width=64).result())": "example_0.Size",
    "reveal_type(await shrink.using(far).add('a.png'))": "Ref[example_0.Size]",
    "reveal_type(client.add('a', {}, priority=3))": "Job",
    "reveal_type(client.jobs(queue='a', state='failed'))": "Iterator[.*Job]",
    "reveal_type(client.wait_operation('a', timeout=3).done)": "int",
    "reveal_type(alone)": "Task[[n: int], None]",
    "reveal_type(shrink.using(plain).add('a.png').result())": "example_0.Size",
    "reveal_type(queue.cron('@daily', data={'n': 1}, priority=3)(alone))": "Task[[n: int], None]",
}
_WRONG: Final = {
    "await shrink.add('a.png', widht=64)": '"widht" for "add" of "Task"; did you mean "width"?',
    "await shrink.add()": 'Missing positional argument "src" in call to "add" of "Task"',
    "await shrink.add(3)": 'Argument 1 to "add" of "Task" has incompatible type "int"; expected "str"',
    "shrink.new('a.png', 'b.png')": 'Argument 2 to "new" of "Task" has incompatible type "str"; expected "int"',
    "await in_thread.run('a.png', True)": 'Too many positional arguments for "run" of "Task"',
    "await shrink.options(metta={}).add('a.png')": '"metta" for "options" of "Task"; did you mean "meta"?',
    "shrink.options(priority='high')": 'to "options" of "Task" has incompatible type "str"; expected "int | None"',
    "(await (await shrink.add('a.png')).result()).height": '"Size" has no attribute "height"',
    "await shrink.add_all([in_thread.new('a.png')])": '"TaskJob[list[Size]]"; expected "TaskJob[Size]"',
    "await shrink('a.png')": '"Task[[str, int], Size]" not callable',
    "client.add('a', prioritty=5)": 'Unexpected keyword argument "prioritty"',
    "client.jobs(quue='a')": 'Unexpected keyword argument "quue"',
    "shrink.using(client).add(3)": 'Argument 1 to "add" of "BlockingTask" has incompatible type "int"; expected "str"',
    "shrink.using(3)": 'No overload variant of "using" of "Task" matches argument type "int"',
    "queue.cron('@daily', missed='some')": 'Argument "missed" to "cron" of "HandlerRegistry" has incompatible type',
    "queue.cron('@daily', prioritty=3)": '"prioritty" for "cron" of "HandlerRegistry"; did you mean "priority"?',
    "queue.task(prioritty=3)": '"prioritty" for "task" of "HandlerRegistry"; did you mean "priority"?',
}
"""Calls, each with a part of what mypy says of them."""


@pytest.mark.timeout(600)
def test_calls_of_tasks_are_checked(tmp_path: Path) -> None:
    expected = _RIGHT | _WRONG
    said = _mypy(tmp_path, _TASKS + "".join(f"    {call}\n" for call in expected))
    told = dict(re.findall(r"^example_0\.py:(\d+): (?:note: Revealed type is|error:) (.*)$", said, re.MULTILINE))
    first = _TASKS.count("\n") + 1
    assert sorted(map(int, told)) == [*range(first, first + len(expected))], said
    for place, (call, text) in enumerate(expected.items()):
        assert all(part in told[str(first + place)] for part in text.split(".*")), (call, told[str(first + place)])


_PYRIGHT: Final = (
    'No parameter named "widht"',
    'Argument missing for parameter "src"',
    '"Literal[3]" cannot be assigned to parameter "src" of type "str" in function "add"',
    '"Literal[\'b.png\']" cannot be assigned to parameter "width" of type "int" in function "new"',
    "Expected 1 positional argument",
    'No parameter named "metta"',
    '"Literal[\'high\']" cannot be assigned to parameter "priority" of type "int | None" in function "options"',
    'Cannot access attribute "height" for class "Size"',
    '"list[TaskJob[list[Size]]]" cannot be assigned to parameter "jobs" of type "Iterable[TaskJob[Size]]"',
    'Object of type "Task[(src: str, width: int = 320), Size]" is not callable',
    'No parameter named "prioritty"',
    'No parameter named "quue"',
    '"Literal[3]" cannot be assigned to parameter "src" of type "str" in function "add"',
    '"Literal[3]" cannot be assigned to parameter "queue" of type "BlockingProducer"',
    '"Literal[\'some\']" cannot be assigned to parameter "missed" of type "Missed" in function "cron"',
    'No parameter named "prioritty"',
    'No parameter named "prioritty"',
)
"""A part of what basedpyright says of each wrong call, in their order."""


def test_calls_of_tasks_are_checked_by_basedpyright(tmp_path: Path) -> None:
    expected = [*(text.replace("example_0.", "") for text in _RIGHT.values()), *_PYRIGHT]
    (tmp_path / "example_0.py").write_text(_TASKS + "".join(f"    {call}\n" for call in _RIGHT | _WRONG))
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "example_0.py"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=500)
    told: dict[int, list[tuple[str, str]]] = {}
    for entry in json.loads(done.stdout)["generalDiagnostics"]:
        told.setdefault(entry["range"]["start"]["line"] - _TASKS.count("\n"), []).append(
            (entry["severity"], entry["message"])
        )
    assert sorted(told) == [*range(len(expected))], done.stdout
    for place, text in enumerate(expected):
        severity = "information" if place < len(_RIGHT) else "error"
        parts = re.sub(r"\[\[(.*?)\]", r"[(\1)", text).split(".*")
        assert any(kind == severity and all(part in said for part in parts) for kind, said in told[place]), told[place]
        assert severity == "error" or len(told[place]) == 1, told[place]


def test_the_pipeline_of_the_documentation_is_short() -> None:
    pipeline = next(code for code in blocks("python") if "async def publish" in code)
    assert pipeline.count("@queue.task(") == 4
    assert len(pipeline.splitlines()) <= 60


def test_options_are_the_fields_of_a_new_job() -> None:
    fields = {field.name for field in dataclasses.fields(NewJob)}
    assert JobOptions.__optional_keys__ == fields - {"type", "data"}
