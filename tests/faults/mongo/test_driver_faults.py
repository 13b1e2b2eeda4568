"""Calls that fail on the way: lost replies, errors that come once or again and again, a network that is cut."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.bulk.operation import Action, NewOperation, Stage
from jobqueue.domain.errors import DatabaseUnavailableError, TooSlowError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.search.query import JobQuery
from jobqueue.settings import Settings
from jobqueue.store import indexes
from jobqueue.store.mongo.database import Database
from tests.faults.conftest import DATABASE
from tests.support.data.factories import add, claim, job_in, open_runtime, succeed
from tests.support.faults.proxy import Proxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import Job
    from tests.support.faults.figures import Figures
    from tests.support.faults.replica_set import ReplicaSet
    from tests.support.fleet import Fleet

COMMANDS = ["findAndModify", "update", "insert"]


def settings(url: str) -> Settings:
    return Settings.load({"mongo_url": url, "db": DATABASE, "reap_interval": "0.2"}, environ={})


def failing(one_node: ReplicaSet, times: int, *, application: str = "jobqueue", **how: Any) -> Any:
    """Make the next commands of the product fail: those of its heartbeats or, as here at first, all others."""
    return one_node.fail_point("failCommand", {"times": times}, failCommands=COMMANDS, appName=application, **how)


async def all_of(queue: JobQueue, state: State) -> list[Job]:
    """Return all jobs when they and what follows from them are in a state, and until then nothing."""
    try:
        found = list((await queue.list(JobQuery(limit=200))).items)
    except (DatabaseUnavailableError, TooSlowError):
        # The driver tries failing commands again within the time of a search.
        return []
    return found if all(job.state is state and not job.outbox for job in found) else []


@pytest.mark.parametrize("command", ["hello", "buildInfo", "createIndexes", "listIndexes"])
async def test_whoever_starts_while_connections_are_lost_is_there_a_moment_later(
    one_node: ReplicaSet, command: str
) -> None:
    data = {"failCommands": [command], "closeConnection": True, "appName": "jobqueue"}
    with one_node.fail_point("failCommand", {"times": 1}, **data):
        database = await Database.connect(one_node.url, "faults", prepare=indexes.ensure)
        await database.close()


async def test_a_claim_whose_reply_is_lost_after_it_was_committed_is_the_same_claim(one_node: ReplicaSet) -> None:
    async with open_runtime(settings(one_node.url)) as runtime:
        job = await add(runtime)
        with one_node.fail_point("onPrimaryTransactionalWrite", {"times": 1}, closeConnection=True):
            claimed = await claim(runtime)
        assert (claimed.job.id, claimed.job.attempts_made) == (job.id, 1)
        assert [entry.token for entry in (await runtime.jobs.get(job.id)).history] == [claimed.token]
        assert (await succeed(runtime, claimed)).state is State.SUCCESS


@pytest.mark.parametrize("times", [1, 2, 4])
# The driver looks for the server again only after ten seconds when one says that it is shutting down, and does not.
@pytest.mark.parametrize("error", [189, 10107, *(pytest.param(code, marks=pytest.mark.full) for code in (91, 11600))])
async def test_errors_that_come_again_neither_lose_nor_double_anything(
    one_node: ReplicaSet, error: int, times: int
) -> None:
    async with JobQueue(settings(one_node.url)) as queue:

        @queue.handler("work")
        @queue.handler("child")
        async def work(_job: Any) -> int:
            return 1

        common: dict[str, Any] = {"lease": 0.5, "backoff": FixedBackoff(0), "attempts": 9}
        child = NewJob(type="child", **common)
        await queue.add_all([NewJob(type="work", on_success=child, **common) for _ in range(10)])
        with failing(one_node, times, errorCode=error):
            async with queue.working(concurrency=4):
                done = await eventually(lambda: all_of(queue, State.SUCCESS), within=100)
        assert len(done) == 20
        assert len({job.parent_id for job in done if job.type == "child"}) == 10
        for job in done:
            outcomes = [entry.outcome for entry in job.history]
            assert outcomes.count(Outcome.SUCCESS) == 1
            assert set(outcomes[:-1]) <= {Outcome.HANGING, Outcome.CRASH}


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.full), 4])
@pytest.mark.parametrize(
    "error", [13, 189, 4242, *(pytest.param(code, marks=pytest.mark.full) for code in (18, 8000, 10107))]
)
async def test_errors_that_meet_heartbeats_neither_lose_nor_double_anything(
    one_node: ReplicaSet, error: int, times: int
) -> None:
    async with JobQueue(settings(one_node.url)) as queue:

        @queue.handler("work")
        async def work(_job: Any) -> int:
            await asyncio.sleep(3)
            return 1

        await queue.add_all([NewJob(type="work", lease=1, backoff=FixedBackoff(0), attempts=9) for _ in range(10)])
        with failing(one_node, times, application="jobqueue-leases", errorCode=error):
            async with queue.working(concurrency=10):
                done = await eventually(lambda: all_of(queue, State.SUCCESS), within=60)
        for job in done:
            outcomes = [entry.outcome for entry in job.history]
            assert outcomes.count(Outcome.SUCCESS) == 1
            assert set(outcomes[:-1]) <= {Outcome.HANGING, Outcome.RELEASE}


@pytest.mark.parametrize("error", [13, 18, 8000, 175, 11601])
async def test_an_outcome_survives_errors_that_nobody_takes_for_an_outage(one_node: ReplicaSet, error: int) -> None:
    """Refused logins (13, 18, 8000) pass as outages do, and so may what no list of errors has."""
    refused = {"failCommands": ["update"], "appName": "jobqueue", "errorCode": error}
    async with JobQueue(settings(one_node.url)) as queue:
        runs: list[int] = []
        with contextlib.ExitStack() as faults:

            @queue.handler("work")
            async def work(_job: Any) -> int:
                runs.append(1)
                faults.enter_context(one_node.fail_point("failCommand", {"times": 3}, **refused))
                return 1

            job = await queue.add("work", lease=3600, attempts=1)
            async with queue.working():
                (done,) = await eventually(lambda: all_of(queue, State.SUCCESS), within=60)
        assert (done.id, done.result, runs) == (job.id, 1, [1])


@pytest.mark.parametrize("action", [Action.REQUEUE, Action.KILL, Action.DELETE])
async def test_an_operation_whose_writes_are_not_confirmed_counts_them_all(
    one_node: ReplicaSet, action: Action
) -> None:
    state = State.PENDING if action is Action.KILL else State.FAILED
    async with open_runtime(settings(one_node.url)) as runtime:
        for _ in range(12):
            await job_in(runtime, state)
        wanted = NewOperation(action=action, by=Actor(name="ann", via="http"), all=True)
        made = await runtime.operations.create(wanted)
        concern = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
        # First the operation is held and its jobs are chosen.
        with (
            one_node.fail_point(
                "failCommand",
                {"skip": 2},
                failCommands=["findAndModify", "update", "delete"],
                appName="jobqueue",
                writeConcernError=concern,
            ),
            pytest.raises(DatabaseUnavailableError),
        ):
            await runtime.operations.carry_on(made.id)

        async def has_ended() -> bool:
            with contextlib.suppress(DatabaseUnavailableError):
                await runtime.operations.carry_on()
            return (await runtime.operations.store.get(made.id)).stage is not Stage.RUNNING

        await eventually(has_ended)
        ended = await runtime.operations.store.get(made.id)
        assert (ended.done, ended.skipped, ended.failed) == (12, 0, 0)


@pytest.mark.full
@pytest.mark.parametrize("label", [True, False])
async def test_a_claim_that_was_made_but_not_confirmed_is_taken_up_or_taken_back(
    one_node: ReplicaSet,
    label: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    labels: dict[str, Any] = {"errorLabels": ["RetryableWriteError"]} if label else {"errorLabels": []}
    async with open_runtime(settings(one_node.url), started=True) as runtime:
        job = await add(runtime, lease=0.5, backoff=0, attempts=9)
        concern = {"code": 91, "codeName": "ShutdownInProgress", "errmsg": "going"}
        with failing(one_node, 1, writeConcernError=concern, **labels):

            async def found() -> Any:
                try:
                    return await runtime.work.claim("default", None, worker="w")
                except DatabaseUnavailableError:
                    return None

            claimed = await eventually(found, within=20, every=0.1)
        assert claimed.job.id == job.id
        done = await succeed(runtime, claimed)
        outcomes = [entry.outcome for entry in done.history]
        assert outcomes[-1] is Outcome.SUCCESS
        assert outcomes[:-1] in ([], [Outcome.HANGING], [Outcome.RELEASE])


async def test_a_claim_that_the_server_makes_after_its_worker_has_given_up_is_taken_back(one_node: ReplicaSet) -> None:
    async with open_runtime(settings(f"{one_node.url}&timeoutMS=500")) as hasty:
        job = await add(hasty, lease=0.5, backoff=0, attempts=9)
        with failing(one_node, 1, blockConnection=True, blockTimeMS=1500), pytest.raises(DatabaseUnavailableError):
            await claim(hasty)
    async with open_runtime(settings(one_node.url), started=True) as runtime:

        async def found() -> Any:
            return await runtime.work.claim("default", None, worker="w")

        claimed = await eventually(found, within=20, every=0.1)
        done = await succeed(runtime, claimed)
    assert done.id == job.id
    outcomes = [entry.outcome for entry in done.history]
    assert outcomes.count(Outcome.SUCCESS) == 1
    assert set(outcomes[:-1]) <= {Outcome.HANGING, Outcome.RELEASE}


async def test_a_network_that_is_slow_and_cut_in_the_middle_neither_loses_nor_doubles_anything(
    one_node: ReplicaSet, frail_queue: JobQueue, frail_fleet: Fleet, seed: int
) -> None:
    common: dict[str, Any] = {"lease": 2, "backoff": FixedBackoff(0), "attempts": 50}
    async with Proxy(one_node.nodes[0].port, seed) as network:
        network.slowest = 0.01
        frail_fleet.start(2, url=network.url)
        await eventually(frail_fleet.is_ready, within=30)
        network.cuts = 0.01
        new = [
            NewJob(type="step", data={"n": n}, on_success=NewJob(type="step", data={"n": n}), **common)
            for n in range(100)
        ]
        await frail_queue.add_all(new)
        done = await eventually(lambda: all_of(frail_queue, State.SUCCESS), within=60)
        await eventually(lambda: network.faults["cut in the middle"] > 3)
        network.cuts = 0.0
        await asyncio.to_thread(frail_fleet.stop)
    assert len(done) == 200
    assert len({job.parent_id for job in done if job.parent_id}) == 100
    for job in done:
        outcomes = [entry.outcome for entry in job.history]
        assert outcomes.count(Outcome.SUCCESS) == 1
        assert set(outcomes[:-1]) <= {Outcome.HANGING, Outcome.CRASH, Outcome.RELEASE}


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.full)])
async def test_a_write_that_a_majority_has_confirmed_outlives_the_death_of_the_server(
    one_node: ReplicaSet, kills: int, figures: Figures
) -> None:
    acknowledged: list[str] = []
    async with open_runtime(settings(one_node.url)) as runtime:

        async def add_for_ever() -> None:
            while True:
                with contextlib.suppress(DatabaseUnavailableError):
                    acknowledged.append((await add(runtime)).id)

        adding = [asyncio.create_task(add_for_ever()) for _ in range(8)]
        for _ in range(kills):
            await _more(acknowledged, 100)
            one_node.nodes[0].kill()
            one_node.nodes[0].start()
            one_node.wait_primary()
            began = time.monotonic()
            await _more(acknowledged, 1)
            figures.recovered(time.monotonic() - began)
            figures.fault("single node killed")
        for task in adding:
            task.cancel()
        await asyncio.gather(*adding, return_exceptions=True)
        found = {str(one["_id"]) async for one in runtime.jobs.collection.find({}, {"_id": 1})}
    figures.count("acknowledged writes", len(acknowledged))
    assert set(acknowledged) <= found


async def _more(acknowledged: list[str], count: int) -> None:
    wanted = len(acknowledged) + count
    await eventually(lambda: len(acknowledged) >= wanted, within=60)
