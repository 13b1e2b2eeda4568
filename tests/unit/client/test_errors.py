"""Errors of this package go over HTTP and come back as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from jobqueue.api.http.problems import of_error
from jobqueue.client.errors import ServerUnreachableError, UnauthorizedError, UnexpectedReplyError, of_problem
from jobqueue.domain import errors
from jobqueue.domain.work.drain import WorkerDrainedError

if TYPE_CHECKING:
    from jobqueue.domain.errors import JobQueueError

JOB = "0123456789abcdef01234567"
ERRORS: list[JobQueueError] = [
    errors.InvalidInputError({"jobs.3.data": ["is odd", "is wrong"], "key": ["is empty"]}),
    errors.TooCostlyError({"filter": ["looks at too many jobs"]}),
    errors.TooSlowError({"filter": ["takes too long"]}),
    errors.KeyConflictError("media", "a key", JOB),
    errors.NotFoundError("schedule", "nightly"),
    errors.StaleTokenError(JOB, "delayed"),
    errors.WrongStateError(JOB, "killed", "killed"),
    errors.ConflictError("the batch is sealed"),
    errors.InFlightError(),
    WorkerDrainedError("w1"),
    errors.ForbiddenError("the token lacks the role admin"),
    errors.BusyError("too many searches"),
    errors.NotReadyError("there is no primary"),
]


def problem(error: JobQueueError) -> tuple[int, Any]:
    response = of_error(error).response()
    assert isinstance(response.body, bytes)
    return response.status, orjson.loads(response.body)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_as_it_was(error: JobQueueError) -> None:
    back = of_problem(*problem(error), "GET /")
    assert (type(back), str(back)) == (type(error), str(error))
    # The verb is in the message only.
    assert {name: value for name, value in vars(back).items() if name != "verb"} == {
        name: value for name, value in vars(error).items() if name != "verb"
    }


@pytest.mark.parametrize(
    "error", [errors.DatabaseUnavailableError("db1:27017 is gone"), errors.TooLargeError("data", 9, 8)]
)
def test_an_error_whose_details_stay_with_the_server_has_its_class(error: JobQueueError) -> None:
    assert type(of_problem(*problem(error), "GET /")) is type(error)


def test_replies_that_are_no_problems_say_what_they_are() -> None:
    where = "GET http://here/v1/jobs"
    html = "<html>\n<body>It works!</body></html>"
    for status, body, kind, said in (
        (401, {"type": "/problems/unauthorized", "detail": "send a token"}, UnauthorizedError, "send a token"),
        (401, "no", UnauthorizedError, "no"),
        (502, html, ServerUnreachableError, "a proxy answers with status 502: <html> <body>It works!"),
        (404, html, UnexpectedReplyError, f"{where}: the server answers with no problem of the API, status 404"),
        (302, "", UnexpectedReplyError, "redirects, status 302"),
        (418, {"type": "/problems/odd", "detail": "a teapot"}, UnexpectedReplyError, "a teapot (status 418)"),
        (422, {"type": "/problems/odd", "detail": "wrong"}, errors.InvalidInputError, "wrong"),
    ):
        error = of_problem(status, body, where)
        assert type(error) is kind
        assert said in str(error)
    assert of_problem(422, {"type": "x", "detail": "wrong"}, where).problems == {"body": ["wrong"]}  # type: ignore[attr-defined]
