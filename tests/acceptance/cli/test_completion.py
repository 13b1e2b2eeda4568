"""Completion in shells."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.acceptance.cli.cli_process import Cli

if TYPE_CHECKING:
    from pathlib import Path


def completed(cli: Cli, *words: str, word: str = "") -> list[str]:
    """Return what bash is offered for a word after other words."""
    line = " ".join(("jobqueue", *words, word))
    variables = {"_JOBQUEUE_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) + 1)}
    ran = Cli(cli.cwd, {**cli.settings, **variables}).run()
    assert ran.err == ""
    return [text for _, _, text in (line.partition(",") for line in ran.out.splitlines()) if text]


def test_commands_options_and_queues_are_completed(tmp_path: Path, mongo_url: str, db_name: str) -> None:
    cli = Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})
    script = cli.run("completion", "bash")
    assert script.code == 0, script.err
    bash = shutil.which("bash")
    assert bash is not None
    subprocess.run([bash, "-n"], input=script.out, text=True, check=True)
    assert completed(cli, word="sche") == ["schedule"]
    assert completed(cli, "list", word="--wait") == ["--waiting"]
    assert cli.run("queue", "set", "media", "concurrency=5").code == 0
    assert completed(cli, "list", "--queue", word="me") == ["media"]
    assert completed(cli, "queue", "show", word="x") == []
    every = '{"every": 60, "job": {"type": "poll"}}'
    assert cli.run("schedule", "set", "nightly", every).code == 0
    assert completed(cli, "schedule", "show", word="ni") == ["nightly"]
    assert completed(cli, "list", "--schedule") == ["nightly"]
    assert completed(cli, "list", "--state", word="p") == ["pending", "processing"]
    assert completed(cli, "list", "--columns", word="id,ty") == ["id,type"]
    assert completed(cli, "failures", "show") == []
    assert completed(Cli(tmp_path, {"JOBQUEUE_MONGO_URL": "mongodb://127.0.0.1:1"}), "list", "--queue") == []
    assert cli.run("completion", "tcsh").code == 2
