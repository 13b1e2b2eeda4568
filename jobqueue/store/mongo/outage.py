"""Outages that every process sees: all members of the replica set refuse connections."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobqueue.store.mongo.driver import MongoClient

_REFUSAL_SECONDS: Final = 0.5


class Outage:
    """The time since which all members of a client's replica set have refused connections."""

    def __init__(self, client: MongoClient[Any]) -> None:
        self._client = client
        self._began: float | None = None
        self._has_answered = False

    def look(self) -> float | None:
        """Ask all members; return since when all have refused, by the monotonic clock, or ``None`` if one has not."""
        self._began = (self._began or time.monotonic()) if self._all_refuse() else None
        return self._began

    def ended(self) -> None:
        """Note that the database answers: from then on the driver knows all its members."""
        self._began, self._has_answered = None, True

    def _all_refuse(self) -> bool:
        topology = self._client.topology_description
        # The driver knows all members of a replica set only; a cluster may answer through another router.
        are_known = self._has_answered and topology.topology_type_name.startswith("ReplicaSet")
        return are_known and all(map(_refuses, topology.server_descriptions()))


def _refuses(address: tuple[str, int | None]) -> bool:
    """Return True if the host of an address answers, and no program listens there."""
    try:
        with socket.create_connection(address, timeout=_REFUSAL_SECONDS):
            return False
    except ConnectionRefusedError:
        return True
    except (OSError, UnicodeError):
        # Python itself refuses a name that no host can have.
        return False
