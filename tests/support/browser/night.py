"""A night of a company that sells online, for pages and pictures: jobs of many kinds, some failed, over hours."""

from __future__ import annotations

import asyncio
import fcntl
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import bson
from pymongo import MongoClient

from jobqueue import Die, Member, NewBatch, NewJob
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.work.verdict import Failure
from jobqueue.store.mongo.moved_clock import Lead
from jobqueue.testing.queue import QueueForTests

if TYPE_CHECKING:
    from pathlib import Path

    from jobqueue.processors.callbacks.callback import ActiveJob
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

HOURS: Final = 20
ANN: Final = Actor(name="ann", via="http", address="10.0.0.7")
JONAS: Final = Actor(name="jonas", via="cli", address="host-01")
_SUPPLIERS: Final = (("Nordhandel", "DE"), ("Vallée", "FR"), ("Ostwind", "AT"), ("Käsehaus", "CH"))
HOSTILE: Final = "<img src=x onerror=pwned()>'\"<script>pwned()</script>{{7*7}}"
TURNED: Final = f"{HOSTILE}\u202eevil\u2066"
_WORKER: Final = "host-03:7741:a81c02"


@dataclass(slots=True)
class Night:
    """Ids of what is there, by name."""

    jobs: dict[str, str] = field(default_factory=dict)
    batches: dict[str, str] = field(default_factory=dict)
    operations: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    workers: dict[str, str] = field(default_factory=dict)


async def play(settings: Settings) -> Night:
    """Play the night in an empty database; it ends now."""
    queue = _Queue(settings)
    try:
        return await _Play(queue).run()
    finally:
        await queue.close()


def played_once(settings: Settings, directory: Path) -> Night:
    """Play the night in an empty database, or copy what another process of the same directory has played."""
    kept = directory / "night.bson"
    with (directory / "night.lock").open("w") as lock, MongoClient[dict[str, Any]](settings.mongo_url) as client:
        fcntl.flock(lock, fcntl.LOCK_EX)
        database = client[settings.db]
        if kept.exists():
            found = bson.decode(kept.read_bytes())
            for name, documents in found["documents"].items():
                database[name].insert_many(documents)
            return Night(**found["night"])
        night = asyncio.run(play(settings))
        documents = {name: list(database[name].find()) for name in database.list_collection_names()}
        filled = {name: there for name, there in documents.items() if there}
        kept.write_bytes(bson.encode({"night": asdict(night), "documents": filled}))
        return night


class _Queue(QueueForTests):
    """A queue whose clock begins in the past."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, lambda: ())
        self._lead = Lead(-timedelta(hours=HOURS))


class _Play:
    def __init__(self, queue: _Queue) -> None:
        self.queue = queue
        self.night = Night()

    async def run(self) -> Night:
        runtime = await self.queue.open()
        await self._configure(runtime)
        self._handle()
        await self._import_with_a_past(runtime)
        for hour in range(1, HOURS):
            await self._hour(hour)
        await self._batch()
        await self._drain(minutes=20)
        await self.queue.drain(datetime.now(UTC) - timedelta(minutes=2), raises=False)
        await self._ask()
        await self._drain()
        await self._present(runtime)
        return self.night

    async def _drain(self, **until: float) -> None:
        await self.queue.drain(timedelta(**until) if until else None, raises=False, due_only=not until)

    async def _configure(self, runtime: Runtime) -> None:
        put = self.queue.configure
        await put("imports", concurrency=20, timeout=1800, attempts=3, backoff=[60, 600])
        await put("billing", breaker={"failures": 5, "cooldown": 3600, "per": "type"}, attempts=2, backoff=[30])
        await put("mail", rate={"limit": 5, "per": 60}, limit_by="meta.customer_id")
        await put("media", concurrency=4)
        await put("reports")
        await self.queue.put_schedule(
            "nightly-report", NewJob(type="report", queue="reports"), cron="30 2 * * 1-5", timezone="Europe/Berlin"
        )
        await self.queue.put_schedule("prices", NewJob(type="prices", queue="imports"), every=3600)
        await runtime.configs.refresh()

    def _handle(self) -> None:
        handler = self.queue.handler
        handler("import-csv", queue="imports")(_import)
        handler("list", queue="imports")(_done)
        handler("merge", queue="imports")(_done)
        handler("notify", queue="imports")(_done)
        handler("prices", queue="imports")(_done)
        handler("charge", queue="billing")(_charge)
        handler("refund", queue="billing")(_refund)
        handler("invoice", queue="mail")(_invoice)
        handler("report", queue="reports")(_done)

    async def _import_with_a_past(self, runtime: Runtime) -> None:
        """Import a file that fails, is repaired by two people, and fails again hours later."""
        data = {
            "source": "s3://einkauf/2026-11/preise_nord.csv",
            "country": "DE",
            "decimal": ".",
            "rows": 2412,
            "revision": 90071992547409931,
            "columns": {"sku": 0, "preis": 4, "ust_satz": 6},
            "approve": True,
            "bad": [1204, "19,0"],
        }
        meta = {"supplier": "Nordhandel", "customer_id": 42, "region": "DE", "ticket": "OPS-2211"}
        job = await self.queue.add("import-csv", data, queue="imports", meta=meta, key="preise-nord", priority=5)
        self.night.jobs["past"] = job.id
        await self._drain(minutes=1)
        await self.queue.signal(job.id, "approved", {"ok": True, "by": "mireille"})
        await self._drain(minutes=40)
        await self._drain(hours=3)
        await runtime.manager.requeue(job.id, {"data": {**data, "decimal": ",", "bad": [1377, "7,0 %"]}}, by=JONAS)
        await self._drain(minutes=20)

    async def _hour(self, hour: int) -> None:
        add = self.queue.add
        for number in range(4):
            supplier, country = _SUPPLIERS[(hour + number) % 4]
            bad = [100 * hour + number, "19,0"] if country == "DE" and hour > HOURS // 2 else None
            data = {"source": f"s3://einkauf/{hour}/{supplier}.csv", "country": country, "rows": 40 * hour, "bad": bad}
            meta = {"supplier": supplier, "customer_id": 40 + number, "region": country}
            await add("import-csv", data, queue="imports", meta=meta)
        for number in range(3):
            customer = 40 + (hour + number) % 7
            order = 8000 + 10 * hour + number
            broken = hour == HOURS - 1 or number == hour % 5
            await add(
                "charge",
                {"order": order, "cents": 1990 + order, "broken": broken},
                queue="billing",
                meta={"customer_id": customer},
            )
            await add("invoice", {"order": order}, queue="mail", meta={"customer_id": customer})
        if hour == HOURS // 2:
            await add("invoice", {"order": None}, queue="mail", meta={"customer_id": 41})
        await self._drain(minutes=45)

    async def _batch(self) -> None:
        members = [Member(job=NewJob(type="list", queue="imports"), ref="list")]
        for number in range(8):
            supplier, country = _SUPPLIERS[number % 4]
            bad = [31, "7,0 %"] if number == 4 else None
            job = NewJob(
                type="import-csv", queue="imports", attempts=1, data={"country": country, "rows": 9, "bad": bad}
            )
            members.append(Member(job=job, ref=f"{supplier}-{number}", after=("list",)))
        refs = tuple(str(member.ref) for member in members[1:])
        members.append(Member(job=NewJob(type="merge", queue="imports"), ref="merge", after=refs))
        members.append(Member(job=NewJob(type="report", queue="reports"), ref="report", after=("merge",)))
        batch = NewBatch(
            members=tuple(members),
            meta={"name": "nightly-import", "customer_id": 42},
            on_failure=NewJob(type="notify", queue="imports"),
        )
        view, _ = await self.queue.add_batch(batch)
        self.night.batches["nightly"] = view.batch.id

    async def _ask(self) -> None:
        for cents, customer in ((184_000, 42), (2_990, 44)):
            data = {"order": customer * 100, "cents": cents}
            job = await self.queue.add("refund", data, queue="billing", meta={"customer_id": customer})
            self.night.jobs.setdefault("question", job.id)

    async def _present(self, runtime: Runtime) -> None:
        add, work = self.queue.add, runtime.work
        for number in range(12):
            await add("thumbnail", {"src": f"{number}.png"}, queue="media", meta={"customer_id": 40 + number % 5})
        await add("report", {"month": "2026-11"}, queue="reports", delay=7200)
        for number in range(2):
            data = {"source": f"s3://einkauf/now/{number}.csv", "rows": 90_000}
            job = await add("import-csv", data, queue="imports", meta={"supplier": "Vallée", "region": "FR"})
            claimed = await work.claim("imports", ("import-csv",), worker=_WORKER, lease=86_400)
            assert claimed is not None
            assert claimed.job.id == job.id
            lines = [(f"{rows:,} rows ok", "info") for rows in range(500, 4000, 500)]
            await work.report(claimed.job, claimed.token, progress=35 + number, lines=lines)
            self.night.jobs.setdefault("running", job.id)
        self.night.workers = {"polling": "poll-1", "drained": "poll-2"}
        for name in self.night.workers.values():
            runtime.registry.heard(name, "imports", ("import-xml",))
        await runtime.registry.run_once()
        await runtime.drains.drain("poll-2", by=ANN)
        await self._hostile(runtime)
        await self._operation(runtime)
        reason = f"until the disk is replaced {HOSTILE}"
        await runtime.queues.set_paused("media", paused=True, reason=reason, by=ANN)
        token, _ = await runtime.access.create(roles=["read"], name="jonas", by=ANN)
        self.night.tokens["jonas"] = token.id
        while await runtime.roller.run_once() is not None:
            pass
        await runtime.failures.run_once()
        self.night.failures = [group.fingerprint async for group in self.queue.failures()]

    async def _hostile(self, runtime: Runtime) -> None:
        """Leave a job that has what a browser would run, break or turn around, wherever a text can be."""
        data = {
            "html": HOSTILE,
            HOSTILE: 1,
            "link": "javascript:pwned()",
            "long": "x" * 20_000,
            "deep": [[[[{"a": 1}]]]],
        }
        meta = {"note": TURNED, "link": "javascript:pwned()"}
        job = await self.queue.add(HOSTILE, data, queue="hostile", meta=meta, key=HOSTILE, attempts=2, backoff=0)
        for _ in range(2):
            claimed = await runtime.work.claim("hostile", None, worker=HOSTILE)
            assert claimed is not None
            await runtime.work.report(claimed.job, claimed.token, lines=[(TURNED, "error"), ("y" * 9_000, None)])
            error = JobError(kind=HOSTILE, message=TURNED, trace=f"{TURNED}\n" * 50)
            await runtime.work.settle(claimed.job, claimed.token, Failure(error=error))
            await self._drain()
        self.night.jobs["hostile"] = job.id

    async def _operation(self, runtime: Runtime) -> None:
        operation = await self.queue.requeue_many({"type": "invoice", "state": "killed"})
        self.night.operations["requeue"] = operation.id
        while await runtime.operations.run_once() is not None:
            pass


async def _import(job: ActiveJob) -> dict[str, Any]:
    rows = await job.step("download", lambda: job.data["rows"])
    await job.log(f"{rows:,} rows, decimal “{job.data.get('decimal', '.')}”", "info")
    if job.data.get("approve"):
        await job.signal("approved", timeout=86_400)
    await job.step("validate", _validate, job.data.get("bad"))
    await job.log("all rows ok", "info")
    return {"rows": rows, "inserted": rows - 3}


def _validate(bad: list[Any] | None) -> int:
    if bad is not None:
        row, text = bad
        try:
            Decimal(text)
        except ArithmeticError as error:
            raise ValueError(f"column ust_satz, row {row}: “{text}” is not a number") from error
    return 0


async def _charge(job: ActiveJob) -> dict[str, Any]:
    await job.log(f"POST https://pay.example/charges order {job.data['order']}", "info")
    if job.data["broken"]:
        await job.log("502 Bad Gateway", "error")
        raise ConnectionError(f"pay.example answered 502 for order {job.data['order']}")
    return {"charge": f"ch_{job.data['order']}"}


async def _refund(job: ActiveJob) -> Any:
    title = f"Refund {job.data['cents'] / 100:,.2f} EUR of order {job.data['order']}?"
    await job.log(title, "info")
    return await job.signal("decided", timeout=86_400)


async def _invoice(job: ActiveJob) -> dict[str, Any]:
    if job.data["order"] is None:
        raise Die("an invoice needs an order")
    return {"number": f"R-{job.data['order']}"}


async def _done(job: ActiveJob) -> dict[str, Any]:
    await job.log("done", "info")
    return {"ok": True}
