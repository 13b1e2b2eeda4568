"""Data of a mongod of tests lie in memory, and those of killed runs do not stay there."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

from jobqueue.testing.directory import PREFIX, ROOM, data_directory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_a_directory_in_memory_is_removed_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, ROOM)
    with data_directory(tmp_path) as directory:
        assert directory.parent == tmp_path
        (directory / "data").write_text("some")
    assert not list(tmp_path.iterdir())


def test_without_room_in_memory_the_directory_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, ROOM - 1)
    with data_directory(tmp_path) as directory:
        assert directory.is_dir()
        assert directory.parent != tmp_path
    with data_directory(tmp_path / "none") as directory:
        assert directory.is_dir()


def test_what_killed_runs_left_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, ROOM)
    left, young, other = tmp_path / f"{PREFIX}left", tmp_path / f"{PREFIX}young", tmp_path / "other"
    for made in (left, young, other):
        made.mkdir()
    with data_directory(tmp_path) as living:
        for old in (left, other, living):
            os.utime(old, (0, 0))
        with data_directory(tmp_path) as next_one:
            assert set(tmp_path.iterdir()) == {young, other, living, next_one}
