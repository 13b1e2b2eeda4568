"""The `tokens` collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.access.access import ROLES, Scope
from jobqueue.domain.access.token import Token
from jobqueue.store.documents import scope_filters
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError
from jobqueue.store.mongo.odd_values import date_or_none, text

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
    """Return the token of a document; one that another tool has spoilt may do nothing."""
    roles, scope = document.get("roles"), _scope(document)
    # A missing end is spoilt too: each token is stored with all fields.
    ends = [document.get(name, False) for name in ("expiresAt", "revokedAt")]
    is_sound = scope is not None and all(date is None or date_or_none(date) for date in ends)
    return Token(
        id=str(document["_id"]),
        digest=text(document.get("digest")) or "",
        name=text(document.get("name")) or "",
        roles=frozenset(role for role in ROLES if is_sound and isinstance(roles, list) and role in roles),
        scope=scope or Scope(),
        insert_at=date_or_none(document.get("insertAt")) or EPOCH,
        expires_at=date_or_none(document.get("expiresAt")),
        last_used_at=date_or_none(document.get("lastUsedAt")),
        revoked_at=date_or_none(document.get("revokedAt")),
    )


def _scope(document: Mapping[str, Any]) -> Scope | None:
    """Return the scope of a token; ``None`` if it cannot be read, as less of a scope is more jobs."""
    try:
        pairs = [(entry["path"], entry["value"]) for entry in document["meta"]]
        return scope_filters.read(document["queues"], pairs) if isinstance(document["meta"], list) else None
    except (KeyError, TypeError):
        return None
