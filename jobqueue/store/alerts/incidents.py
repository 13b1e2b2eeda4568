"""The `incidents` collection: things that alerts have told of, and messages that are no jobs yet.

Each decision is one guarded update of the document of its thing, which also keeps the message until that is a job. So
any number of processes may decide, and make jobs of messages, at the same time, and be killed in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.alerts.incident import KEPT, Incident, Message
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError
from jobqueue.store.mongo.odd_values import date_or_none, mapping
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

STANDING: Final = "standing"
"""The index of incidents that go on."""
_MOST: Final = 5_000


class IncidentStore:
    """Incidents as documents, one for each alert and thing."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("incidents")

    @guarded
    async def known(self, incarnation: str, ids: Sequence[str]) -> dict[str, Incident]:
        """Return the incidents of an alert that go on, and those with certain ids, by id."""
        going_on = {"incarnation": incarnation, "standing": True}
        found = [_incident(document) async for document in self.collection.find(going_on, hint=STANDING).limit(_MOST)]
        others = sorted(set(ids) - {incident.id for incident in found})
        if others:
            found += [_incident(document) async for document in self.collection.find({"_id": {"$in": others}})]
        return {incident.id: incident for incident in found}

    @guarded
    async def standing(self, incarnation: str, most: int) -> list[Incident]:
        """Return incidents of an alert that go on, the newest first."""
        query = {"incarnation": incarnation, "standing": True}
        cursor = self.collection.find(query, hint=STANDING).sort("since", -1).limit(most)
        return [_incident(document) async for document in cursor]

    @guarded
    async def decide(self, incarnation: str, before: Incident | None, after: Incident) -> bool:
        """Keep an incident with its next message; return false if another process has decided meanwhile.

        Args:
            incarnation: of the alert.
            before: as `known` returned it; ``None`` if the thing is new.
            after: with the message, or without one if the thing is over silently.
        """
        document = _document(after) | {"incarnation": incarnation}
        if before is None:
            try:
                await self.collection.insert_one({"_id": after.id, **document})
            except DuplicateKeyError:
                return False
            return True
        guard = {"_id": before.id, "episode": before.episode, "number": before.number, "standing": before.standing}
        return bool((await self.collection.update_one(guard, {"$set": document})).matched_count)

    @guarded
    async def told(self, incident: Incident, *, stands: bool) -> None:
        """Note that the waiting message of an incident is a job."""
        guard = {"_id": incident.id, "episode": incident.episode, "number": incident.number}
        ended: Document = {} if stands else {"standing": False, "expireAt": incident.told_at + KEPT}
        await self.collection.update_one(guard, {"$set": {"waiting": None, **ended}})

    @guarded
    async def forget(self, incarnation: str) -> None:
        """Delete the incidents of a deleted alert."""
        await self.collection.delete_many({"incarnation": incarnation})


def _document(incident: Incident) -> Document:
    waiting = incident.waiting
    return {
        "alert": incident.alert,
        "kind": incident.kind,
        "key": incident.key,
        "episode": incident.episode,
        "number": incident.number,
        "since": incident.since,
        "toldAt": incident.told_at,
        "standing": incident.standing,
        "message": incident.message,
        "waiting": None
        if waiting is None
        else {"number": waiting.number, "at": waiting.at, "body": dict(waiting.body)},
        "expireAt": None if incident.standing else incident.told_at + KEPT,
    }


def _incident(document: Mapping[str, Any]) -> Incident:
    return Incident(
        id=str(document["_id"]),
        alert=str(document.get("alert")),
        kind=str(document.get("kind")),
        key=str(document.get("key")),
        episode=typed(int, document.get("episode")) or 1,
        number=typed(int, document.get("number")) or 0,
        since=date_or_none(document.get("since")) or EPOCH,
        told_at=date_or_none(document.get("toldAt")) or EPOCH,
        standing=document.get("standing") is True,
        message=str(document.get("message")),
        waiting=_message(mapping(document.get("waiting"))),
    )


def _message(stored: Mapping[str, Any]) -> Message | None:
    number, at, body = typed(int, stored.get("number")), date_or_none(stored.get("at")), stored.get("body")
    if number is None or at is None or not isinstance(body, dict):
        return None
    return Message(number=number, at=at, body=body)
