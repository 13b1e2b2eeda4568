"""A replica set of one node whose users have passwords and roles."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support.faults.replica_set import start_mongod
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_PASSWORD: Final = "correct-horse"  # noqa: S105 - a test's own
_LIMIT: Final = 120.0


class GuardedMongod:
    """A mongod that asks for passwords, for the time of a block.

    Args:
        directory: for the data.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        key = directory / "key"
        key.write_text("aKeyOfSomeLength")
        key.chmod(0o600)
        self._port = free_port()
        self._process = start_mongod(directory, self._port, "--replSet", "guarded", "--keyFile", str(key))

    def __enter__(self) -> Self:
        try:
            with MongoClient[dict[str, Any]](
                "127.0.0.1", self._port, directConnection=True, serverSelectionTimeoutMS=60_000
            ) as first:
                members = [{"_id": 0, "host": f"127.0.0.1:{self._port}"}]
                first.admin.command("replSetInitiate", {"_id": "guarded", "members": members})
                self._make_root(first)
            self.root = MongoClient[dict[str, Any]](self.url("root"))
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.root.close()
        self._process.kill()
        self._process.wait()

    def url(self, user: str) -> str:
        """Return the URL for a user."""
        return f"mongodb://{user}:{_PASSWORD}@127.0.0.1:{self._port}/?replicaSet=guarded"

    def create(self, user: str, *roles: dict[str, str]) -> None:
        """Make a user."""
        self.root.admin.command("createUser", user, pwd=_PASSWORD, roles=list(roles))

    def grant(self, user: str, *roles: dict[str, str]) -> None:
        """Give a user these roles, and no others."""
        self.root.admin.command("updateUser", user, roles=list(roles))

    def drop(self, user: str) -> None:
        """Remove a user, whose connections go on without rights."""
        self.root.admin.command("dropUser", user)

    def _make_root(self, first: MongoClient[dict[str, Any]]) -> None:
        """Make the first user, as soon as the node is the primary."""
        deadline = time.monotonic() + _LIMIT
        while True:
            try:
                first.admin.command("createUser", "root", pwd=_PASSWORD, roles=["root"])
            except PyMongoError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return
