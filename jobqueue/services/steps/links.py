"""Links by which people answer questions of jobs without a token."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobqueue.domain.access import signal_link
from jobqueue.domain.access.signal_link import SignalLink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.access.secrets import SecretStore
    from jobqueue.store.mongo.clock import ServerClock


class SignalLinks:
    """Signs links and reads them.

    Args:
        store: has the secret.
        clock: of the database, by which links expire.
        address: of a server, as people reach it.
    """

    def __init__(self, store: SecretStore, clock: ServerClock, address: str) -> None:
        self._store = store
        self._clock = clock
        self._address = address.rstrip("/")

    async def make(
        self,
        job_id: str,
        question: str,
        signal: str,
        *,
        choices: Mapping[str, Any] | None,
        title: str,
        by: str,
        timeout: float,  # noqa: ASYNC109 - of the link, not of this call
    ) -> str:
        """Return the URL of a page where a person answers one question of a job.

        Args:
            job_id: of the job.
            question: the step that waits for the answer.
            signal: the name of the signal.
            choices: values by the labels of their buttons; ``None`` for approve and reject.
            title: the question as the page shows it.
            by: the person to whom the link goes.
            timeout: seconds for which the link holds.

        Raises:
            InvalidInputError: naming what cannot be used.
        """
        pairs = signal_link.check_choices(choices)
        texts = {"title": signal_link.check_text(title, "title"), "by": signal_link.check_text(by, "by")}
        end = await self._clock.now() + timedelta(seconds=signal_link.check_seconds(timeout))
        link = SignalLink(
            job_id=job_id, question=question, signal=signal, until=math.ceil(end.timestamp()), choices=pairs, **texts
        )
        return f"{self._address}/answer/{signal_link.sign(link, await self._store.links())}"

    async def read(self, text: str) -> SignalLink | None:
        """Return the question of a link; ``None`` if it was not signed here."""
        return signal_link.read(text, await self._store.links())

    async def is_over(self, link: SignalLink) -> bool:
        """Return True if the time of a link is over."""
        return await self._clock.now() > datetime.fromtimestamp(link.until, UTC)
