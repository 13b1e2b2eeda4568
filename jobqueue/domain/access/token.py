"""Bearer tokens: their roles, their scopes and their ends."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import ROLES, Caller, Role, Scope
from jobqueue.domain.durations import is_64_bit, is_number
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import attributes, json_form
from jobqueue.domain.search.query import META_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

PREFIX: Final = "jq_"
ID_LENGTH: Final = 8
SECRET_BYTES: Final = 32
MOST_GLOBS: Final = 100
MOST_VALUES: Final = 10
LONGEST_NAME: Final = 100
LONGEST_LIFE: Final = 100 * 366 * 86_400
"""Seconds until a token expires."""
_FORM: Final = re.compile(r"jq_([a-z0-9]{8})_([A-Za-z0-9_-]{43})", re.ASCII)
_GLOB: Final = re.compile(r"[A-Za-z0-9_:*?-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A stored token, with the digest of its secret.

    Attributes:
        id: the part of the token that is no secret.
        digest: SHA-256 of the secret, in hex. It has 256 random bits, so nothing slower is needed.
        name: for people.
        last_used_at: to the minute.
    """

    id: str
    digest: str
    name: str
    roles: frozenset[Role]
    scope: Scope
    insert_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Tell whether the token is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def has_secret(self, secret: str) -> bool:
        """Compare a secret in constant time."""
        return hmac.compare_digest(digest(secret).encode(), self.digest.encode("utf-8", "surrogatepass"))

    @property
    def caller(self) -> Caller:
        """The caller that the token stands for."""
        return Caller(name=self.name or self.id, roles=self.roles, scope=self.scope, token_id=self.id)

    def wire(self) -> dict[str, Any]:
        """Return the JSON form, without any secret."""
        return {
            "id": self.id,
            "name": self.name,
            "roles": [role for role in ROLES if role in self.roles],
            "queues": list(self.scope.queues),
            "meta": dict(self.scope.meta),
            "insertAt": json_form.date(self.insert_at),
            "expiresAt": json_form.value(self.expires_at),
            "lastUsedAt": json_form.value(self.last_used_at),
            "revokedAt": json_form.value(self.revoked_at),
        }


def digest(secret: str) -> str:
    """Return the stored form of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def compose(token_id: str, secret: str) -> str:
    """Return the text of a token, as requests carry it."""
    return f"{PREFIX}{token_id}_{secret}"


def split(text: str) -> tuple[str, str] | None:
    """Return the id and the secret of a token, or ``None`` for another text."""
    match = _FORM.fullmatch(text)
    return (match[1], match[2]) if match else None


def check(
    *,
    name: str,
    roles: Sequence[str],
    queues: Sequence[str],
    meta: Sequence[tuple[str, Any]],
    expires: float | None = None,
) -> tuple[frozenset[Role], Scope]:
    """Return the roles and the scope of a new token.

    Raises:
        InvalidInputError: naming each unacceptable part.
    """
    problems: Problems = {}
    if not name.isprintable() or len(name) > LONGEST_NAME:
        problems["name"] = [f"must be at most {LONGEST_NAME} printable characters"]
    known: list[Role] = [role for role in ROLES if role in roles]
    if not roles or len(known) != len(set(roles)):
        problems["roles"] = [f"must be one or more of {', '.join(ROLES)}"]
    if expires is not None and not (is_number(expires) and 0 < expires <= LONGEST_LIFE):
        problems["expires"] = ["must be more than 0 and at most 100 years of seconds"]
    if len(queues) > MOST_GLOBS or not all(_GLOB.fullmatch(glob) for glob in queues):
        problems["queues"] = [f"must be at most {MOST_GLOBS} names of queues, with * and ? for any characters"]
    if len(meta) > MOST_VALUES or len({path for path, _ in meta}) != len(meta):
        problems["meta"] = [f"takes at most {MOST_VALUES} values, each of another path"]
    for path, value in meta:
        is_long = isinstance(value, int) and not is_64_bit(value)
        if is_long or not META_PATH.fullmatch(path) or attributes.encode(path, value) is None:
            problems["meta"] = [
                f"{path!a:.80} must be a path below meta, with a number, true, false, null or a short text"
            ]
    if problems:
        raise InvalidInputError(problems)
    return frozenset(known), Scope(queues=tuple(dict.fromkeys(queues)), meta=tuple(meta))
