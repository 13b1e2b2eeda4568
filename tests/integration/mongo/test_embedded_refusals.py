from __future__ import annotations

import os
import signal
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from jobqueue.domain.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    MongodNotFoundError,
    UnsuitableDatabaseError,
)
from jobqueue.store.embedded import guard, start
from jobqueue.store.embedded.guard import DataLayout, FileLock, RunningMongod
from jobqueue.store.embedded.lifecycle import EmbeddedMongo
from jobqueue.store.embedded.mongod_binary import find_mongod
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[DataLayout]:
    layout = DataLayout(tmp_path.resolve() / "data")
    yield layout
    if layout.root.exists() and (server := guard.running(layout)):
        os.kill(server.pid, signal.SIGKILL)


def has_guard(layout: DataLayout) -> bool:
    with FileLock(layout.guard) as lock:
        return not lock.exclusive()


def test_a_directory_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError) as caught:
        EmbeddedMongo.acquire(tmp_path / "file" / "data")
    assert f"the data directory {tmp_path}/file/data cannot be used" in str(caught.value)
    assert "JOBQUEUE_DATA_DIR" in str(caught.value)


def test_a_missing_mongod_is_an_error_that_leaves_nothing_behind(layout: DataLayout) -> None:
    with pytest.raises(MongodNotFoundError, match="JOBQUEUE_MONGOD"):
        EmbeddedMongo.acquire(layout.root, mongod=layout.root / "no-mongod")
    assert not has_guard(layout)
    with FileLock(layout.users) as users:
        assert users.exclusive()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('echo "$0: error while loading shared libraries: libcurl.so.4: no" >&2; exit 127', "apt-get install libcurl4"),
        ("echo some reason >&2; exit 14", "some reason"),
    ],
)
def test_a_mongod_that_ends_at_once_says_why(layout: DataLayout, tmp_path: Path, script: str, says: str) -> None:
    mongod = tmp_path / "mongod"
    mongod.write_text(f"#!/bin/sh\n{script}\n")
    mongod.chmod(0o755)
    with pytest.raises(DatabaseError, match=says):
        EmbeddedMongo.acquire(layout.root, mongod=mongod)
    assert guard.wait_until(lambda: not has_guard(layout), 40.0)


def test_a_mongod_that_cannot_be_executed_is_named(layout: DataLayout, tmp_path: Path) -> None:
    mongod = tmp_path / "mongod"
    mongod.write_bytes(b"\x7fELF of another machine")
    mongod.chmod(0o755)
    with pytest.raises(MongodNotFoundError, match=f"{mongod}: Exec format error"):
        EmbeddedMongo.acquire(layout.root, mongod=mongod)


def test_a_mongod_that_never_listens_is_ended_with_a_message(layout: DataLayout, tmp_path: Path) -> None:
    mongod = tmp_path / "mongod"
    mongod.write_text("#!/bin/sh\nwhile :; do sleep 0.1; done\n")
    mongod.chmod(0o755)
    with pytest.raises(DatabaseUnavailableError, match="does not listen"):
        EmbeddedMongo.acquire(layout.root, mongod=mongod, start_timeout=0.2)
    assert guard.running(layout) is None


def test_a_directory_in_use_by_somebody_elses_mongod_is_refused(layout: DataLayout) -> None:
    layout.db.mkdir(parents=True)
    port = free_port()
    command = [str(find_mongod()), "--dbpath", str(layout.db), "--port", str(port), "--bind_ip", "127.0.0.1"]
    with subprocess.Popen([*command, "--nounixsocket"], stdout=subprocess.DEVNULL) as foreign:
        try:
            with MongoClient[dict[str, Any]]("127.0.0.1", port, serverSelectionTimeoutMS=30_000) as driver:
                driver.admin.command("ping")
            with pytest.raises(DatabaseUnavailableError, match="a mongod that jobqueue did not start"):
                EmbeddedMongo.acquire(layout.root)
            assert foreign.poll() is None
        finally:
            foreign.kill()


def test_a_control_lock_that_is_never_let_go_is_an_error(layout: DataLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "TERM_LIMIT", 0.0)
    layout.db.mkdir(parents=True)
    with FileLock(layout.control) as control:
        assert control.exclusive()
        with pytest.raises(DatabaseUnavailableError, match=r"holds .*control\.lock"):
            EmbeddedMongo.acquire(layout.root, start_timeout=0.05)


def test_a_platform_without_file_locks_is_refused(layout: DataLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SUPPORTED", False)
    with pytest.raises(DatabaseError, match="set JOBQUEUE_MONGO_URL"):
        EmbeddedMongo.acquire(layout.root)


def test_a_mongod_that_is_too_old_is_refused_and_named() -> None:
    status = {"pid": 7, "version": "5.0.9", "process": "/usr/bin/mongod"}
    client: Any = SimpleNamespace(admin=SimpleNamespace(command=lambda _command: status))
    with pytest.raises(UnsuitableDatabaseError, match=r"/usr/bin/mongod is of version 5\.0\.9.*JOBQUEUE_MONGOD"):
        start._is_writable(client, RunningMongod(7, 1))
