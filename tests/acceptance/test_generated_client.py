"""A client that is generated from the document works with the server."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

from tests.acceptance.cli.cli_process import Cli
from tests.support.schema_fuzz import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "a-token-that-may-do-everything"  # noqa: S105 - a test's own


def run(directory: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_generated_client_adds_claims_and_ends_a_job(tmp_path: Path, mongo_url: str, db_name: str) -> None:
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name, "JOBQUEUE_ADMIN_TOKEN": TOKEN}
    with Cli(tmp_path, settings).start("serve", "--port", "0") as service:
        url = service.ready().removeprefix("listening on ")
        with urllib.request.urlopen(f"{url}/openapi.json") as answer:  # noqa: S310 - the test's own server
            (tmp_path / "openapi.json").write_bytes(answer.read())
        # Its own formatter is not needed, and may not be on the PATH.
        (tmp_path / "config.yaml").write_text("post_hooks: []\n")
        options = ["--path", "openapi.json", "--output-path", "generated", "--meta", "none", "--config", "config.yaml"]
        said = run(tmp_path, "-m", "openapi_python_client", "generate", *options)
        assert "Warning" not in said
        program = str(ROOT / "tests" / "support" / "http" / "generated_client.py")
        done = json.loads(run(tmp_path, program, str(tmp_path), url, TOKEN))
    assert done == {
        "ended": "success",
        "result": {"n": 2},
        "listed": True,
        "problem": {"type": ["must be 1 to 200 printable characters"]},
    }
