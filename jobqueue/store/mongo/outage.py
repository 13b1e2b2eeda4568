"""Outages that every process sees: each member of the replica set refuses connections."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pymongo import MongoClient

_REFUSAL_SECONDS: Final = 0.5


class Outage:
    """Since when every member of the replica set has refused connections, without one that did not.

    Args:
        client: whose members are asked.
    """

    def __init__(self, client: MongoClient[Any]) -> None:
        self._client = client
        self._began: float | None = None
        self._has_answered = False

    def look(self) -> float | None:
        """Ask all members; return since when, by the steady clock, all have refused, or ``None`` if one has not."""
        if not self._all_refuse():
            self._began = None
        elif self._began is None:
            self._began = time.monotonic()
        return self._began

    def ended(self) -> None:
        """Note that the database answers, and so all its members are known."""
        self._began, self._has_answered = None, True

    def _all_refuse(self) -> bool:
        if not self._has_answered:
            return False
        topology = self._client.topology_description
        # Only of a replica set are all members known; behind other routers of a cluster it may well be there.
        if not topology.topology_type_name.startswith("ReplicaSet"):
            return False
        return all(map(_refuses, topology.server_descriptions()))


def _refuses(address: tuple[str, int | None]) -> bool:
    """Tell whether nobody listens at an address, on a host that is there to say so."""
    try:
        with socket.create_connection(address, timeout=_REFUSAL_SECONDS):
            return False
    except ConnectionRefusedError:
        return True
    except (OSError, UnicodeError):
        # A name that no host can have is refused by Python itself.
        return False
