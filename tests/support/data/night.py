"""The morning after a bad night: 2,000 jobs, 300 of which failed in four ways, and what else went wrong."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule, SkippedTick
from jobqueue.store.documents import documents
from jobqueue.store.work.workers import Registration
from tests.support.data.factories import add, claim

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

JOBS: Final = 2_000
TRACE: Final = """Traceback (most recent call last):
  File "/srv/app/imports/customers.py", line 112, in import_customers
    record = normalise(row)
  File "/srv/app/imports/normalise.py", line 37, in normalise
    return {"vat": row["vat_id"]}
KeyError: 'vat_id'
"""
KEY: Final = ("import_customers", "imports", "failed", 140, "KeyError", "'vat_id'", TRACE)
CONNECTION: Final = (
    *("render_invoice", "billing", "failed", 90, "ConnectionError"),
    "Cannot connect to host pdf.internal.example:8443 ssl:default [Connect call failed ('10.3.0.17', 8443)]",
    None,
)
TIMEOUT: Final = (
    "scrape_catalogue",
    "scraping",
    "failed",
    60,
    "timeout",
    "it ran longer than its timeout of 300 s",
    None,
)
QUOTA: Final = (
    *("provision", "default", "killed", 10, "QuotaExceeded"),
    "project acme-{n} has used 500 of its 500 cores in region eu-west-3, and the request for 16 more was refused",
    None,
)
KINDS: Final = (KEY, CONNECTION, TIMEOUT, QUOTA)
ENDLESS: Final = "render-7.example.org:4242:9f8e7d"
SILENT: Final = ("import-1.example.org:311:0a1b2c", "scrape-3.example.org:77:3d4e5f")


class Night:
    """The ids of jobs of the night."""

    holder: str
    key_holder: str


async def fall(runtime: Runtime) -> Night:
    """Write the documents of the night, the last of which is an hour old at most."""
    night = Night()
    now = await runtime.database.clock.now()
    numbers = random.Random(7)  # noqa: S311 - the same night each time
    made: list[dict[str, Any]] = []

    def job(kind: str, queue: str, state: str, minutes: float, **more: Any) -> str:
        at = now - timedelta(minutes=minutes)
        meta = {"user_id": len(made) % 9}
        new = NewJob(type=kind, queue=queue, data={"n": len(made)}, meta=meta, priority=0, attempts=3, lease=60.0)
        document = documents.new_document(new, job_id=str(ObjectId()), now=at)
        made.append({**document, "state": state, **more})
        return str(document["_id"])

    for kind, queue, state, count, error_kind, message, trace in KINDS:
        for _ in range(count):
            minutes = numbers.uniform(2, 55)
            error = {"kind": error_kind, "message": message.replace("{n}", str(numbers.randrange(100, 999)))}
            error |= {"trace": trace} if trace else {}
            mark = fingerprint(kind, JobError(**error))
            ended = {"startAt": _ago(now, minutes), "endAt": _ago(now, minutes - 1)}
            job(kind, queue, state, minutes, attemptsMade=3, error=error, fingerprint=mark, **ended)
    night.holder = await _hold(runtime, now)
    for _ in range(40):
        job("thumbnail", "media", "pending", numbers.uniform(60, 290))
    night.key_holder = job("billing_report", "reports", "pending", 60 * 25, key="billing-report")
    for _ in range(JOBS - 1 - len(made)):
        minutes = numbers.uniform(60, 600)
        kind, queue = numbers.choice(((*KEY[:2],), (*CONNECTION[:2],), (*TIMEOUT[:2],), (*QUOTA[:2],)))
        ended = {"startAt": _ago(now, minutes), "endAt": _ago(now, minutes - 1)}
        job(kind, queue, "success", minutes, attemptsMade=1, progress=100, **ended)
    await runtime.jobs.collection.insert_many(made, ordered=False)
    await _workers(runtime, now)
    await _schedules(runtime, now, night)
    return night


async def _hold(runtime: Runtime, now: datetime) -> str:
    """Claim a job that never ends, in a queue with one slot; return its id."""
    await runtime.queues.patch("media", {"concurrency": 1})
    added = await add(runtime, "transcode", queue="media")
    await claim(runtime, "media", ENDLESS)
    long_since = {"insertAt": _ago(now, 310), "startAt": _ago(now, 300), "resetAt": now + timedelta(hours=1)}
    under_way = {"$set": {**long_since, "progress": 40, "claim.step": "encode"}}
    await runtime.jobs.collection.update_one({"_id": ObjectId(added.id)}, under_way)
    return added.id


async def _workers(runtime: Runtime, now: datetime) -> None:
    store = runtime.registry._store
    served = {
        ENDLESS: [Registration(queue="media", types=("transcode", "thumbnail"))],
        SILENT[0]: [Registration(queue="imports", types=("import_customers",))],
        SILENT[1]: [Registration(queue="scraping", types=("scrape_catalogue", "scrape_prices"))],
        "reports-1.example.org:5:aabbcc": [Registration(queue="reports", types=("billing_report",))],
    }
    for name, posts in served.items():
        host, pid, _ = name.split(":")
        await store.sign({name: posts}, process=name, about={"host": host, "pid": int(pid), "version": "1"})
    for name, minutes in zip(SILENT, (47, 190), strict=True):
        await store.collection.update_one({"_id": name}, {"$set": {"at": _ago(now, minutes)}})
    # The others live for the time of a test.
    living = {"_id": {"$nin": list(SILENT)}}
    await store.collection.update_many(living, {"$set": {"at": now + timedelta(seconds=20)}})


async def _schedules(runtime: Runtime, now: datetime, night: Night) -> None:
    for name, every in (("cleanup", 3600.0), ("nightly-billing-report", 86_400.0)):
        schedule = Schedule(
            name=name, job=NewJob(type="billing_report", queue="reports"), recurrence=Every(seconds=every)
        )
        stored, _ = await runtime.schedules.put(schedule)
        if name == "cleanup":
            continue
        reason = f"job {night.key_holder} has the key 'billing-report' in queue reports"
        skipped = SkippedTick(at=_ago(now, 270), reason=reason)
        await runtime.schedules.store.advance(stored, now + timedelta(hours=20), skipped)


def _ago(now: datetime, minutes: float) -> datetime:
    return now - timedelta(minutes=minutes)
