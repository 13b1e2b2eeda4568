"""Changes of jobs in their order, from any position that the database still remembers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.insight.event import INSERTED, OF_RUNS, PROGRESS, SIGNAL, STEP, SUSPENDED, JobEvent, kind_of
from jobqueue.domain.text import cut
from jobqueue.store.documents import attributes
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.connections import StreamClient
from jobqueue.store.mongo.database import is_passing, translated
from jobqueue.store.mongo.driver import OperationFailure
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from jobqueue.store.mongo.database import Database

_LOOK_MS: Final = 500
_QUICK_MS: Final = 20
_MOST_CONNECTIONS: Final = 8
_STEPS_OF_ATTEMPT: Final = r"^history\.[0-9]+\.steps(\.[0-9]+)?$"
_LONGEST_MESSAGE: Final = 500
_WITH_ERROR: Final = frozenset({State.DELAYED, State.PENDING, State.FAILED, State.KILLED})


class HistoryLostError(Exception):
    """Tell that the database does not know the changes since a position: any more, or ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStep:
    """The position of a reader, with the change at it, if there is one."""

    position: str
    event: JobEvent | None = None


class JobStream:
    """Opens streams of changes.

    A stream reads the job of each change anew: so there should be a stream only while somebody listens, and one for
    all listeners.
    """

    def __init__(self, database: Database) -> None:
        self._streams = StreamClient(database.url, database.name, "jobqueue-events", _MOST_CONNECTIONS)

    async def close(self) -> None:
        """Close the connections."""
        await self._streams.close()

    async def steps(self, after: str | None, *, quick: bool = False) -> AsyncGenerator[StreamStep, None]:
        """Yield changes after a position, or from now on, without end; a step without a change says the position.

        Args:
            after: the position of a step.
            quick: ask often, for a reader that has to catch up.

        Raises:
            HistoryLostError: the position is not known any more.
            DatabaseUnavailableError: the database cannot be reached.
        """
        wait = _QUICK_MS if quick else _LOOK_MS
        options = {"full_document": "updateLookup", "max_await_time_ms": wait}
        with translated():
            try:
                async with await self._streams.watch_jobs(pipeline(), after, **options) as stream:
                    if after is None and (present := stream.resume_token) is not None:
                        # Nobody has to wait for a first change, or for the end of a first look.
                        yield StreamStep(position=present["_data"])
                    while True:
                        change = await stream.try_next()
                        token = stream.resume_token
                        if not stream.alive:
                            raise HistoryLostError("the stream has ended")
                        if token is None:
                            continue
                        event = None if change is None else _event(change)
                        yield StreamStep(position=token["_data"], event=event)
            except OperationFailure as error:
                if is_passing(error):
                    raise
                raise HistoryLostError(str(error)) from error


def pipeline() -> list[dict[str, Any]]:
    """Keep the changes that make events, and of each job the fields that events and their filters need."""
    updated = "$updateDescription.updatedFields"
    kinds = [
        {"operationType": "insert"},
        {"operationType": "update", "updateDescription.updatedFields.state": {"$exists": True}},
        {"operationType": "update", "updateDescription.updatedFields.progress": {"$exists": True}},
        {"operationType": "update", "updateDescription.updatedFields.signalAt": {"$exists": True}},
        {"operationType": "update", "$expr": {"$gt": [{"$size": _finished_step()}, 0]}},
        {"operationType": "replace", "fullDocument.state": {"$exists": True}},
    ]
    has_signal = {"$eq": [{"$type": f"{updated}.signalAt"}, "date"]}
    changes_little = {"$and": [{"$eq": ["$operationType", "update"]}, {"$not": [has_signal]}]}
    whole = {"$cond": [changes_little, None, "$fullDocument.state"]}
    kept = {
        "operationType": 1,
        "documentKey._id": 1,
        "wallTime": 1,
        "state": {"$ifNull": [f"{updated}.state", whole]},
        "progress": f"{updated}.progress",
        "hasSignal": has_signal,
        "step": {"$last": _finished_step()},
        "isSuspended": {"$eq": [{"$type": f"{updated}.wait"}, "object"]},
        "error.kind": {"$ifNull": [f"{updated}.error.kind", "$fullDocument.error.kind"]},
        "error.message": {"$ifNull": [f"{updated}.error.message", "$fullDocument.error.message"]},
        "queue": "$fullDocument.queue",
        "type": {"$ifNull": ["$fullDocument.type", "$fullDocument.gone.type"]},
        "batchId": {"$ifNull": ["$fullDocument.batchId", "$fullDocument.gone.batchId"]},
        "attempt": {"$ifNull": ["$fullDocument.attemptsMade", "$fullDocument.gone.attemptsMade"]},
        # The attributes that are stored may be older than this.
        "meta": "$fullDocument.meta",
    }
    return [{"$match": {"$or": kinds}}, {"$project": kept}]


def _finished_step() -> dict[str, Any]:
    """Return the name of the step that an update adds to those of its attempt, as a list of one, or an empty list.

    The name of a field, such as ``history.0.steps.1``, has its dots in it: so no path leads to it.
    """
    updated = {"$ifNull": ["$updateDescription.updatedFields", {}]}
    is_of_steps = {"$regexMatch": {"input": "$$this.k", "regex": _STEPS_OF_ATTEMPT}}
    added = {"$filter": {"input": {"$objectToArray": updated}, "cond": is_of_steps}}
    name = {"$cond": [{"$isArray": "$$this.v"}, {"$last": "$$this.v"}, "$$this.v"]}
    return {"$map": {"input": added, "in": name}}


def _kind(change: Mapping[str, Any], state: State | None) -> str:
    if change["operationType"] == "insert":
        return INSERTED
    if change.get("hasSignal"):
        return SIGNAL
    if state is None:
        return PROGRESS if change.get("step") is None else STEP
    return SUSPENDED if state is State.DELAYED and change.get("isSuspended") else kind_of(state)


def _event(change: Mapping[str, Any]) -> JobEvent:
    get = change.get
    name = typed(str, get("state"))
    state = State(name) if name in set(State) else None
    kind = _kind(change, state)
    return JobEvent(
        position=change["_id"]["_data"],
        kind=kind,
        at=typed(datetime, get("wallTime")) or EPOCH,
        job_id=str(change["documentKey"]["_id"]),
        state=State.PROCESSING if kind in OF_RUNS else state,
        queue=typed(str, get("queue")),
        type=typed(str, get("type")),
        batch_id=None if get("batchId") is None else str(get("batchId")),
        attempt=_number(get("attempt")),
        progress=_number(get("progress")),
        error=_error(get("error")) if state in _WITH_ERROR else None,
        attrs=frozenset(attributes.derived(get("meta"))),
        step=typed(str, get("step")) if kind == STEP else None,
    )


def _error(error: Any) -> tuple[str, str] | None:
    if not isinstance(error, dict) or not isinstance(error.get("kind"), str):
        return None
    return error["kind"], cut(str(error.get("message", "")), _LONGEST_MESSAGE)


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
