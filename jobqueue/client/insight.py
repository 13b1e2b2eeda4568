"""Statistics, events and the audit over HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from jobqueue.client.calls import Calls, pairs, path, view
from jobqueue.client.errors import ServerUnreachableError, UnexpectedReplyError
from jobqueue.client.transport import Call
from jobqueue.client.wire import suggestion_views, views
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import BusyError, DatabaseError, NotReadyError
from jobqueue.domain.insight.event import Gap, JobEvent
from jobqueue.domain.values.checks import check_id
from jobqueue.domain.values.iso8601 import moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

_SILENCE: Final = 45.0
"""Seconds after which a stream without even a keep-alive is dead; the server sends one every 15 seconds."""
_AGAIN_SECONDS: Final = 2.0


class InsightCalls(Calls):
    """Calls about the history and the present of the whole system."""

    async def stats(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        windows: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Return jobs by state, throughput, and percentiles of waiting and running, as JSON.

        Args:
            queue: only its jobs.
            type: only jobs of this type.
            windows: some of ``5m``, ``1h``, ``24h`` and ``7d``; all by default.
        """
        query = pairs({"queue": queue, "type": type, "window": tuple(windows)})
        return await self._read(dict, "GET", "stats", query=query)

    async def series(
        self,
        *,
        step: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        by: str | None = None,
    ) -> dict[str, Any]:
        """Return throughput and percentiles in equal steps of time, as JSON.

        Args:
            step: one of ``1m``, ``5m``, ``15m``, ``30m``, ``1h``, ``3h``, ``6h`` and ``1d``; a fitting one by default.
            since: the beginning, an hour ago by default.
            until: the end, now by default.
            queue: only its jobs.
            type: only jobs of this type.
            by: ``queue`` for the same of each queue too.
        """
        query = pairs({"step": step, "from": since, "to": until, "queue": queue, "type": type, "by": by})
        return await self._read(dict, "GET", "stats", "series", query=query)

    async def status(self) -> list[views.ConcernView]:
        """Return what needs somebody, the most urgent kinds first, each with the command that mends it."""
        return await self._read(lambda form: view(list[views.ConcernView])(form["items"]), "GET", "status")

    async def suggestions(
        self, field: str | None = None, prefix: str = "", *, limit: int = 20
    ) -> suggestion_views.SuggestionsView:
        """Return known values of a field of jobs, or the names of fields, among the newest jobs.

        Args:
            field: ``state``, ``queue``, ``type``, ``schedule``, ``error.kind`` or ``meta.`` and a path; ``None`` for
                names of fields.
            prefix: the beginning of a value or name, in upper or lower case.
            limit: the most suggestions, at most 200.
        """
        query = pairs({"field": field, "prefix": prefix or None, "limit": limit})
        return await self._read(view(suggestion_views.SuggestionsView), "GET", "jobs", "suggestions", query=query)

    async def bundle(self, job_id: str, *, redact: Sequence[str] = ()) -> dict[str, Any]:
        """Return a job with its steps, log, relatives and queue as JSON, without secrets, for ``jobqueue replay``.

        Args:
            job_id: of the job.
            redact: paths of values to leave out, such as ``data.card``.
        """
        query = pairs({"redact": tuple(redact)})
        return await self._read(dict, "GET", "jobs", check_id(job_id), "bundle", query=query)

    async def events(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        job: str | None = None,
        batch: str | None = None,
        states: Sequence[State | str] = (),
        progress: bool = False,
        after: str | None = None,
    ) -> AsyncIterator[JobEvent | Gap]:
        """Yield changes of jobs as they happen, also after lost connections: none is left out and none comes twice.

        Where the server cannot say what has happened meanwhile, a `Gap` comes in place of the missing changes.

        Args:
            queue: only its jobs.
            type: only jobs of this type.
            job: only this job.
            batch: only jobs of this batch.
            states: only changes to these states.
            progress: also progress and finished steps.
            after: the ``position`` of an event: begin with the changes after it.

        Raises:
            ServerUnreachableError: there has been no server for as long as calls of this client may take.
        """
        query = {"queue": queue, "type": type, "job": job, "batch": batch, "state": tuple(states), "progress": progress}
        since, last, has_begun = time.monotonic(), after, False
        while True:
            # A stream that has broken off before it named a position.
            is_lost = has_begun and last is None
            try:
                async for position, event in self._stream(pairs(query), last):
                    since, has_begun, last = time.monotonic(), True, position or last
                    if is_lost and last is not None:
                        is_lost = False
                        yield Gap(position=last)
                    if event is not None:
                        yield event
            except (ServerUnreachableError, BusyError, NotReadyError, DatabaseError):
                limit = self._transport.timeout
                if limit is not None and time.monotonic() - since > limit:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    def audit(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        action: str | None = None,
        actor: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
    ) -> AsyncIterator[views.ChangeView]:
        """Yield what people have changed, newest first.

        Args:
            kind: ``job``, ``batch``, ``queue``, ``schedule``, ``token`` or ``operation``.
            name: of the changed thing.
            action: such as ``requeue``.
            actor: the name of the person or program.
            after: only changes of then or later.
            before: only earlier changes.
        """
        query = {"kind": kind, "name": name, "action": action, "actor": actor, "after": after, "before": before}
        return self._pages(view(views.ChangeView), "audit", query={**query, "limit": 200})

    async def _stream(
        self, query: tuple[tuple[str, str], ...], after: str | None
    ) -> AsyncIterator[tuple[str | None, JobEvent | Gap | None]]:
        """Yield positions with their events, and positions alone, until the stream ends."""
        headers = {"Accept": "text/event-stream", **({} if after is None else {"Last-Event-ID": after})}
        call = Call(method="GET", path=path("events"), query=query, headers=headers)
        position, data = after, b""
        async for raw in self._transport.lines(call, _SILENCE):
            name, _, value = raw.rstrip(b"\r\n").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"id":
                position = value.decode()
            elif name == b"data":
                data = value
            elif not raw.strip():
                yield position, _event(data, position) if data else None
                data = b""


def _event(data: bytes, position: str | None) -> JobEvent | Gap:
    try:
        form = orjson.loads(data)
        if form["event"] == "gap":
            return Gap(position=position)
        error = form["error"]
        return JobEvent(
            position=position or "",
            kind=form["event"],
            at=moment(form["at"]),
            job_id=form["id"],
            state=None if form["state"] is None else State(form["state"]),
            queue=form["queue"],
            type=form["type"],
            batch_id=form["batchId"],
            attempt=form["attempt"],
            progress=form["progress"],
            error=None if error is None else (error["kind"], error["message"]),
            step=form.get("step"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedReplyError(200, f"an event has another form than expected: {error}") from error
