"""Sessions of people who have logged in to the dashboard, as signed cookies."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.domain.access.access import Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from jobqueue.services.access.access import Access

SESSION_TIME: Final = timedelta(hours=12)
ENVIRONMENT: Final = "env"
"""The id of the admin token of the settings, which is stored nowhere."""
ADMIN: Final = Caller(name="admin", roles=frozenset({"admin"}))
"""The caller of that token."""
_FORM: Final = re.compile(r"([a-z0-9]{1,32})\.([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)


class Sessions:
    """Makes and reads cookies.

    A cookie holds the id of a token and the end of the session, signed. It is no copy of the token: with the token it
    ends, and the text of the token cannot be had from it.
    """

    def __init__(self, secret: Callable[[], Awaitable[bytes]], access: Access, admin_token: str | None) -> None:
        self._secret, self._access, self._admin_token = secret, access, admin_token

    async def begin(self, caller: Caller) -> str:
        """Return the cookie of a new session of a caller who has sent a valid token."""
        token_id = caller.token_id or ENVIRONMENT
        until = int((await self._now() + SESSION_TIME).timestamp())
        return f"{token_id}.{until}.{await self._signature(token_id, until)}"

    async def caller(self, cookie: str) -> Caller | None:
        """Return the caller of a session; ``None`` if it was never made here, has ended, or its token is not valid."""
        match = _FORM.fullmatch(cookie)
        if match is None:
            return None
        token_id, until = match[1], int(match[2])
        if not hmac.compare_digest(match[3], await self._signature(token_id, until)):
            return None
        if until <= (await self._now()).timestamp():
            return None
        if token_id == ENVIRONMENT:
            return None if self._admin_token is None else ADMIN
        return await self._access.caller_by_id(token_id)

    async def signature(self, purpose: str, text: str) -> str:
        """Return a signature that only servers of this deployment can make, and that holds for one purpose."""
        message = f"{purpose}\n{text}"
        return hmac.digest(await self._secret(), message.encode(errors="surrogateescape"), "sha256").hex()

    async def _now(self) -> datetime:
        return await self._access.store.clock.now()

    async def _signature(self, token_id: str, until: int) -> str:
        # A new admin token ends the sessions of the old one.
        bound = self._admin_token if token_id == ENVIRONMENT else ""
        message = f"{token_id}.{until}.{hashlib.sha256((bound or '').encode()).hexdigest()}"
        return hmac.digest(await self._secret(), message.encode(), "sha256").hex()
