"""The answer to a ping as a typed value."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations

import msgspec

from jobqueue.client.wire.views import ErrorView  # noqa: TC001 - as above


class WebhookTestView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to a ping.

    Attributes:
        id: the ``webhook-id``.
        ok: the status is one from 200 to 299, and the reply is whole.
        status: ``None`` without a reply.
        seconds: from the request to the end of the reply.
        excerpt: the first 2 KiB of the reply, secrets masked.
    """

    type: str
    id: str
    at: datetime
    ok: bool
    status: int | None
    seconds: float
    excerpt: str
    error: ErrorView | None
