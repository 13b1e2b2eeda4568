"""The `tokens` collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.access.access import ROLES, Scope
from jobqueue.domain.access.token import Token
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from jobqueue.store.mongo.database import Database


class TokenStore:
    """Tokens as documents; a revoked token stays, so that its name remains known."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("tokens")
        self.clock = database.clock

    @guarded
    async def insert(self, token: Token) -> bool:
        """Add a token; return ``False`` if its id is taken."""
        document = {
            "_id": token.id,
            "digest": token.digest,
            "name": token.name,
            "roles": sorted(token.roles),
            "queues": list(token.scope.queues),
            "meta": [{"path": path, "value": value} for path, value in token.scope.meta],
            "insertAt": token.insert_at,
            "expiresAt": token.expires_at,
            "lastUsedAt": None,
            "revokedAt": None,
        }
        try:
            await self.collection.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    @guarded
    async def find(self, token_id: str) -> Token | None:
        """Return a token, even a revoked or expired one."""
        document = await self.collection.find_one({"_id": token_id})
        return _token(document) if document else None

    @guarded
    async def all(self) -> list[Token]:
        """Return all tokens, newest first."""
        return [_token(document) async for document in self.collection.find().sort([("insertAt", -1), ("_id", 1)])]

    @guarded
    async def revoke(self, token_id: str) -> Token | None:
        """Revoke a token; return it as it was before, or ``None`` if it does not exist."""
        first = {"$ifNull": ["$revokedAt", "$$NOW"]}
        document = await self.collection.find_one_and_update({"_id": token_id}, [{"$set": {"revokedAt": first}}])
        return _token(document) if document else None

    @guarded
    async def used(self, token_id: str, now: datetime, apart: timedelta) -> None:
        """Note the use of a token, unless its last note is younger than ``apart``."""
        stale = {"_id": token_id, "$or": [{"lastUsedAt": None}, {"lastUsedAt": {"$lt": now - apart}}]}
        await self.collection.update_one(stale, {"$set": {"lastUsedAt": now}})


def _token(document: Mapping[str, Any]) -> Token:
    return Token(
        id=str(document["_id"]),
        digest=str(document["digest"]),
        name=str(document.get("name") or ""),
        roles=frozenset(role for role in ROLES if role in document.get("roles", ())),
        scope=Scope(
            queues=tuple(str(queue) for queue in document.get("queues", ())),
            meta=tuple((str(entry["path"]), entry["value"]) for entry in document.get("meta", ())),
        ),
        insert_at=document["insertAt"],
        expires_at=document.get("expiresAt"),
        last_used_at=document.get("lastUsedAt"),
        revoked_at=document.get("revokedAt"),
    )
