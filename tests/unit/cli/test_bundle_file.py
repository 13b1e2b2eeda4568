"""The file of `jobqueue bundle`: only its owner reads it."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.jobs import bundle
from jobqueue.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

MADE: dict[str, Any] = {"job": "ü" * 3, "redacted": [], "unused": [], "cut": []}
ID = "6b06105097b133d05ea55fc5"


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle, "with_api", lambda *_: MADE)
    monkeypatch.chdir(tmp_path)


def test_a_file_that_was_there_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("x" * 1000)
    path.chmod(0o644)
    (tmp_path / "link.json").symlink_to(path)
    assert main(["bundle", ID, "-o", "link.json"]) == 0
    assert json.loads(path.read_text()) == MADE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_stdout_is_a_hyphen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", ID, "-o", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == MADE
    assert list(tmp_path.iterdir()) == []


def test_devices_are_written_and_missing_folders_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", ID, "-o", os.devnull]) == 0
    capsys.readouterr()
    assert main(["bundle", ID, "-o", "none/a.json"]) == 1
    assert "none/a.json cannot be written: No such file or directory" in capsys.readouterr().err
