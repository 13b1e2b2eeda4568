"""The configuration of a queue as keyword arguments, so that type checkers find misspelt names and wrong values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

from jobqueue.domain.attempts.backoff import ExponentialBackoff, FixedBackoff, SteppedBackoff
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.json_form import camel
from jobqueue.domain.unknown import unknown_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.attempts.backoff import Backoff


class QueueOptions(TypedDict, total=False):
    """The configuration of a queue; ``None`` gives the default. Objects have the names of the API."""

    paused: bool | None
    concurrency: int | None
    rate: Mapping[str, float] | None
    limit_by: str | None
    attempts: int | None
    backoff: Backoff | float | Sequence[float] | Mapping[str, Any] | None
    lease: float | None
    timeout: float | None
    start_before: float | None
    priority: int | None
    on_success_delete: bool | None
    processors: Mapping[str, Mapping[str, Any] | None] | None
    retention: Mapping[str, float | None] | None
    breaker: Mapping[str, Any] | None
    max_retries: int | None
    check: bool | None
    pause_reason: str | None


def queue_changes(options: QueueOptions) -> dict[str, Any]:
    """Return the configuration of a queue as JSON.

    Raises:
        InvalidInputError: naming each unknown option.
    """
    given_options = cast("Mapping[str, Any]", options)
    if unknown := unknown_names(given_options, QueueOptions.__optional_keys__, noun="option"):
        raise InvalidInputError(unknown)
    return {camel(name): _plain(value) for name, value in given_options.items()}


def _plain(value: Any) -> Any:
    return value.wire() if isinstance(value, FixedBackoff | SteppedBackoff | ExponentialBackoff) else value
