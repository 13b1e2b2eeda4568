from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from pymongo import MongoClient, WriteConcern

import jobqueue
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.store.embedded import guard, start
from jobqueue.store.embedded.guard import DataLayout, FileLock, RunningMongod
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 40.0
USER = """
import json, os, sys
from pathlib import Path
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

data_dir, grace = Path(sys.argv[1]), float(sys.argv[2])
mongo = None
for line in sys.stdin:
    if line == "acquire\\n":
        mongo = EmbeddedMongo.acquire(data_dir, grace=grace)
        answer = {"url": mongo.url, "pid": mongo.pid, "adopted": mongo.adopted}
    elif line == "release\\n":
        mongo.release()
        answer = {}
    elif line == "release in a child\\n":
        child = os.fork()
        if child == 0:
            mongo.release()
            os._exit(0)
        os.waitpid(child, 0)
        answer = {}
    print(json.dumps(answer), flush=True)
"""


class User:
    """Another process that uses the embedded MongoDB, on command."""

    def __init__(self, data_dir: Path, *, grace: float = 2.0) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(jobqueue.__file__).parents[1])}
        self._process = subprocess.Popen(
            [sys.executable, "-c", USER, str(data_dir), str(grace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def send(self, command: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def do(self, command: str) -> dict[str, Any]:
        self.send(command)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[DataLayout]:
    layout = DataLayout(tmp_path.resolve() / "data")
    yield layout
    if layout.root.exists() and (server := guard.running(layout)):
        os.kill(server.pid, signal.SIGKILL)
        eventually(lambda: is_gone(server.pid))


def eventually(condition: Callable[[], bool]) -> None:
    assert guard.wait_until(condition, PATIENCE)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, even if its parent has not noticed."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        return status.read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    return False


def has_guard(layout: DataLayout) -> bool:
    with FileLock(layout.guard) as lock:
        return not lock.exclusive()


def guard_pid(layout: DataLayout) -> int:
    assert has_guard(layout)
    return int(layout.guard.read_text())


@contextlib.contextmanager
def client(url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=30_000) as mongo:
        yield mongo


def write(url: str, value: str) -> None:
    with client(url) as mongo:
        values = mongo.get_database("test", write_concern=WriteConcern(w="majority", j=True)).values
        values.insert_one({"value": value})


def values(url: str) -> list[str]:
    with client(url) as mongo:
        return [document["value"] for document in mongo.test.values.find()]


def test_it_starts_a_writable_primary_and_leaves_no_process(layout: DataLayout) -> None:
    mongo = EmbeddedMongo.acquire(layout.root)
    assert not mongo.adopted
    write(mongo.url, "a")
    with client(mongo.url) as driver, driver.test.watch() as stream:
        with driver.start_session() as session, session.start_transaction():
            driver.test.values.insert_one({"value": "b"}, session=session)
        assert next(stream)["fullDocument"]["value"] == "b"
    assert values(mongo.url) == ["a", "b"]
    keeper = guard_pid(layout)
    for process in (mongo.pid, keeper):
        assert os.getsid(process) != os.getsid(0), "Ctrl-C in the terminal must not reach it"
    mongo.release()
    assert is_gone(mongo.pid)
    assert (layout.db / "mongod.lock").stat().st_size == 0, "mongod did not end cleanly"
    eventually(lambda: is_gone(keeper))
    mongo.release()


def test_data_outlive_a_restart_and_a_changed_port(layout: DataLayout) -> None:
    with EmbeddedMongo.acquire(layout.root) as first:
        write(first.url, "a")
    with EmbeddedMongo.acquire(layout.root) as again:
        assert again.url == first.url, "the port is kept if it can be"
        assert values(again.url) == ["a"]
    port = int(again.url.split(":")[2].split("/")[0])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        with EmbeddedMongo.acquire(layout.root) as moved:
            write(moved.url, "b")
            assert moved.url != first.url
            assert values(moved.url) == ["a", "b"]


def test_a_port_that_is_taken_at_the_last_moment_is_replaced(
    layout: DataLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], start._free_port()]
        monkeypatch.setattr(start, "_free_port", lambda: ports.pop(0))
        with EmbeddedMongo.acquire(layout.root) as mongo:
            write(mongo.url, "a")
    assert not ports


def test_a_mongod_that_another_launcher_started_meanwhile_is_shared(
    layout: DataLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [None]
    running = guard.running
    with EmbeddedMongo.acquire(layout.root) as first:
        monkeypatch.setattr(guard, "running", lambda place: seen.pop() if seen else running(place))
        with EmbeddedMongo.acquire(layout.root) as second:
            assert not seen
            assert (second.adopted, second.pid) == (True, first.pid)


def test_the_last_of_two_processes_stops_it(layout: DataLayout) -> None:
    with User(layout.root) as other:
        started = other.do("acquire")
        mine = EmbeddedMongo.acquire(layout.root)
        assert (mine.adopted, mine.pid, mine.url) == (True, started["pid"], started["url"])
        other.do("release")
        write(mine.url, "a")
        other.do("acquire")
        mine.release()
        assert not is_gone(mine.pid)
        other.do("release")
        assert is_gone(mine.pid)


def test_processes_that_come_and_go_at_the_same_moment_share_one(layout: DataLayout) -> None:
    with contextlib.ExitStack() as stack:
        users = [stack.enter_context(User(layout.root)) for _ in range(2)]
        for _ in range(5):
            for user in users:
                user.send("acquire")
            answers = [user.answer() for user in users]
            assert len({answer["pid"] for answer in answers}) == 1
            assert sorted(answer["adopted"] for answer in answers) == [False, True]
            for user in users:
                user.send("release")
            for user in users:
                user.answer()
            assert is_gone(answers[0]["pid"])


def test_the_mongod_of_a_killed_process_is_taken_over_and_guarded_again(layout: DataLayout) -> None:
    with User(layout.root, grace=600.0) as owner:
        started = owner.do("acquire")
        write(started["url"], "a")
        keeper = guard_pid(layout)
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: is_gone(keeper))
        owner.kill()
    mongo = EmbeddedMongo.acquire(layout.root)
    assert (mongo.adopted, mongo.pid) == (True, started["pid"])
    assert values(mongo.url) == ["a"]
    assert has_guard(layout)
    mongo.release()
    assert is_gone(mongo.pid)


def test_when_all_users_are_killed_it_ends_cleanly_after_the_grace(layout: DataLayout) -> None:
    with User(layout.root, grace=0.3) as one, User(layout.root, grace=0.3) as two:
        pid = one.do("acquire")["pid"]
        two.do("acquire")
        one.kill()
        two.kill()
    eventually(lambda: is_gone(pid))
    eventually(lambda: not has_guard(layout))
    assert (layout.db / "mongod.lock").stat().st_size == 0, "mongod did not end cleanly"


def test_who_comes_within_the_grace_keeps_it_running(layout: DataLayout) -> None:
    first = EmbeddedMongo.acquire(layout.root, grace=5.0)
    first.release(linger=True)
    with EmbeddedMongo.acquire(layout.root) as second:
        assert (second.adopted, second.pid) == (True, first.pid)


def test_a_child_forked_from_a_user_cannot_stop_it(layout: DataLayout) -> None:
    with User(layout.root) as parent:
        started = parent.do("acquire")
        parent.do("release in a child")
        write(started["url"], "a")
        with EmbeddedMongo.acquire(layout.root) as mine:
            assert mine.pid == started["pid"]
        assert not is_gone(started["pid"])
        parent.do("release")
        assert is_gone(started["pid"])


def test_a_killed_mongod_is_started_again_where_its_users_look_for_it(layout: DataLayout) -> None:
    with EmbeddedMongo.acquire(layout.root) as first, client(first.url) as driver:
        write(first.url, "a")
        assert driver.test.values.count_documents({}) == 1
        os.kill(first.pid, signal.SIGKILL)
        eventually(lambda: is_gone(first.pid))
        with EmbeddedMongo.acquire(layout.root) as second:
            assert not second.adopted
            assert second.url == first.url
            driver.test.values.insert_one({"value": "b"})
            assert values(second.url) == ["a", "b"]
        assert not is_gone(second.pid), "the first use is not over"
    assert is_gone(second.pid)


def test_a_note_with_the_pid_of_another_process_harms_nobody(layout: DataLayout) -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        try:
            layout.db.mkdir(parents=True)
            layout.state.write_text(json.dumps({"pid": bystander.pid, "port": start._free_port()}))
            (layout.db / "mongod.lock").write_text(f"{bystander.pid}\n")
            with EmbeddedMongo.acquire(layout.root) as mongo:
                assert not mongo.adopted
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_process_that_only_looks_like_mongod_is_not_signalled(
    layout: DataLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.root.mkdir()
    with subprocess.Popen(["sleep", "600"]) as bystander, FileLock(layout.state) as lock:
        try:
            lock.exclusive()
            layout.state.write_text(json.dumps({"pid": bystander.pid, "port": 1}))
            monkeypatch.setattr(guard, "_UNKNOWN_LIMIT", 0.0)
            with pytest.raises(TimeoutError, match="another container"):
                guard.stop(layout)
            assert bystander.poll() is None
        finally:
            bystander.kill()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": null, "port": 1}', '{"pid": 1, "port": 70000}'])
def test_a_damaged_note_is_no_mongod(layout: DataLayout, note: str) -> None:
    layout.root.mkdir()
    layout.state.write_text(note)
    assert guard.running(layout) is None
    last = guard.recorded(layout)
    assert last is None or not start._is_free(last.port)


def test_a_mongod_that_hangs_is_replaced_only_when_nobody_else_uses_it(layout: DataLayout) -> None:
    with User(layout.root, grace=600.0) as owner:
        started = owner.do("acquire")
        write(started["url"], "a")
        os.kill(started["pid"], signal.SIGSTOP)
        with pytest.raises(DatabaseUnavailableError, match="not become writable in time"):
            EmbeddedMongo.acquire(layout.root, start_timeout=1.0)
        assert guard.running(layout) == RunningMongod(started["pid"], int(started["url"].split(":")[2].split("/")[0]))
        owner.kill()
    with EmbeddedMongo.acquire(layout.root, start_timeout=15.0) as mongo:
        assert not mongo.adopted
        assert is_gone(started["pid"])
        assert values(mongo.url) == ["a"]


def test_the_guard_of_a_deleted_directory_leaves(layout: DataLayout) -> None:
    with User(layout.root, grace=600.0) as owner:
        pid = owner.do("acquire")["pid"]
        keeper = guard_pid(layout)
        shutil.rmtree(layout.root, ignore_errors=True)
        os.kill(pid, signal.SIGKILL)
        owner.do("release")
    eventually(lambda: is_gone(keeper))


def test_a_log_that_has_grown_is_put_aside(layout: DataLayout) -> None:
    layout.root.mkdir()
    layout.log.write_bytes(b"x" * (start._MOST_LOG + 1))
    aside = layout.root / "mongod.log.1"
    with EmbeddedMongo.acquire(layout.root) as mongo:
        assert aside.read_bytes()[:1] == b"x"
        with layout.log.open("ab") as log:
            log.write(b"y" * (start._MOST_LOG + 1))
        EmbeddedMongo.acquire(layout.root).release()
        assert aside.stat().st_size > start._MOST_LOG
        eventually(lambda: layout.log.exists() and layout.log.stat().st_size < start._MOST_LOG)
        assert not is_gone(mongo.pid)
