"""Errors of calls over HTTP: the problems that the server names, as errors of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain import errors
from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.work.drain import WorkerDrainedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BAD_GATEWAY: Final = 502
_GATEWAY_TIMEOUT: Final = 504
_FIRST_REFUSAL: Final = 400
_LONGEST_TEXT: Final = 300


class ServerUnreachableError(JobQueueError):
    """Report that a call got no answer in time: nobody knows whether the server has carried it out.

    A call that would add something twice if it were repeated, such as `add`, may be repeated only under a ``key``.
    """

    slug = "server-unreachable"


class UnauthorizedError(JobQueueError):
    """Report that the server takes no call without a valid token, or without another one than this."""

    slug = "unauthorized"


class UnexpectedReplyError(JobQueueError):
    """Report a reply that is none of the API, such as one of a proxy, or of another version.

    Attributes:
        status: of HTTP.
    """

    slug = "unexpected-reply"

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


_OF_STATUS: Final[Mapping[int, type[JobQueueError]]] = {
    400: errors.InvalidInputError,
    401: UnauthorizedError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    412: errors.ChangedMeanwhileError,
    413: errors.TooLargeError,
    422: errors.InvalidInputError,
    429: errors.BusyError,
    503: errors.NotReadyError,
}
_ATTRIBUTES: Final[Mapping[type[JobQueueError], Mapping[str, Any]]] = {
    errors.NotFoundError: {"kind": "", "name": ""},
    errors.KeyConflictError: {"queue": "", "key": "", "job_id": ""},
    errors.StaleTokenError: {"job_id": "", "state": ""},
    errors.WrongStateError: {"job_id": "", "state": "", "verb": ""},
    errors.OlderWorkersError: {"queue": "", "workers": ()},
    errors.UnfinishedJobsError: {"queue": "", "count": 0},
    errors.ChangedMeanwhileError: {"kind": "", "name": ""},
    errors.TooLargeError: {"field": "", "size": 0, "limit": 0},
    errors.OneAtATimeError: {"seconds": 0.0},
    errors.NotReadyError: {"cause": ""},
    WorkerDrainedError: {"name": ""},
}
"""Attributes of errors, with the values where the problem does not tell."""


def of_problem(status: int, problem: Any, where: str) -> JobQueueError:
    """Return the error of a reply with a problem.

    Args:
        status: of the reply.
        problem: its JSON, or its text.
        where: the request, for messages.
    """
    if not isinstance(problem, dict) or not isinstance(problem.get("detail"), str):
        return _unknown(status, problem, where)
    slug = str(problem.get("type", "")).rpartition("/")[2]
    kind = _OF_SLUG.get(slug) or _OF_STATUS.get(status)
    if kind is None:
        return UnexpectedReplyError(status, f"{where}: {problem['detail']} (status {status})")
    error = kind.__new__(kind, problem["detail"])
    told = {_snake(name): value for name, value in problem.items()}
    for owner, attributes in _ATTRIBUTES.items():
        for name, value in attributes.items() if isinstance(error, owner) else ():
            setattr(error, name, told.get(name) or value)
    if isinstance(error, errors.InvalidInputError):
        error.problems = _paths(problem.get("errors")) or {"body": [problem["detail"]]}
    return error


def _unknown(status: int, body: Any, where: str) -> JobQueueError:
    text = " ".join(str(body).split())[:_LONGEST_TEXT]
    if status in {_BAD_GATEWAY, _GATEWAY_TIMEOUT}:
        return ServerUnreachableError(f"{where}: a proxy answers with status {status}: {text}")
    if status == 401:  # noqa: PLR2004 - also by a proxy
        return UnauthorizedError(f"{where}: {text or 'no valid token'}")
    what = "redirects" if status < _FIRST_REFUSAL else "answers with no problem of the API"
    return UnexpectedReplyError(status, f"{where}: the server {what}, status {status}: {text}")


def _paths(value: Any) -> errors.Problems:
    """Return the messages of a problem by their paths."""
    if not isinstance(value, dict):
        return {}
    return {str(path): [str(text) for text in texts] for path, texts in value.items() if isinstance(texts, list)}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _kinds(kind: type[JobQueueError]) -> Iterator[type[JobQueueError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _kinds(inner)


_OF_SLUG: Final = {kind.slug: kind for kind in reversed([*_kinds(JobQueueError)]) if kind is not JobQueueError}
"""The classes by their slugs; one that has the slug of its base comes back as the base."""
