"""The plugin in projects of users, as pytest finds it there."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.support.docs.readme import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

_PLUGINS: Final = ("timeout", "xdist", "hypothesispytest", "schemathesis", "_hypothesis_pytestplugin")
_TESTS: Final = """
import asyncio
import sys

import pytest

from jobqueue import JobQueue

app = JobQueue()


@app.task(attempts=2, backoff=3600)
async def double(n: int) -> int:
    return 2 * n


@pytest.mark.asyncio
async def test_strict_mode(jobqueue_test):
    jobqueue_test.use(app)
    ref = await double.add(2)
    assert len(await jobqueue_test.drain()) == 1
    assert await ref.result() == 4


class TestWithAnyio:
    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    @pytest.mark.anyio
    async def test_in_a_class(self, jobqueue_test):
        jobqueue_test.use(app)
        assert jobqueue_test.added(double) == []
        await double.add(3)
        assert [job.result for job in await jobqueue_test.drain()] == [6]


def test_a_plain_function(jobqueue_test):
    jobqueue_test.use(app)
    jobqueue_test.run(double.add(4))
    jobqueue_test.assert_added(double, n=4)
    assert [job.result for job in jobqueue_test.run(jobqueue_test.drain())] == [8]


def test_a_loop_that_is_closed_before_the_end(jobqueue_test):
    @jobqueue_test.handler("wait")
    async def wait(job):
        await job.log("waiting")

    asyncio.run(jobqueue_test.add("wait"))


@pytest.mark.asyncio
async def test_a_failure(jobqueue_test):
    @jobqueue_test.handler("bad")
    async def bad(job):
        card = {"number": 1}
        assert card["number"] == 2

    await jobqueue_test.add("bad", attempts=1)
    await jobqueue_test.drain()
"""


def run(directory: Path, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a project in a process of their own, where warnings are errors."""
    quiet = [part for name in _PLUGINS for part in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *quiet, *options, "."]
    environment = {"JOBQUEUE_TEST_MONGODB_URI": url, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def test_the_examples_of_the_documentation_pass(tmp_path: Path, mongo_url: str) -> None:
    named = {found[1]: code for code in blocks("python") if (found := re.match(r"# (\w+\.py)\n", code))}
    assert len(named["pipeline.py"].splitlines()) <= 60
    assert len(named["test_pipeline.py"].splitlines()) <= 26, "25 lines and the name of the file"
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    examples = [code for code in blocks("python") if "async def test_" in code and code in page]
    others = {f"test_example_{number}.py": code for number, code in enumerate(examples) if code not in named.values()}
    project = named | others
    for name, code in project.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    moved = {f"test_from_{other.stem}.py" for other in (ROOT / "docs" / "coming-from").glob("*.md")}
    assert moved <= set(project), "each page for those who come from elsewhere has a test"
    count = sum(
        len(re.findall(r"^(?:async )?def test_", code, re.MULTILINE))
        for name, code in project.items()
        if name.startswith("test_")
    )
    said = run(tmp_path, mongo_url, "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    assert f"\n{count} passed" in f"\n{said.stdout.splitlines()[-1]}", said.stdout + said.stderr


def test_strict_mode_anyio_classes_and_plain_functions_are_served(tmp_path: Path, mongo_url: str) -> None:
    (tmp_path / "test_all.py").write_text(_TESTS, encoding="utf-8")
    said = run(tmp_path, mongo_url, "-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function")
    assert "1 failed, 4 passed" in said.stdout, said.stdout + said.stderr
    assert "error" not in said.stdout.splitlines()[-1]
    # The reader sees the line of the handler first, and then the job.
    assert re.search(r'> +assert card\["number"\] == 2.*UnexpectedEndError: job \w+ \(bad of', said.stdout, re.DOTALL)


def test_pytest_loads_the_plugin_alone() -> None:
    code = "import sys, jobqueue.testing.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"motor", "pymongo", "aiohttp", "msgspec", "anyio", "pytest_asyncio", "jobqueue.testing.queue"}
