"""Fill a database with finished jobs, as a history of years would: one user owns a tenth of them.

They are written straight into the collection, without being run, in the order of their age. In an empty database the
indexes are made afterwards and all at once, which is much quicker: the server reads the jobs once for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from pymongo import IndexModel, MongoClient, WriteConcern

from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.store import indexes
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[[int, int, datetime], dict[str, Any]]

OWNER: Final = 7
"""The ``meta.user_id`` of who owns a tenth."""
OTHERS: Final = 10_000
QUEUES: Final = ("default", "media", "mail", "imports", "billing")
TYPES: Final = tuple(f"type{number}" for number in range(10))
BATCH_SIZE: Final = 500
STATES: Final = ("success",) * 90 + ("failed",) * 8 + ("killed",) * 2
_AT_ONCE: Final = 5_000
_SHOW_SECONDS: Final = 0.5
_FILLED: Final = QueueConfig()
_ERRORS: Final = (("TimeoutError", "no answer from {} within 30 s"), ("ValueError", "row {} has no price"))


def job(number: int, count: int, now: datetime) -> dict[str, Any]:
    """Return one document; number 0 is the oldest."""
    inserted = now - timedelta(seconds=(count - number) * 30)
    new = NewJob(
        queue=QUEUES[number % 7 % len(QUEUES)],
        type=TYPES[number % 11 % len(TYPES)],
        data={"n": number, "src": f"file-{number}.png", "options": {"width": number % 1000, "deep": [1, 2, 3]}},
        meta={"user_id": OWNER if number % 10 == 0 else 100 + number % OTHERS, "city": f"c{number % 97}"},
    )
    state = STATES[number * 7919 % 10_007 % len(STATES)]
    kind, message = _ERRORS[number % len(_ERRORS)]
    error = None if state == "success" else {"kind": kind, "message": message.format(number)}
    ended = inserted + timedelta(seconds=number % 300)
    entry = {
        "attempt": 1,
        "token": f"{number:032x}",
        "worker": f"host:{number % 20}",
        "startAt": inserted,
        "endAt": ended,
        "outcome": {"success": "success", "failed": "fail", "killed": "die"}[state],
        "error": error,
        "code": None,
    }
    made = documents.new_document(
        _FILLED.fill(new),
        job_id=str(ObjectId()),
        now=inserted,
        batch_id=f"{number // (BATCH_SIZE * 4) + 1:024x}" if number % 4 == 0 else None,
    )
    return made | {
        "state": state,
        "startAt": inserted,
        "endAt": ended,
        "attemptsMade": 1,
        "progress": 100 if state == "success" else 0,
        "result": {"width": number % 1000} if state == "success" else None,
        "error": error,
        "history": [entry],
        "logs": [{"t": ended, "m": f"line of job {number}", "attempt": 1}],
        "logCount": 1,
    }


def jobs(count: int, make: Make = job) -> Iterator[dict[str, Any]]:
    """Yield the documents, the oldest first."""
    now = datetime.now(UTC)
    return (make(number, count, now) for number in range(count))


def generate(url: str, name: str, count: int, make: Make = job) -> dict[str, Any]:
    """Write the jobs, then make the indexes; return how many seconds each took."""
    begun = time.perf_counter()
    with MongoClient[dict[str, Any]](url, tz_aware=True) as client, ThreadPoolExecutor(1) as thread:
        # What is lost when the server crashes can be made again.
        collection = client[name].get_collection("jobs", write_concern=WriteConcern(1, j=False))
        made, done = jobs(count, make), 0
        writing: Future[Any] | None = None
        while batch := list(itertools.islice(made, _AT_ONCE)):
            if writing is not None:
                writing.result()
            # The server writes a part while this process makes the next one.
            writing = thread.submit(collection.insert_many, batch, ordered=False)
            done += len(batch)
            _show(f"{done:,} of {count:,} jobs")
        if writing is not None:
            writing.result()
        written = time.perf_counter()
        building = thread.submit(_make_indexes, client, name)
        while not building.done():
            _show(_progress(client))
            wait([building], timeout=_SHOW_SECONDS)
        building.result()

    async def ensure() -> None:
        database = await Database.connect(url, name, prepare=indexes.ensure)
        await database.close()

    asyncio.run(ensure())
    indexed = time.perf_counter() - written
    print(file=sys.stderr)
    return {"jobs": count, "owner": OWNER, "write s": round(written - begun, 1), "index s": round(indexed, 1)}


def _make_indexes(client: MongoClient[dict[str, Any]], name: str) -> None:
    """Make all indexes of the jobs in one command."""
    declared = [index for index in indexes.DECLARED if index.collection == "jobs"]
    models = [IndexModel(list(index.keys), name=index.name, **index.options) for index in declared]
    client[name]["jobs"].create_indexes(models)


def _progress(client: MongoClient[dict[str, Any]]) -> str:
    """Return what the server tells of the indexes that it makes."""
    building: list[dict[str, Any]] = [{"$currentOp": {}}, {"$match": {"msg": {"$regex": "^Index Build"}}}]
    told = [str(one["msg"]) for one in client["admin"].aggregate(building)]
    return told[0] if told else "indexes"


def _show(text: str) -> None:
    print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Fill the database that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mongo-url", required=True, help="the MongoDB to write to")
    parser.add_argument("--db", required=True, help="the database to fill; it need not exist")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="how many")
    options = parser.parse_args()
    print(json.dumps(generate(options.mongo_url, options.db, options.jobs)))


if __name__ == "__main__":
    main()
