"""Create, revoke and recognise tokens."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access import token as tokens
from jobqueue.domain.access.token import Token
from jobqueue.domain.errors import DatabaseError, NotFoundError
from jobqueue.journal import get_logger
from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.access.access import Caller
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.services.insight.audit import Audit
    from jobqueue.store.access.tokens import TokenStore

log = get_logger(__name__)
KNOWN_SECONDS: Final = 3.0
"""Seconds that a process relies on a token that it has read; then a revoked token is invalid everywhere."""
USED_APART: Final = timedelta(minutes=1)
_MOST_KNOWN: Final = 10_000
_ALPHABET: Final = string.ascii_lowercase + string.digits
_NOBODY: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class _Known:
    token: Token
    until: float


class Access:
    """Creates, lists and revokes tokens, and identifies callers by them."""

    def __init__(self, store: TokenStore, audit: Audit) -> None:
        self.store = store
        self._audit = audit
        self._known: dict[str, _Known] = {}
        self._reading: dict[str, asyncio.Task[Token | None]] = {}
        self._touched: LruCache[str, float] = LruCache(_MOST_KNOWN)
        self._background: set[asyncio.Task[None]] = set()

    async def create(
        self,
        *,
        roles: Sequence[str],
        queues: Sequence[str] = (),
        meta: Sequence[tuple[str, Any]] = (),
        name: str = "",
        expires: float | None = None,
        by: Actor,
    ) -> tuple[Token, str]:
        """Create a token; return the token and its text, which is shown only now.

        Args:
            roles: any of `access.ROLES`.
            queues: names with ``*`` and ``?``; none for all.
            meta: paths and scalars that its jobs must have.
            name: for people.
            expires: seconds until the token expires; ``None`` for never.
            by: for the audit.

        Raises:
            InvalidInputError: naming each unacceptable part.
        """
        known, scope = tokens.check(name=name, roles=roles, queues=queues, meta=meta, expires=expires)
        now = await self.store.clock.now()
        while True:
            secret = secrets.token_urlsafe(tokens.SECRET_BYTES)
            token_id = "".join(secrets.choice(_ALPHABET) for _ in range(tokens.ID_LENGTH))
            made = Token(
                id=token_id,
                digest=tokens.digest(secret),
                name=name,
                roles=known,
                scope=scope,
                insert_at=now,
                expires_at=None if expires is None else now + timedelta(seconds=expires),
                last_used_at=None,
                revoked_at=None,
            )
            async with self._audit.noting(("token", token_id), "create", by) as note:
                if not await self.store.insert(made):
                    # The audit has no entry for an id that was taken.
                    note.discarded = True
                    continue
                note.after = made.wire()
                return made, tokens.compose(token_id, secret)

    async def revoke(self, token_id: str, *, by: Actor) -> None:
        """Make a token invalid, within `KNOWN_SECONDS` on every process.

        Raises:
            NotFoundError: there is no token of this id.
        """
        async with self._audit.noting(("token", token_id), "revoke", by) as note:
            before = await self.store.revoke(token_id)
            if before is None:
                raise NotFoundError("token", token_id)
            note.before = before.wire()
        self._known.pop(token_id, None)

    async def any_valid(self) -> bool:
        """Return true if there is a valid token."""
        now = await self.store.clock.now()
        return any(token.is_valid(now) for token in await self.store.all())

    def is_known(self, text: str) -> bool:
        """Return true if this process has seen the token of a text, with its secret; the token may be revoked since."""
        parts = tokens.split(text)
        known = self._known.get(parts[0]) if parts else None
        return parts is not None and known is not None and known.token.has_secret(parts[1])

    async def caller(self, text: str) -> Caller | None:
        """Return the caller of a token, or ``None`` if the token is not valid.

        The time does not tell an unknown id from a wrong secret, a revoked token or an expired token.
        """
        parts = tokens.split(text)
        if parts is None:
            return None
        token_id, secret = parts
        token = await self._find(token_id)
        fits = token.has_secret(secret) if token else secrets.compare_digest(tokens.digest(secret), _NOBODY)
        if token is None or not fits or not token.is_valid(await self.store.clock.now()):
            return None
        self._note_use(token_id)
        return token.caller

    async def caller_by_id(self, token_id: str) -> Caller | None:
        """Return the caller of a token that was seen before with its secret, or ``None`` if it is not valid now."""
        token = await self._find(token_id)
        if token is None or not token.is_valid(await self.store.clock.now()):
            return None
        self._note_use(token_id)
        return token.caller

    async def drain(self) -> None:
        """Wait for reads and writes in the background."""
        await asyncio.gather(*self._background, *self._reading.values(), return_exceptions=True)

    async def _find(self, token_id: str) -> Token | None:
        known = self._known.get(token_id)
        if known is not None and time.monotonic() < known.until:
            return known.token
        reading = self._reading.get(token_id)
        if reading is None:
            # Requests with the same token share one read.
            reading = self._reading[token_id] = asyncio.create_task(self._read(token_id))
            reading.add_done_callback(lambda done: self._has_read(token_id, done))
        return await asyncio.shield(reading)

    def _has_read(self, token_id: str, done: asyncio.Task[Token | None]) -> None:
        del self._reading[token_id]
        if not done.cancelled():
            # Requests that wait raise the error; without such a request nobody needs it.
            done.exception()

    async def _read(self, token_id: str) -> Token | None:
        # Counted from before the read, so that a slow read does not make a token known for longer.
        until = time.monotonic() + KNOWN_SECONDS
        token = await self.store.find(token_id)
        self._known.pop(token_id, None)
        # Unknown ids are not kept: a caller who makes them up would push out the tokens of others.
        if token is not None:
            self._known[token_id] = _Known(token, until)
            if len(self._known) > _MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
        return token

    def _note_use(self, token_id: str) -> None:
        now = time.monotonic()
        touched_at = self._touched.get(token_id)
        if touched_at is not None and now - touched_at < USED_APART.total_seconds():
            return
        self._touched.keep(token_id, now)
        task = asyncio.create_task(self._touch(token_id))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _touch(self, token_id: str) -> None:
        try:
            await self.store.used(token_id, await self.store.clock.now(), USED_APART)
        except DatabaseError as error:
            log.warning("token use not recorded", token=token_id, error=str(error))
