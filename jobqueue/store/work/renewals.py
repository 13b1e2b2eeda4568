"""Renewals of many leases in one round trip, over their own connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.store.documents import statements
from jobqueue.store.mongo import connections
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.driver import (
    BulkWriteError,
    ReadConcern,
    ReadPreference,
    UpdateOne,
    WriteConcern,
    timeout,
)
from jobqueue.store.mongo.outage import Outage
from jobqueue.store.steps import step_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.work.lease_table import Lease

CALL_SECONDS: Final = 5.0
"""The time limit of a renewal of a group."""
_BY_ID: Final = [("_id", 1)]
_SELECTION_SECONDS: Final = 0.25
"""The wait for an unknown primary before a look around; a slow primary is known already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalReply:
    """The answer to the renewals of a group.

    Attributes:
        renewed: leases that go on.
        gone: leases whose claims are lost.
        refused: leases that the server could not renew, each with the reason.
        unsure: leases that are still held, and perhaps not renewed.
    """

    renewed: Sequence[Lease]
    gone: Sequence[Lease] = ()
    refused: Sequence[tuple[Lease, str]] = ()
    unsure: Sequence[Lease] = ()


class RenewalConnection:
    """A connection for renewals, which can be made while the database is away.

    Args:
        url: of MongoDB.
        name: of the database.

    Raises:
        PyMongoError: the URL cannot be used, or its hosts cannot be looked up.
    """

    def __init__(self, url: str, name: str) -> None:
        self._client = connections.renewals(url, CALL_SECONDS)
        # A read must see all that the write before has seen, with or without a majority.
        self._jobs = self._client.get_database(name).get_collection(
            "jobs",
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("local"),
            write_concern=WriteConcern("majority", j=True),
        )
        self.outage = Outage(self._client)

    def ping(self) -> None:
        """Learn the members of the replica set, before they are away."""
        self._client.admin.command("ping")
        self.outage.ended()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def renew(self, leases: Sequence[Lease]) -> RenewalReply:
        """Renew leases by one bulk of guarded updates; the server may refuse each update.

        Raises:
            PyMongoError: the group as a whole could not be renewed.
        """
        self._find_primary()
        writes = [
            UpdateOne(
                statements.held(lease.job_id, lease.queue, lease.token),
                [*statements.renew(SERVER_NOW), step_statements.under_way(lease.step)],
                hint=_BY_ID,
            )
            for lease in leases
        ]
        refused: dict[int, str] = {}
        try:
            matched = self._jobs.bulk_write(writes, ordered=False).matched_count
        except BulkWriteError as error:
            if error.timeout or error.details["writeConcernErrors"]:
                raise
            refused = {failure["index"]: str(failure.get("errmsg")) for failure in error.details["writeErrors"]}
            matched = error.details["nMatched"]
        accepted = [lease for index, lease in enumerate(leases) if index not in refused]
        complaints = [(leases[index], reason) for index, reason in refused.items()]
        if matched == len(accepted):
            return RenewalReply(renewed=accepted, refused=complaints)
        held = self._held(accepted) if matched else set()
        still = [lease for lease in accepted if lease.token in held]
        gone = [lease for lease in accepted if lease.token not in held]
        if len(still) > matched:
            # A new primary may lack the write that ended a claim on the primary before.
            return RenewalReply(renewed=(), gone=gone, refused=complaints, unsure=still)
        return RenewalReply(renewed=still, gone=gone, refused=complaints)

    def _held(self, leases: Sequence[Lease]) -> set[str]:
        claims = statements.held_any([(lease.job_id, lease.queue, lease.token) for lease in leases])
        return {
            document["claim"]["token"]
            for document in self._jobs.find(claims, {"_id": 0, "claim.token": 1}, hint=_BY_ID)
        }

    def _find_primary(self) -> None:
        """Make the driver look for a primary for a moment, if it knows none."""
        if not self._client.topology_description.has_writable_server():
            with timeout(_SELECTION_SECONDS):
                self._client.admin.command("ping")
