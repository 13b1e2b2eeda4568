"""The package as an index would have it: built, and installed into an empty environment away from the source.

Its dependencies come from the environment of the tests, so nothing is downloaded.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import aiohttp
import pytest

from tests.support.docs.readme import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
_SOURCES: Final = ("pyproject.toml", "README.md", ".gitignore")
_PAGES: Final = {
    "index.html": "<!doctype html><title>The manual of jobqueue</title>",
    "problems/stale-token.html": "<!doctype html><title>Stale token</title>",
    "_static/furo.css": "body { color: black }",
}
_LINKED: Final = re.compile(r'(?:href|src)="(/static/[^"]+|[\w./-]+\.(?:css|js))"')
_LIMIT: Final = 100


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with the built package in it."""

    wheel: Path
    folder: Path
    home: Path

    @property
    def packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def environ(self, **settings: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JOBQUEUE_", "PYTHON"))}
        return {**kept, **settings}

    def run(self, *words: str, **settings: str) -> str:
        command = [str(self.folder / "bin" / words[0]), *words[1:]]
        done = subprocess.run(
            command,
            check=False,
            cwd=self.home,
            env=self.environ(**settings),
            capture_output=True,
            text=True,
            timeout=_LIMIT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def _build(kind: str, source: Path, to: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(to)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=_LIMIT)
    (made,) = to.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source in which a manual was built."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "jobqueue", folder / "jobqueue", ignore=shutil.ignore_patterns("__pycache__", "manual"))
    for name in _SOURCES:
        shutil.copy(ROOT / name, folder)
    for name, text in _PAGES.items():
        page = folder / "jobqueue" / "manual" / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)
    return folder


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel is built from the source distribution, as `python -m build` does."""
    work = tmp_path_factory.mktemp("wheel")
    with tarfile.open(_build("sdist", source, work / "dist")) as packed:
        packed.extractall(work, filter="data")
    wheel = _build("wheel", work / f"jobqueue-{_VERSION}", work / "dist")
    folder = work / "environment"
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, timeout=_LIMIT)
    made = Installed(wheel, folder, tmp_path_factory.mktemp("elsewhere"))
    # A path in such a file adds the dependencies, but not what an editable installation of this source adds.
    (made.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return made


@pytest.fixture
async def server(installed: Installed, mongo_url: str, db_name: str) -> AsyncIterator[str]:
    """The URL of a server of the installed program."""
    process = await asyncio.create_subprocess_exec(
        str(installed.folder / "bin" / "jobqueue"),
        *("serve", "--port", "0", "--log-level", "error"),
        cwd=installed.home,
        env=installed.environ(JOBQUEUE_MONGO_URL=mongo_url, JOBQUEUE_DB=db_name),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_LIMIT):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on http://")
        yield line.split()[-1]
    finally:
        process.terminate()
        await process.wait()


def test_the_wheel_has_every_file_of_the_package(source: Path, installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as packed:
        names = {name for name in packed.namelist() if not name.startswith(f"jobqueue-{_VERSION}.dist-info/")}
    expected = {path.relative_to(source).as_posix() for path in (source / "jobqueue").rglob("*") if path.is_file()}
    assert names == expected
    assert {f"jobqueue/manual/{page}" for page in _PAGES} <= names
    assert {f"jobqueue/dashboard/static/vendor/{name}.LICENSE" for name in ("htmx", "idiomorph")} <= names
    assert "jobqueue/api/static/swagger-ui/LICENSE" in names


def test_commands_run_from_the_installation(installed: Installed, mongo_url: str, db_name: str, tmp_path: Path) -> None:
    where = "import jobqueue, jobqueue.testing.plugin; print(jobqueue.__file__)"
    assert installed.run("python", "-c", where).startswith(str(installed.packages))
    assert installed.run("jobqueue", "--version") == f"jobqueue {_VERSION}\n"
    (tmp_path / "good.py").write_text("import os\n")
    (tmp_path / "bad.py").write_text("def f(:\n")
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name, "JOBQUEUE_LOG_LEVEL": "error"}
    report = json.loads(installed.run("jobqueue", "demo", "--no-serve", "--path", str(tmp_path), "--json", **settings))
    assert [report["totals"][name] for name in ("files", "analysed", "failed")] == [2, 1, 1]
    assert report["pipeline"]["state"] == "success"


async def test_a_server_shows_its_pages_and_what_they_load(installed: Installed, server: str) -> None:
    async with aiohttp.ClientSession(server, headers={"Accept": "text/html"}) as session:

        async def get(path: str, kind: str = "text/html") -> str:
            async with session.get(path) as reply:
                assert (reply.status, reply.content_type) == (200, kind), path
                return await reply.text()

        loaded: set[str] = set()
        for page in ("/docs", "/", "/jobs", "/queues", "/failures", "/workers"):
            loaded |= {urljoin(page, name) for name in _LINKED.findall(await get(page))}
        assert {path.partition("?")[0].rpartition("/")[2] for path in loaded} >= {
            *("style.css", "live.js", "htmx.js", "idiomorph.js", "swagger-ui.css", "swagger-ui-bundle.js")
        }
        kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        for path in loaded:
            assert await get(path, kinds[path.partition("?")[0].rpartition(".")[2]])
        document: dict[str, Any] = json.loads(await get("/openapi.json", "application/json"))
        assert document["info"]["version"] == _VERSION
        assert json.loads(await get("/v1/jobs", "application/json"))["items"] == []
        assert await get("/manual") == _PAGES["index.html"]
        assert await get("/problems/stale-token") == _PAGES["problems/stale-token.html"]
        shutil.rmtree(installed.packages / "jobqueue" / "manual")
        async with session.get("/manual") as reply:
            assert (reply.status, len((text := await reply.text()).splitlines())) == (404, 1)
            assert "scripts/docs builds it" in text
