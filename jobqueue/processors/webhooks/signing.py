"""Sign webhooks by Standard Webhooks 1.0.0 (https://www.standardwebhooks.com)."""

from __future__ import annotations

import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.work.processing import SECRET_FORM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.jobs.job import Job


def message_id(job: Job) -> str:
    """Return the ``webhook-id``: the same for repeated requests, another one after a suspension or a requeue."""
    suspended = [entry.end_at for entry in job.history if entry.outcome is Outcome.SUSPEND and entry.end_at]
    since = f"_{int(suspended[-1].timestamp() * 1000):x}" if suspended else ""
    return f"msg_{job.id}_{job.run}{since}"


def headers(secrets: Sequence[str], identifier: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers that let the receiver check the sender and the time of a body.

    Args:
        secrets: ``whsec_`` and the base64 of the key that the receiver shares. During a rotation there are several: the
            header then has a signature by each, and the receiver needs only one of the keys.
        identifier: the ``webhook-id``.
        at: the time of this attempt, aware.
        body: exactly the bytes that are sent; UTF-8.

    Raises:
        InvalidInputError: a secret is malformed.
        ValueError: the time is naive, or the body is not UTF-8.
    """
    if at.tzinfo is None:
        raise ValueError("a signature needs an aware time")
    seconds = int(at.timestamp())
    try:
        keys = [Webhook(secret) for secret in secrets]
    except (binascii.Error, ValueError, EmptyWebhookSecretError):
        raise InvalidInputError({"secret": [SECRET_FORM]}) from None
    # The package treats any time as UTC, and would sign the repr of bytes.
    moment, text = datetime.fromtimestamp(seconds, UTC), body.decode()
    signatures = [key.sign(identifier, moment, text) for key in keys]
    return {"webhook-id": identifier, "webhook-timestamp": str(seconds), "webhook-signature": " ".join(signatures)}
