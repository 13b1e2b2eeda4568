"""Queues and schedules over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from jobqueue.client.calls import Calls, pairs, view
from jobqueue.client.wire import views
from jobqueue.client.wire.forms import given
from jobqueue.client.wire.webhook_views import WebhookTestView
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.jobs.job import DEFAULT_QUEUE
from jobqueue.domain.jobs.json_form import new_job as new_form
from jobqueue.domain.queues.queue_options import QueueOptions, queue_changes
from jobqueue.domain.schedules.outlook import STARTS
from jobqueue.domain.schedules.schedule import check_job
from jobqueue.domain.values.checks import check_queue
from jobqueue.domain.work.processing import LONGEST_PING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.domain.jobs.job import Job, NewJob


class QueueCalls(Calls):
    """Calls about queues and schedules."""

    def queues(self) -> AsyncIterator[views.QueueView]:
        """Yield all queues that are configured or have jobs."""
        return self._pages(view(views.QueueView), "queues", query={"limit": 200})

    async def queue(self, name: str) -> views.QueueView:
        """Return a queue's configuration and figures; a queue that is not configured has the defaults."""
        return await self._read(view(views.QueueView), "GET", "queues", check_queue(name))

    async def configure(self, queue: str, **options: Unpack[QueueOptions]) -> views.QueueView:
        """Change some of a queue's configuration; ``None`` gives the default.

        Raises:
            InvalidInputError: naming each unacceptable option.
        """
        body = queue_changes(options)
        return await self._read(view(views.QueueView), "PATCH", "queues", check_queue(queue), body=body)

    async def replace_queue(self, name: str, **options: Unpack[QueueOptions]) -> views.QueueView:
        """Replace the whole configuration of a queue: options that are left out get the default.

        Raises:
            InvalidInputError: naming each unacceptable option.
        """
        body = given(**queue_changes(options))
        return await self._read(view(views.QueueView), "PUT", "queues", check_queue(name), body=body)

    async def delete_queue(self, name: str, *, force: bool = False) -> None:
        """Delete a queue's configuration; ``force`` kills its unfinished jobs.

        Raises:
            UnfinishedJobsError: the queue has unfinished jobs.
        """
        await self._delete("queues", check_queue(name), query=(("force", "true"),) if force else ())

    async def pause(self, queue: str = DEFAULT_QUEUE, *, paused: bool = True, reason: str | None = None) -> None:
        """Stop all processes from claiming from a queue, or (``paused=False``) let them claim again.

        Args:
            queue: its name.
            paused: or resume it.
            reason: of the pause, for people; without one a queue that is paused already keeps its reason.
        """
        body = {"reason": reason} if paused and reason is not None else None
        await self._send("POST", "queues", check_queue(queue), "pause" if paused else "resume", body=body)

    async def queue_why(self, queue: str) -> views.QueueWhyView:
        """Return the reasons why no job of a queue starts."""
        return await self._read(view(views.QueueWhyView), "GET", "queues", check_queue(queue), "why")

    async def queue_groups(self, name: str, *, limit: int = 50) -> dict[str, Any]:
        """Return who uses the limits of a queue and who waits for them, by the values of its ``limit_by``, as JSON."""
        return await self._read(dict, "GET", "queues", check_queue(name), "groups", query=pairs({"limit": limit}))

    async def rotate_secret(self, queue: str, kind: str) -> views.QueueView:
        """Give the webhook of a job type a new secret, which only this reply shows; the present one goes on signing.

        Raises:
            ServerUnreachableError: there was no answer. The call is not repeated by itself.
        """
        body = {"type": kind}
        read = view(views.QueueView)
        return await self._read(read, "POST", "queues", check_queue(queue), "rotate-secret", body=body, safe=False)

    async def test_webhook(self, queue: str, kind: str) -> WebhookTestView:
        """Send a signed ping to the webhook of a job type, and return the answer of its receiver.

        Raises:
            ServerUnreachableError: there was no answer. The call is not repeated by itself.
        """
        call: dict[str, Any] = {"body": {"type": kind}, "safe": False, "wait": LONGEST_PING}
        return await self._read(view(WebhookTestView), "POST", "queues", check_queue(queue), "test-webhook", **call)

    def changes(self, queue: str) -> AsyncIterator[views.ChangeView]:
        """Yield the changes of a queue's configuration, newest first."""
        return self._pages(view(views.ChangeView), "queues", check_queue(queue), "changes")

    def schedules(self) -> AsyncIterator[views.ScheduleView]:
        """Yield all schedules, by name."""
        return self._pages(view(views.ScheduleView), "schedules", query={"limit": 200})

    async def schedule(self, name: str) -> views.ScheduleView:
        """Return a schedule with its next and last runs."""
        return await self._read(view(views.ScheduleView), "GET", "schedules", name)

    async def put_schedule(
        self,
        name: str,
        job: NewJob,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: float | None = None,
        missed: str | None = None,
        paused: bool = False,
    ) -> views.ScheduleView:
        """Create or replace a schedule; an equal schedule changes nothing.

        Args:
            name: of the schedule.
            job: the job that is made each time.
            cron: five or six fields, or a word such as ``@daily``.
            timezone: of the cron expression, such as ``Europe/Berlin``; UTC by default.
            every: seconds, in place of a cron expression.
            missed: ``skip``, ``one`` or ``all``: jobs for times at which no process ran.
            paused: make nothing until it is resumed.

        Raises:
            InvalidInputError: naming each unacceptable field.
        """
        body = given(cron=cron, timezone=timezone, every=every, missed=missed)
        body |= {"job": new_form(check_job(job)), "paused": paused}
        return await self._read(view(views.ScheduleView), "PUT", "schedules", name, body=body)

    async def preview_schedule(
        self,
        name: str,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: float | None = None,
        count: int = STARTS,
    ) -> dict[str, Any]:
        """Return the next times of a schedule that need not be stored, as JSON; nothing is changed.

        Args:
            name: of the schedule; if one is stored, ``every`` counts from its creation, else from now on.
            cron: five or six fields, or a word such as ``@daily``.
            timezone: of the cron expression, such as ``Europe/Berlin``; UTC by default.
            every: seconds, in place of a cron expression.
            count: of times, at most 50.

        Raises:
            InvalidInputError: naming each unacceptable field.
        """
        body = given(cron=cron, timezone=timezone, every=every, count=count)
        return await self._read(dict, "POST", "schedules", name, "preview", body=body)

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; its jobs stay."""
        await self._delete("schedules", name)

    async def run_schedule(self, name: str) -> Job:
        """Make a job of a schedule now, besides its times, and return it.

        Raises:
            ServerUnreachableError: there was no answer. The call is not repeated by itself.
        """
        return await self._read(json_reading.job, "POST", "schedules", name, "run", safe=False)

    async def pause_schedule(self, name: str, *, paused: bool = True) -> views.ScheduleView:
        """Pause a schedule, or (``paused=False``) resume it from now on."""
        verb = "pause" if paused else "resume"
        return await self._read(view(views.ScheduleView), "POST", "schedules", name, verb)
