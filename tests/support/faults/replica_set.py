"""Real replica sets of one or three nodes that are killed, stopped and started again.

Elections take two seconds (``electionTimeoutMillis`` 2000, heartbeats every 500 ms). A node that was killed with writes
the others do not have comes back by way of a rollback, during which it does not vote: so after a restart everybody
waits for all members, or killing the next one would leave no majority for a minute.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import pymongo
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from jobqueue.store.embedded.mongod_binary import find_mongod
from jobqueue.testing.directory import data_directory
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

PRIMARY: Final = 1
SECONDARY: Final = 2
_SETTINGS: Final = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
_LAG_SECONDS: Final = 2
_STEADY_SECONDS: Final = 1.0
_LIMIT: Final = 120.0
Document = dict[str, Any]
T = TypeVar("T")


class Node:
    """One mongod.

    Attributes:
        is_untouched: it was neither killed nor stopped.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self.is_untouched = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def directory(self) -> Path:
        """The directory of its data."""
        return self._directory

    def files(self) -> list[Path]:
        """Return the files of its data."""
        return [path for path in self._directory.rglob("*") if path.is_file()]

    def start(self, *, restore_signals: bool = True) -> None:
        """Start it; `direct` waits until it answers.

        Args:
            restore_signals: let it begin with no signal ignored.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        parameters = {"enableTestCommands": "1", "minSnapshotHistoryWindowInSeconds": "0"}
        options = [word for name, value in parameters.items() for word in ("--setParameter", f"{name}={value}")]
        self._process = start_mongod(
            self._directory, self.port, "--replSet", "faults", *options, restore_signals=restore_signals
        )
        self._stopped = False

    def kill(self) -> None:
        """Kill it without a chance to clean up."""
        self.is_untouched = False
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def freeze(self) -> None:
        """Suspend it, as a host that hangs."""
        self._signal(signal.SIGSTOP)
        self._stopped = True

    def thaw(self) -> None:
        """Resume it."""
        self._signal(signal.SIGCONT)
        self._stopped = False

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    @contextlib.contextmanager
    def direct(self) -> Iterator[MongoClient[Document]]:
        """Open a client of this node alone."""
        with MongoClient[Document](
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=20_000
        ) as client:
            yield client

    def hello(self) -> Document | None:
        """Return its ``hello``, or ``None`` if it does not answer at once."""
        if not self.is_running or self._stopped:
            return None
        try:
            with self.direct() as client, pymongo.timeout(1):
                return dict(client.admin.command("hello"))
        except PyMongoError:
            return None

    def _signal(self, number: signal.Signals) -> None:
        self.is_untouched = False
        if self._process is not None:
            self._process.send_signal(number)


class ReplicaSet:
    """A replica set for the time of a block.

    Args:
        nodes: how many.
    """

    def __init__(self, nodes: int = 1) -> None:
        self._stack = contextlib.ExitStack()
        directory = self._stack.enter_context(data_directory())
        self.nodes = [Node(directory / f"node{number}", port) for number, port in enumerate(free_ports(nodes))]

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Start it."""
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                _wait(node.hello, "a node does not answer")
            members = [{"_id": number, "host": node.address} for number, node in enumerate(self.nodes)]
            with self.nodes[0].direct() as client:
                client.admin.command("replSetInitiate", {"_id": "faults", "members": members, "settings": _SETTINGS})
            self.wait_all(steady=0)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Kill it, and delete its data."""
        for node in self.nodes:
            node.kill()
        self._stack.close()

    @property
    def url(self) -> str:
        """The URL of all its nodes."""
        return f"mongodb://{','.join(node.address for node in self.nodes)}/?replicaSet=faults"

    def client(self) -> MongoClient[Document]:
        return MongoClient(self.url)

    def primary(self) -> Node | None:
        """Return the primary, if there is one that answers."""
        for node in self.nodes:
            if (node.hello() or {}).get("isWritablePrimary"):
                return node
        return None

    def wait_primary(self) -> Node:
        """Wait for a primary that takes writes."""
        return _wait(self.primary, "there is no primary")

    def secondaries(self) -> list[Node]:
        primary = self.wait_primary()
        return [node for node in self.nodes if node is not primary]

    def wait_all(self, *, steady: float = _STEADY_SECONDS) -> None:
        """Wait until all members have been well for a moment."""
        since = time.monotonic()

        def are_well() -> bool:
            nonlocal since
            if not self._are_well():
                since = time.monotonic()
                return False
            return time.monotonic() - since >= steady

        _wait(are_well, "not all members are well")

    @property
    def is_untouched(self) -> bool:
        """True if all its nodes have run from the beginning, and none was asked to step down."""
        return all(node.is_untouched for node in self.nodes)

    def step_down(self) -> None:
        """Make the primary give up its role."""
        self.nodes[0].is_untouched = False
        with self.wait_primary().direct() as client, contextlib.suppress(PyMongoError):
            client.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)

    @contextlib.contextmanager
    def fail_point(self, name: str, mode: Mapping[str, Any] | str, **data: Any) -> Iterator[None]:
        """Make the primary fail in a certain way."""
        with self.wait_primary().direct() as client:
            client.admin.command({"configureFailPoint": name, "mode": mode, "data": data})
            try:
                yield
            finally:
                client.admin.command({"configureFailPoint": name, "mode": "off"})

    def _are_well(self) -> bool:
        primary = self.primary()
        if primary is None:
            return False
        with primary.direct() as client:
            try:
                members = client.admin.command("replSetGetStatus")["members"]
            except OperationFailure:
                return False
        newest = max(member["optimeDate"] for member in members)
        return all(
            member["state"] in {PRIMARY, SECONDARY} and (newest - member["optimeDate"]).total_seconds() < _LAG_SECONDS
            for member in members
        )


def start_mongod(directory: Path, port: int, *options: str, restore_signals: bool = True) -> subprocess.Popen[bytes]:
    """Start a mongod of little memory on a port of the loopback address."""
    explicit = os.environ.get("JOBQUEUE_MONGOD")
    command = [
        str(find_mongod(Path(explicit) if explicit else None)),
        *("--dbpath", str(directory), "--logpath", str(directory / "mongod.log"), "--logappend"),
        *("--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"),
        *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "100"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        *options,
    ]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, restore_signals=restore_signals
    )


def _wait(look: Callable[[], T | None], trouble: str) -> T:
    until = time.monotonic() + _LIMIT
    while time.monotonic() < until:
        if seen := look():
            return seen
        time.sleep(0.05)
    raise TimeoutError(trouble)
