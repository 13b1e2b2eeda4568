"""Requests about tokens, and their replies."""

from __future__ import annotations

from typing import Final

from jobqueue.api.schemas import fields
from jobqueue.api.schemas.fields import Response, Strict, page
from jobqueue.api.schemas.queries import MOST_QUEUES, LimitText, Query, TextCursor
from jobqueue.domain.access.access import ROLES
from jobqueue.domain.access.token import LONGEST_LIFE, LONGEST_NAME, MOST_GLOBS, MOST_VALUES

_ROLES: Final = {"type": "string", "enum": list(ROLES)}


class TokensQuery(Query):
    """A page of tokens."""

    limit = LimitText(MOST_QUEUES)
    cursor = TextCursor()


class TokenSchema(Strict):
    """A token to create."""

    roles = fields.Items(fields.Text(spec=_ROLES), required=True, spec={"minItems": 1, "maxItems": len(ROLES)})
    queues = fields.Items(
        fields.Text(), spec={"maxItems": MOST_GLOBS, "description": "names with `*` and `?`; none for all"}
    )
    meta = fields.Object(
        spec={"maxProperties": MOST_VALUES, "description": 'values that its jobs must have, by path: `{"user_id": 7}`'}
    )
    name = fields.Text(spec={"maxLength": LONGEST_NAME})
    expires = fields.Number(
        allow_none=True, spec={"exclusiveMinimum": 0, "maximum": LONGEST_LIFE, "description": "seconds from now"}
    )


class TokenResponse(Response):
    """A token, without its secret."""

    id = fields.Text()
    name = fields.Text()
    roles = fields.Items(fields.Text(spec=_ROLES))
    queues = fields.Items(fields.Text())
    meta = fields.Object()
    insert_at = fields.Moment()
    expires_at = fields.Moment(allow_none=True)
    last_used_at = fields.Moment(allow_none=True, spec={"description": "to the minute"})
    revoked_at = fields.Moment(allow_none=True)


class NewTokenResponse(TokenResponse):
    """A token that was created; only this reply shows its text."""

    token = fields.Text()


TokenPage = page("TokenPage", TokenResponse)
