"""Changes of jobs in their order, from any point that the database still remembers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.insight.event import INSERTED, PROGRESS, JobEvent, kind_of
from jobqueue.domain.jobs.states import State
from jobqueue.domain.text import cut
from jobqueue.store.documents import attributes
from jobqueue.store.mongo import connections
from jobqueue.store.mongo.database import is_passing, translated
from jobqueue.store.mongo.driver import OperationFailure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from jobqueue.store.mongo.database import Database

_LOOK_MS: Final = 500
_QUICK_MS: Final = 20
_MOST_CONNECTIONS: Final = 8
_LONGEST_MESSAGE: Final = 500


_WITH_ERROR: Final = frozenset({State.DELAYED, State.PENDING, State.FAILED, State.KILLED})


class HistoryLostError(Exception):
    """Tell that the database does not remember what happened since a point any more, or never knew it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStep:
    """How far a reader has come, with the change that is there, if there is one."""

    position: str
    event: JobEvent | None = None


class JobStream:
    """Opens streams of changes.

    Each of them looks up the job of a change as it is then, which costs the database a read for each: so there should
    be a stream only while somebody listens, and one for all who do.
    """

    def __init__(self, database: Database) -> None:
        self._streams = connections.StreamClient(database.url, database.name, "jobqueue-events", _MOST_CONNECTIONS)

    async def close(self) -> None:
        """Close the connections."""
        await self._streams.close()

    async def steps(self, after: str | None, *, quick: bool = False) -> AsyncGenerator[StreamStep, None]:
        """Yield changes after a position, or from now on; without end, with a bare position whenever none is there.

        Args:
            after: the position of a change or of a bare step.
            quick: ask often, as somebody who has to catch up.

        Raises:
            HistoryLostError: that position is not known any more.
            DatabaseUnavailableError: the database cannot be reached.
        """
        start: dict[str, Any] = {} if after is None else {"resume_after": {"_data": after}}
        wait = _QUICK_MS if quick else _LOOK_MS
        with translated():
            try:
                async with await self._streams.watch(
                    pipeline(), collection="jobs", full_document="updateLookup", max_await_time_ms=wait, **start
                ) as stream:
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
    """Keep the changes that are told, and of each job what is needed to know whom."""
    updated = "$updateDescription.updatedFields"
    told = [
        {"operationType": "insert"},
        {"operationType": "update", "updateDescription.updatedFields.state": {"$exists": True}},
        {"operationType": "update", "updateDescription.updatedFields.progress": {"$exists": True}},
        {"operationType": "replace", "fullDocument.state": {"$exists": True}},
    ]
    whole = {"$cond": [{"$eq": ["$operationType", "update"]}, None, "$fullDocument.state"]}
    kept = {
        "operationType": 1,
        "documentKey._id": 1,
        "wallTime": 1,
        "state": {"$ifNull": [f"{updated}.state", whole]},
        "progress": f"{updated}.progress",
        "error.kind": {"$ifNull": [f"{updated}.error.kind", "$fullDocument.error.kind"]},
        "error.message": {"$ifNull": [f"{updated}.error.message", "$fullDocument.error.message"]},
        "queue": "$fullDocument.queue",
        "type": {"$ifNull": ["$fullDocument.type", "$fullDocument.gone.type"]},
        "batchId": {"$ifNull": ["$fullDocument.batchId", "$fullDocument.gone.batchId"]},
        "attempt": {"$ifNull": ["$fullDocument.attemptsMade", "$fullDocument.gone.attemptsMade"]},
        # The attributes that are stored may be older than this.
        "meta": "$fullDocument.meta",
    }
    return [{"$match": {"$or": told}}, {"$project": kept}]


def _event(change: Mapping[str, Any]) -> JobEvent:
    told = change.get("state")
    state = State(told) if isinstance(told, str) and told in set(State) else None
    kind = INSERTED if change["operationType"] == "insert" else PROGRESS if state is None else kind_of(state)
    get = change.get
    moment = get("wallTime")
    return JobEvent(
        position=change["_id"]["_data"],
        kind=kind,
        at=moment if isinstance(moment, datetime) else datetime.fromtimestamp(0, UTC),
        job_id=str(change["documentKey"]["_id"]),
        state=State.PROCESSING if kind == PROGRESS else state,
        queue=_text(get("queue")),
        type=_text(get("type")),
        batch_id=None if get("batchId") is None else str(get("batchId")),
        attempt=_number(get("attempt")),
        progress=_number(get("progress")),
        error=_error(get("error")) if state in _WITH_ERROR else None,
        attrs=frozenset(attributes.derived(get("meta"))),
    )


def _error(given: Any) -> tuple[str, str] | None:
    if not isinstance(given, dict) or not isinstance(given.get("kind"), str):
        return None
    return given["kind"], cut(str(given.get("message", "")), _LONGEST_MESSAGE)


def _text(given: Any) -> str | None:
    return given if isinstance(given, str) else None


def _number(given: Any) -> Any:
    return given if isinstance(given, int | float) and not isinstance(given, bool) else None
