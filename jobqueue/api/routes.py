"""The one table of routes: method, path, handler, the role a caller needs, and what it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.api import batches, document, jobs, queues, schedules, system, work
from jobqueue.api.operations import Body, Operation, Reply
from jobqueue.api.schemas import queries, requests, shown, shown_more

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from jobqueue.domain.access import Role


@dataclass(frozen=True, slots=True)
class Route:
    """One route; without a role it is open to everybody."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    role: Role | None
    operation: Operation


_NEW = {"type": "thumbnail", "queue": "media", "data": {"src": "a.png"}, "meta": {"user_id": 42}, "attempts": 5}
_TAKEN: Final = Reply(shown.JobShown, "the job as it is now")
_SETTLED: Final = Reply(shown.SettledShown, "what became of the job")
_BATCH: Final = Reply(shown_more.BatchShown, "the batch")
_QUEUE: Final = Reply(shown_more.QueueConfigShown, "the configuration as it is now", ("ETag",))
_SCHEDULE: Final = Reply(shown_more.ScheduleShown, "the schedule as it is now", ("ETag",))
_NOTHING: Final = Reply(text="done")


ROUTES: Final = (
    Route("GET", "/", system.index, None, Operation(tag="system", replies={200: Reply(shown_more.IndexShown)})),
    Route(
        "GET", "/healthz", system.healthz, None, Operation(tag="system", replies={200: Reply(shown_more.StatusShown)})
    ),
    Route("GET", "/readyz", system.readyz, None, Operation(tag="system", replies={200: Reply(shown_more.StatusShown)})),
    Route(
        "GET",
        "/openapi.json",
        document.openapi,
        None,
        Operation(tag="system", replies={200: Reply(shown_more.DocumentShown)}),
    ),
    Route(
        "POST",
        "/v1/jobs",
        jobs.create,
        "enqueue",
        Operation(
            tag="jobs",
            body=Body(requests.NewJobSchema, example=_NEW),
            replies={
                201: Reply(shown.JobShown, "the new job", ("Location",)),
                200: Reply(shown.JobShown, "the job that the same request has added before"),
            },
            errors=(409,),
            headers=("Idempotency-Key",),
        ),
    ),
    Route(
        "GET",
        "/v1/jobs",
        jobs.list_jobs,
        "read",
        Operation(tag="jobs", query=queries.JobsQuery, replies={200: Reply(shown.JobPage)}),
    ),
    Route(
        "POST",
        "/v1/jobs/bulk",
        jobs.create_many,
        "enqueue",
        Operation(
            tag="jobs",
            body=Body(requests.BulkSchema, example={"jobs": [_NEW]}),
            replies={201: Reply(shown.JobsShown, "the new jobs")},
            errors=(409,),
        ),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}",
        jobs.show,
        "read",
        Operation(tag="jobs", replies={200: Reply(shown.JobShown)}, errors=(404,)),
    ),
    Route(
        "PATCH",
        "/v1/jobs/{id}",
        jobs.patch,
        "admin",
        Operation(
            tag="jobs",
            body=Body(requests.PatchSchema, example={"priority": 5}),
            replies={200: _TAKEN},
            errors=(404, 409),
        ),
    ),
    Route(
        "DELETE",
        "/v1/jobs/{id}",
        jobs.delete,
        "admin",
        Operation(tag="jobs", replies={204: _NOTHING}, errors=(404, 409)),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/logs",
        jobs.logs,
        "read",
        Operation(tag="jobs", query=queries.LogsQuery, replies={200: Reply(shown.LogPage)}, errors=(404,)),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/family",
        jobs.family,
        "read",
        Operation(tag="jobs", replies={200: Reply(shown.FamilyShown)}, errors=(404,)),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/why",
        jobs.why,
        "read",
        Operation(tag="jobs", replies={200: Reply(shown.WhyShown)}, errors=(404,)),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/requeue",
        jobs.requeue,
        "admin",
        Operation(
            tag="jobs",
            body=Body(requests.ContentSchema, optional=True, example={"attempts": 3}),
            replies={200: _TAKEN},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/kill",
        jobs.kill,
        "admin",
        Operation(
            tag="jobs",
            body=Body(requests.KillSchema, optional=True, example={"reason": "not needed any more"}),
            replies={200: _TAKEN},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/heartbeat",
        work.heartbeat,
        "work",
        Operation(
            tag="work",
            body=Body(requests.HeartbeatSchema, example={"token": "9f2c", "progress": 40, "logs": ["half way"]}),
            replies={200: Reply(shown.BeatShown)},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/succeed",
        work.succeed,
        "work",
        Operation(
            tag="work",
            body=Body(requests.SucceedSchema, example={"token": "9f2c", "result": {"width": 320}}),
            replies={200: _SETTLED},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/fail",
        work.fail,
        "work",
        Operation(
            tag="work",
            body=Body(requests.FailSchema, example={"token": "9f2c", "reason": "no route to host"}),
            replies={200: _SETTLED},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/die",
        work.die,
        "work",
        Operation(
            tag="work",
            body=Body(requests.DieSchema, example={"token": "9f2c", "reason": "no source"}),
            replies={200: _SETTLED},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/retry",
        work.retry,
        "work",
        Operation(
            tag="work",
            body=Body(requests.RetrySchema, example={"token": "9f2c", "delay": 60}),
            replies={200: _SETTLED},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/claim",
        work.claim,
        "work",
        Operation(
            tag="work",
            body=Body(requests.ClaimSchema, example={"worker": "w1", "types": ["thumbnail"]}),
            replies={200: Reply(shown.ClaimedShown, "a job to be run now"), 204: Reply(text="there is none")},
        ),
    ),
    Route(
        "POST",
        "/v1/batches",
        batches.create,
        "enqueue",
        Operation(
            tag="batches",
            body=Body(
                requests.BatchSchema,
                example={"jobs": [{"ref": "fetch", "type": "fetch"}, {"type": "parse", "dependsOn": ["fetch"]}]},
            ),
            replies={201: Reply(shown_more.NewBatchShown, "the new batch", ("Location",))},
            errors=(404, 409),
        ),
    ),
    Route(
        "GET",
        "/v1/batches",
        batches.list_batches,
        "read",
        Operation(tag="batches", query=queries.BatchesQuery, replies={200: Reply(shown_more.BatchPage)}),
    ),
    Route(
        "GET", "/v1/batches/{id}", batches.show, "read", Operation(tag="batches", replies={200: _BATCH}, errors=(404,))
    ),
    Route(
        "POST",
        "/v1/batches/{id}/jobs",
        batches.add_jobs,
        "enqueue",
        Operation(
            tag="batches",
            body=Body(requests.BatchAddSchema, example={"jobs": [{"type": "parse"}]}),
            replies={201: Reply(shown_more.AddedPage, "the new jobs")},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/seal",
        batches.seal,
        "enqueue",
        Operation(tag="batches", replies={200: _BATCH}, errors=(404, 409)),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/kill",
        batches.kill,
        "admin",
        Operation(
            tag="batches",
            body=Body(requests.KillSchema, optional=True, example={"reason": "a wrong import"}),
            replies={200: Reply(shown_more.KilledBatchShown)},
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/requeue",
        batches.requeue,
        "admin",
        Operation(tag="batches", replies={200: _BATCH}, errors=(404, 409)),
    ),
    Route(
        "GET",
        "/v1/queues",
        queues.list_queues,
        "read",
        Operation(tag="queues", query=queries.NamesQuery, replies={200: Reply(shown_more.QueuePage)}),
    ),
    Route(
        "GET",
        "/v1/queues/{queue}",
        queues.show,
        "read",
        Operation(tag="queues", replies={200: Reply(shown_more.QueueShown, headers=("ETag",))}),
    ),
    Route(
        "PUT",
        "/v1/queues/{queue}",
        queues.put,
        "admin",
        Operation(
            tag="queues",
            body=Body(requests.QueueSchema, example={"concurrency": 5, "rate": {"limit": 100, "per": 60}}),
            replies={200: _QUEUE},
            errors=(412,),
            headers=("If-Match",),
        ),
    ),
    Route(
        "PATCH",
        "/v1/queues/{queue}",
        queues.patch,
        "admin",
        Operation(
            tag="queues",
            body=Body(requests.QueuePatchSchema, example={"concurrency": None}),
            replies={200: _QUEUE},
            errors=(412,),
            headers=("If-Match",),
        ),
    ),
    Route(
        "DELETE",
        "/v1/queues/{queue}",
        queues.delete,
        "admin",
        Operation(
            tag="queues",
            query=queries.DeleteQueueQuery,
            replies={200: Reply(shown_more.DeletedQueueShown)},
            errors=(404, 409, 412),
            headers=("If-Match",),
        ),
    ),
    Route(
        "GET",
        "/v1/queues/{queue}/changes",
        queues.changes,
        "admin",
        Operation(tag="queues", query=queries.ChangesQuery, replies={200: Reply(shown_more.ChangePage)}),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/rotate-secret",
        queues.rotate_secret,
        "admin",
        Operation(
            tag="queues",
            body=Body(requests.RotateSchema, example={"type": "thumbnail"}),
            replies={200: _QUEUE},
            errors=(404, 409, 412),
            headers=("If-Match",),
        ),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/pause",
        queues.pause,
        "admin",
        Operation(tag="queues", replies={200: _QUEUE}, errors=(412,), headers=("If-Match",)),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/resume",
        queues.resume,
        "admin",
        Operation(tag="queues", replies={200: _QUEUE}, errors=(412,), headers=("If-Match",)),
    ),
    Route(
        "GET",
        "/v1/schedules",
        schedules.list_schedules,
        "read",
        Operation(tag="schedules", query=queries.NamesQuery, replies={200: Reply(shown_more.SchedulePage)}),
    ),
    Route(
        "GET",
        "/v1/schedules/{name}",
        schedules.show,
        "read",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404,)),
    ),
    Route(
        "PUT",
        "/v1/schedules/{name}",
        schedules.put,
        "admin",
        Operation(
            tag="schedules",
            body=Body(
                requests.ScheduleSchema,
                example={"cron": "0 6 * * *", "timezone": "Europe/Berlin", "job": {"type": "report"}},
            ),
            replies={200: _SCHEDULE, 201: Reply(shown_more.ScheduleShown, "the new schedule", ("ETag",))},
            errors=(412,),
            headers=("If-Match",),
        ),
    ),
    Route(
        "DELETE",
        "/v1/schedules/{name}",
        schedules.delete,
        "admin",
        Operation(tag="schedules", replies={204: _NOTHING}, errors=(404, 412), headers=("If-Match",)),
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/pause",
        schedules.pause,
        "admin",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404, 409, 412), headers=("If-Match",)),
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/resume",
        schedules.resume,
        "admin",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404, 409, 412), headers=("If-Match",)),
    ),
)
OPEN: Final = frozenset(route.path for route in ROUTES if route.role is None)
