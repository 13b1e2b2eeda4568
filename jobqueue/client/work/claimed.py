"""Claimed jobs, and requests under their claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.client.calls import path
from jobqueue.client.transport import Call
from jobqueue.domain.errors import JobCancelledError, NotFoundError, StaleTokenError
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.values.checks import check_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.client.transport import Reply, Transport
    from jobqueue.domain.jobs.job import Job

_PATIENCE: Final = 3600.0
"""Seconds for which reports are tried; the run of the job is stopped when its lease is over."""
_OF_CLAIMS: Final = ("steps", "omittedSteps", "stepErrors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claimed job.

    Attributes:
        results: of finished steps, by name.
        omitted: finished steps whose results did not come with the claim.
        lease: seconds for which the claim lasts without a heartbeat.
    """

    job: Job
    token: str
    results: Mapping[str, Any]
    omitted: tuple[str, ...]
    lease: float

    @classmethod
    def read(cls, form: Any, lease: float | None) -> Claimed:
        """Return the job of a reply to a claim that asked for a lease of its own, or for none."""
        shown = form["job"]
        job = json_reading.job({name: value for name, value in shown.items() if name not in _OF_CLAIMS})
        return cls(
            job=job,
            token=form["token"],
            results=shown["steps"],
            omitted=tuple(shown.get("omittedSteps", ())),
            lease=job.lease if lease is None else lease,
        )


class ClaimReports:
    """Reports under the token of one claim.

    Args:
        transport: sends them.
        claimed: the job.
        on_lost: called when the claim is lost.
    """

    def __init__(self, transport: Transport, claimed: Claimed, on_lost: Callable[[str], None]) -> None:
        self._transport = transport
        self._claimed = claimed
        self._on_lost = on_lost

    @property
    def job(self) -> Job:
        """The job."""
        return self._claimed.job

    async def post(self, verb: str, **report: Any) -> Reply:
        """Send a report; one that is sent twice has no second effect.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
            JobQueueError: the report is not acceptable.
        """
        place = path("jobs", check_id(self.job.id), verb)
        body = {"token": self._claimed.token, **report}
        has_lines = "logs" in report
        return await self.send(Call(method="POST", path=place, body=body, keyed=has_lines, within=_PATIENCE))

    async def get(self, *parts: str, query: tuple[tuple[str, str], ...] = ()) -> Reply:
        """Read a part of the job under its claim, which needs no role to read jobs."""
        place = path("jobs", self.job.id, *parts)
        claim = self._claimed.token
        return await self.send(Call(method="GET", path=place, query=query, claim=claim, within=_PATIENCE))

    async def send(self, call: Call) -> Reply:
        """Send a request; a claim that is lost stops the run.

        Raises:
            JobCancelledError: as `post`.
        """
        try:
            return await self._transport.send(call)
        except (StaleTokenError, NotFoundError) as error:
            if isinstance(error, NotFoundError) and error.kind not in {"job", ""}:
                raise
            raise self.lost(str(error)) from None

    def lost(self, reason: str) -> JobCancelledError:
        """Stop the run, and return the error for its present call."""
        self._on_lost(reason)
        return JobCancelledError(reason)
