"""Each option of the MongoDB URL is harmless, overridden or refused: a table over a real server."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from jobqueue import JobQueue, Member, NewBatch, NewJob, State
from jobqueue.domain.errors import DatabaseError, SettingsError, UnsuitableDatabaseError
from jobqueue.settings import Settings
from jobqueue.settings.mongo_url import KNOWN
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue.store.insight.wakeup_stream import WakeupEvent

pytestmark = pytest.mark.new_database

WORKING = [
    *("readPreference=secondary&maxStalenessSeconds=90", "readPreference=secondaryPreferred&readPreferenceTags=dc:ny"),
    *("readPreference=nearest", "maxStalenessSeconds=-1", "readPreference=nonsense"),
    *(f"readConcernLevel={level}" for level in ("local", "available", "majority", "linearizable", "snapshot")),
    *("w=majority", "w=2", "w=3", "w=tag", "wTimeoutMS=1", "wtimeout=1", "journal=true", "j=true"),
    *("retryWrites=true", "retryReads=false", "retryReads=true", "connect=false", "appName=other"),
    *("timeoutMS=20000", "timeoutMS=2000", "socketTimeoutMS=1", "socketTimeoutMS=100", "connectTimeoutMS=2000"),
    *("serverSelectionTimeoutMS=2000", "heartbeatFrequencyMS=500", "localThresholdMS=0", "waitQueueTimeoutMS=5000"),
    *("compressors=zlib&zlibCompressionLevel=9", "compressors=snappy,zstd,zlib", "waitQueueMultiple=1"),
    *("directConnection=true", "directConnection=false", "loadBalanced=false"),
    *("maxPoolSize=1", "maxPoolSize=2", "maxPoolSize=0", "minPoolSize=10", "maxIdleTimeMS=1", "maxConnecting=1"),
    *("uuidRepresentation=pythonLegacy", "tz_aware=true", "tz_aware=false", "datetime_conversion=datetime_ms"),
    *("unicode_decode_error_handler=ignore", "serverMonitoringMode=poll", "maxAdaptiveRetries=1"),
    *("enableOverloadRetargeting=true", "authSource=other", "tls=false", "srvMaxHosts=0"),
]
REFUSED = [
    *("w=0", "w=1", "journal=false", "j=false", "retryWrites=false", "timeoutMS=1", "nonsense=1", "fsync=true"),
    *("maxPoolSize=-1", "tls=maybe", "readPreference=", "heartbeatFrequencyMS=1"),
]
UNUSABLE = [
    *("tlsCAFile=/nowhere", "tlsCertificateKeyFile=/nowhere", "authMechanism=nonsense", "loadBalanced=true"),
    *("minPoolSize=10&maxPoolSize=5", "replicaSet=other", "serverMonitoringMode=nonsense", "tls=true"),
    *("authMechanismProperties=nonsense", "zlibCompressionLevel=99", "srvMaxHosts=1"),
    "srvServiceName=mongodb",
]
ELSEWHERE = {
    *("ssl", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames", "tlsinsecure", "tlsdisableocspendpointcheck"),
    *("tlscrlfile", "tlscertificatekeyfilepassword", "srvallowedhostssuffix"),
}
"""Options that say how to reach a server of another kind than this one."""


@pytest.fixture(scope="module")
def shared(mongo_url: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    yield name
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        client.drop_database(name)


def with_options(mongo_url: str, options: str) -> str:
    head, _, query = mongo_url.partition("?")
    names = {one.partition("=")[0].lower() for one in options.split("&")}
    kept = [one for one in query.split("&") if one and one.partition("=")[0].lower() not in names]
    return f"{head}?{'&'.join([*kept, options])}"


def test_the_table_has_every_option() -> None:
    named = {one.partition("=")[0].lower() for row in (*WORKING, *REFUSED, *UNUSABLE) for one in row.split("&")}

    assert set(KNOWN) - ELSEWHERE - named == set()


@pytest.mark.filterwarnings("ignore:Wire protocol compression with")
@pytest.mark.parametrize("options", WORKING)
async def test_an_option_does_no_harm(mongo_url: str, shared: str, tmp_path: Path, options: str) -> None:
    settings = Settings.load({"mongo_url": with_options(mongo_url, options), "db": shared}, {}, tmp_path)
    told: list[WakeupEvent] = []
    async with JobQueue(settings) as queue:
        kind = secrets.token_hex(4)

        @queue.handler(kind)
        async def work(job: Any) -> Any:
            await job.log("line")
            return job.data["n"]

        runtime = await queue.open()
        runtime.changes.listen(told.append)
        async with queue.working():
            await asyncio.wait_for(runtime.changes.open.wait(), 20)
            members = tuple(Member(job=NewJob(type=kind, data={"n": n}), ref=f"r{n}") for n in range(3))
            _, added = await queue.add_batch(NewBatch(members=members))
            ids = [one.id for one in added]
            await eventually(lambda: {one.job_id for one in told} >= set(ids))
            for number, job_id in enumerate(ids):
                await eventually(lambda job_id=job_id: _has_ended(queue, job_id))  # type: ignore[misc]
                assert (await queue.get(job_id)).result == number
        assert (await runtime.database.clock.ask()).tzinfo is not None


async def _has_ended(queue: JobQueue, job_id: str) -> bool:
    return (await queue.get(job_id)).state is State.SUCCESS


@pytest.mark.parametrize("options", REFUSED)
def test_an_option_that_breaks_a_promise_is_refused(mongo_url: str, tmp_path: Path, options: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"mongo_url": with_options(mongo_url, options)}, {}, tmp_path)

    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize("options", UNUSABLE)
async def test_an_option_that_cannot_be_used_is_told_on_one_line(mongo_url: str, tmp_path: Path, options: str) -> None:
    url = with_options(mongo_url, f"{options}&serverSelectionTimeoutMS=500")
    settings = Settings.load({"mongo_url": url, "db": "test_none"}, {}, tmp_path)
    with pytest.raises(DatabaseError) as caught:
        await JobQueue(settings).open()

    assert str(caught.value).startswith(("the MongoDB URL cannot be used: ", "MongoDB cannot be "))
    assert "\n" not in str(caught.value)


async def test_a_name_of_other_case_is_told_on_one_line(mongo_url: str, db_name: str) -> None:
    async with JobQueue(mongo_url=mongo_url, db=db_name):
        with pytest.raises(UnsuitableDatabaseError, match="already exists with different case") as caught:
            await JobQueue(mongo_url=mongo_url, db=db_name.upper()).open()

    assert str(caught.value).endswith("correct --db")


async def test_the_path_of_the_url_is_the_database(mongo_url: str, db_name: str, tmp_path: Path) -> None:
    head, _, query = mongo_url.partition("?")
    settings = Settings.load({"mongo_url": f"{head.rstrip('/')}/{db_name}?{query}"}, {}, tmp_path)
    async with JobQueue(settings) as queue:
        job = await queue.add("work")
    async with JobQueue(mongo_url=mongo_url, db=db_name) as queue:
        assert (await queue.get(job.id)).id == job.id
