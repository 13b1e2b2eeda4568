"""Checks of `doctor`."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from jobqueue.cli.process import session
from jobqueue.domain.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    JobQueueError,
    MongodNotFoundError,
    NoDatabaseError,
    SettingsError,
)
from jobqueue.domain.jobs.job import NewJob
from jobqueue.settings import Settings, mask_url
from jobqueue.store import indexes
from jobqueue.store.embedded.lifecycle import EmbeddedMongo
from jobqueue.store.embedded.mongod_binary import find_mongod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.services.application import Runtime
    from jobqueue.store.insight.wakeup_stream import WakeupEvent

_MOST_SKEW: Final = 2.0
_STREAM_SECONDS: Final = 10.0
_PROBE: Final = NewJob(type="doctor", queue="doctor", delay=86_400)


class Finding(NamedTuple):
    """Result of one check.

    Attributes:
        verdict: ``ok``, ``warn`` or ``FAIL``.
        detail: the state, and the remedy of a fault.
    """

    check: str
    verdict: str
    detail: str


def examine(flags: Mapping[str, object]) -> list[Finding]:
    """Run every check that the checks before allow; faults are returned, never raised."""
    try:
        settings = Settings.load(flags)
    except SettingsError as error:
        return [Finding("settings", "FAIL", mistake) for mistake in error.mistakes]
    names = [name for name, source in settings.sources.items() if source != "default"]
    findings = [Finding("settings", "ok", f"set: {', '.join(names) or 'nothing, all are defaults'}")]
    if settings.mongo_url is None:
        findings += [_mongod(settings), _data_dir(settings)]
    if all(finding.verdict != "FAIL" for finding in findings):
        findings += asyncio.run(_database(settings))
    return findings


def _mongod(settings: Settings) -> Finding:
    try:
        return Finding("mongod", "ok", str(find_mongod(settings.mongod)))
    except MongodNotFoundError as error:
        return Finding("mongod", "FAIL", str(error))


def _data_dir(settings: Settings) -> Finding:
    path = settings.data_dir
    try:
        EmbeddedMongo.check_there(path)
    except NoDatabaseError as error:
        return Finding("data directory", "FAIL", str(error))
    try:
        with tempfile.TemporaryFile(dir=path):
            return Finding("data directory", "ok", f"{path} is writable")
    except OSError as error:
        fix = "choose another by --data-dir or JOBQUEUE_DATA_DIR"
        return Finding("data directory", "FAIL", f"{path} is not writable: {error.strerror}; {fix}")


async def _database(settings: Settings) -> list[Finding]:
    where = "the embedded MongoDB" if settings.mongo_url is None else mask_url(settings.mongo_url)
    try:
        async with session.connected(settings, creates=True) as runtime:
            return [Finding("connection", "ok", where), *await _server(runtime)]
    except DatabaseUnavailableError as error:
        return [Finding("connection", "FAIL", f"{error}; start it, or correct JOBQUEUE_MONGO_URL ({where})")]
    except DatabaseError as error:
        if settings.mongo_url is None:
            return [Finding("connection", "FAIL", str(error))]
        return [Finding("connection", "ok", where), Finding("server", "FAIL", str(error))]


async def _server(runtime: Runtime) -> list[Finding]:
    hello = await runtime.database.check()
    kind = f"replica set {hello['setName']}" if "setName" in hello else "sharded cluster"
    return [
        Finding("server", "ok", f"MongoDB {hello['version']}, {kind}"),
        _clock(hello),
        await _write(runtime),
        await _stream(runtime),
        await _indexes(runtime),
    ]


def _clock(hello: Mapping[str, Any]) -> Finding:
    skew = (datetime.now(UTC) - hello["localTime"].replace(tzinfo=UTC)).total_seconds()
    if abs(skew) <= _MOST_SKEW:
        return Finding("clock", "ok", "as the server's")
    direction = "ahead of" if skew > 0 else "behind"
    fix = "jobs go by the server's clock and are not harmed, but set this host's by NTP to read times right"
    return Finding("clock", "warn", f"this host is {abs(skew):.1f} s {direction} the server: {fix}")


async def _write(runtime: Runtime) -> Finding:
    """Add a job and delete it: this needs a majority of the replica set and the right to write."""
    try:
        job = await runtime.producer.add(_PROBE)
        await runtime.manager.delete(job.id)
    except JobQueueError as error:
        return Finding("majority write", "FAIL", f"{error}; a majority of the members must run and be reachable")
    return Finding("majority write", "ok", "a job was added and deleted")


async def _stream(runtime: Runtime) -> Finding:
    """Open the change stream, and wait until it reports a job that is added and deleted."""
    heard: set[str | None] = set()
    told = asyncio.Event()

    def hear(event: WakeupEvent) -> None:
        heard.add(event.job_id)
        told.set()

    runtime.changes.listen(hear)
    try:
        runtime.changes.start()
        async with asyncio.timeout(_STREAM_SECONDS):
            await runtime.changes.open.wait()
            job = await runtime.producer.add(_PROBE)
            await runtime.manager.delete(job.id)
            while job.id not in heard:
                told.clear()
                await told.wait()
    except (TimeoutError, JobQueueError) as error:
        why = runtime.changes.trouble or str(error) or f"no change was told within {_STREAM_SECONDS:g} s"
        fix = "workers find jobs by polling only; the user needs the right changeStream on the database"
        return Finding("change stream", "FAIL", f"{why}; {fix}")
    return Finding("change stream", "ok", "a change was told")


async def _indexes(runtime: Runtime) -> Finding:
    differences = await indexes.differences(runtime.database)
    if not differences:
        return Finding("indexes", "ok", "as declared")
    fix = "drop what differs; the next start makes it anew"
    return Finding("indexes", "FAIL", f"{'; '.join(differences)}: {fix}")
