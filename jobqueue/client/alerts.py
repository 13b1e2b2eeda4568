"""Alerts over HTTP."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Unpack

import msgspec

from jobqueue.client.calls import Calls, view
from jobqueue.client.wire.forms import given
from jobqueue.domain.alerts.alert import check_mute, check_name
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.jobs.json_form import camel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.domain.alerts.alert import AlertOptions
    from jobqueue.domain.jobs.job import Job


class StandingView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A thing that an alert has told of and that goes on.

    Attributes:
        messages: the number of messages about it since it began.
        path: of the page about it.
    """

    kind: str
    thing: str
    message: str
    since: datetime
    messages: int
    last_at: datetime
    path: str


class AlertView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An alert; one that was spoilt by hand has no definition.

    Attributes:
        secret: masked, but for one that was made by this call.
        muted_until: ``None`` if it is not muted.
    """

    name: str
    muted_until: datetime | None
    mute_reason: str | None
    standing: list[StandingView]
    created_at: datetime
    changed_at: datetime
    url: str | None = None
    secret: str | None = None
    headers: dict[str, str] | None = None
    timeout: float | None = None
    kinds: list[str] | None = None
    queues: list[str] | None = None
    stuck_seconds: float | None = None
    waiting_seconds: float | None = None
    minimum_failures: int | None = None
    remind_seconds: float | None = None
    recovered: bool | None = None


class AlertCalls(Calls):
    """Calls about alerts."""

    def alerts(self) -> AsyncIterator[AlertView]:
        """Yield all alerts, by name."""
        return self._pages(view(AlertView), "alerts", query={"limit": 200})

    async def alert(self, name: str) -> AlertView:
        """Return an alert, and the things that it has told of and that go on."""
        return await self._read(view(AlertView), "GET", "alerts", check_name(name))

    async def put_alert(self, name: str, url: str, **options: Unpack[AlertOptions]) -> AlertView:
        """Create or replace an alert; an equal alert changes nothing, and a secret that is left out stays.

        Args:
            name: of the alert.
            url: gets the messages.
            options: further fields; one that is left out gets its default, but for the secret.

        Raises:
            InvalidInputError: naming each unacceptable field.
        """
        body = {"url": url, **{camel(option): value for option, value in options.items()}}
        return await self._read(view(AlertView), "PUT", "alerts", check_name(name), body=body)

    async def delete_alert(self, name: str) -> None:
        """Delete an alert; its messages that were not sent yet are given up."""
        await self._delete("alerts", check_name(name))

    async def mute_alert(self, name: str, seconds: float, reason: str | None = None) -> AlertView:
        """Mute an alert for some seconds from now on; 0 ends that.

        Raises:
            InvalidInputError: the time or the reason is not acceptable.
        """
        check_mute(seconds, reason)
        body = given(seconds=seconds, reason=reason)
        return await self._read(view(AlertView), "POST", "alerts", check_name(name), "mute", body=body)

    async def test_alert(self, name: str) -> Job:
        """Send a test message; return the job that is the message.

        Raises:
            ServerUnreachableError: there was no answer. The call is not repeated by itself.
        """
        return await self._read(json_reading.job, "POST", "alerts", check_name(name), "test", safe=False)
