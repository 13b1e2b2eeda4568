"""Clients that are generated from the document do the work of the README's worker, and linters find nothing in it.

For TypeScript and the linters npm installs packages:
``scripts/test -m full tests/acceptance/test_generated_client.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.cli.cli_process import Cli
from tests.support.fuzz.schema_fuzz import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "a-token-that-may-do-everything"  # noqa: S105 - a test's own
SUPPORT = ROOT / "tests" / "support" / "http"
LONG = 600


def run(directory: Path, *words: str) -> str:
    """Return the output of a program, which succeeds."""
    environ = os.environ | {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def url(tmp_path: Path, mongo_url: str, db_name: str) -> Iterator[str]:
    """Give the address of a server whose document is beside."""
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name, "JOBQUEUE_ADMIN_TOKEN": TOKEN}
    with Cli(tmp_path, settings).start("serve", "--port", "0") as service:
        address = service.ready().removeprefix("listening on ")
        with urllib.request.urlopen(f"{address}/openapi.json") as answer:  # noqa: S310 - the test's own server
            (tmp_path / "openapi.json").write_bytes(answer.read())
        yield address


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Give the paths of a file and of nothing."""
    (tmp_path / "good file.txt").write_bytes(b"important")
    return [str(tmp_path / "good file.txt"), str(tmp_path / "absent")]


def check(said: str) -> None:
    """Check the report of a worker that has run a job for a file and one for nothing."""
    done = json.loads(said)
    assert done["success"] == [hashlib.sha256(b"important").hexdigest()]
    assert len(done["failed"]) == 1
    assert "no such file or directory" in done["failed"][0].lower()
    assert done["other"] == 0
    assert done["problem"] == {"type": ["must be 1 to 200 printable characters"]}


def test_a_generated_client_for_python_is_a_worker(tmp_path: Path, url: str, files: list[str]) -> None:
    # Its own formatter is not needed, and may not be on the PATH.
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    options = ["--path", "openapi.json", "--output-path", "generated", "--meta", "none", "--config", "config.yaml"]
    assert "Warning" not in run(tmp_path, sys.executable, "-m", "openapi_python_client", "generate", *options)
    check(run(tmp_path, sys.executable, str(SUPPORT / "generated_client.py"), str(tmp_path), url, TOKEN, *files))


@pytest.fixture(scope="session")
def npm_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the generator, the linters and the worker in TypeScript."""
    folder = tmp_path_factory.mktemp("npm") / "typescript"
    shutil.copytree(SUPPORT / "typescript", folder)
    run(folder, "npm", "install", "--no-fund", "--no-audit", "--ignore-scripts")
    return folder


@pytest.mark.full
@pytest.mark.timeout(LONG)
def test_a_generated_client_for_typescript_is_a_worker(url: str, npm_packages: Path, files: list[str]) -> None:
    run(npm_packages, "npx", "openapi-typescript", f"{url}/openapi.json", "--output", "api.d.ts")
    run(npm_packages, "npx", "tsc")
    check(run(npm_packages, "node", "out/worker.js", url, TOKEN, *files))


@pytest.mark.full
@pytest.mark.timeout(LONG)
@pytest.mark.usefixtures("url")
def test_linters_find_nothing_in_the_document(tmp_path: Path, npm_packages: Path) -> None:
    shutil.copy(tmp_path / "openapi.json", npm_packages)
    run(npm_packages, "npx", "spectral", "lint", "openapi.json", "--fail-severity", "hint")
    run(npm_packages, "npx", "redocly", "lint", "openapi.json", "--max-problems", "1000")
