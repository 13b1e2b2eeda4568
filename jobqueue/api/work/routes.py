"""The routes of workers that poll."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Body, Operation, Reply, Route
from jobqueue.api.jobs import handlers as jobs
from jobqueue.api.schemas import requests, responses
from jobqueue.api.work import handlers as work

_SETTLED: Final = Reply(responses.SettledResponse, "what became of the job")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/jobs/{id}/heartbeat",
        work.heartbeat,
        "work",
        Operation(
            tag="work",
            body=Body(requests.HeartbeatSchema, example={"token": "9f2c", "progress": 40, "logs": ["half way"]}),
            replies={200: Reply(responses.BeatResponse)},
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
            replies={200: Reply(responses.ClaimedResponse, "a job to be run now"), 204: Reply(text="there is none")},
        ),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/parents/{parent}",
        jobs.parent,
        "work",
        Operation(tag="work", replies={200: Reply(responses.ParentResponse)}, errors=(404,)),
    ),
)
