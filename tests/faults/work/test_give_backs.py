"""Claims whose job would have been lost by a fault of the server: the job goes back, and no attempt is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymongo.errors import PyMongoError

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseError
from jobqueue.settings import Settings
from tests.support.data.factories import add, claim, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from tests.support.faults.replica_set import ReplicaSet


def settings(url: str, path: Path) -> Settings:
    return Settings.load({"mongo_url": url, "db": "faults"}, environ={}, cwd=path)


async def waits_uncounted(runtime: Runtime, job: Job) -> bool:
    after = await runtime.jobs.get(job.id)
    return (after.state, after.attempts_made) == (State.PENDING, 0)


async def test_a_read_that_fails_after_the_claim_costs_no_attempt(one_node: ReplicaSet, tmp_path: Path) -> None:
    async with open_runtime(settings(one_node.url, tmp_path)) as runtime:
        first = await add(runtime)
        job = await add(runtime, depends_on=(first.id,), attempts=1)
        await succeed(runtime, await claim(runtime))
        await runtime.configs.refresh()
        # The server has killed the plan of the query: nothing that is tried again by itself.
        fault = {"failCommands": ["aggregate"], "errorCode": 175, "appName": "jobqueue"}
        with one_node.fail_point("failCommand", {"times": 1}, **fault), pytest.raises(PyMongoError):
            await claim(runtime)
        await eventually(lambda: waits_uncounted(runtime, job))
        again = await claim(runtime)
        assert (again.job.id, again.job.attempts_made, len(again.job.parents or ())) == (job.id, 1, 1)


@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
async def test_a_claim_that_a_frozen_server_makes_when_it_wakes_costs_no_attempt(
    one_node: ReplicaSet,
    tmp_path: Path,
    late: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with (
        open_runtime(settings(one_node.url, tmp_path)) as sane,
        open_runtime(settings(f"{one_node.url}&timeoutMS=300", tmp_path)) as hasty,
    ):
        job = await add(sane, attempts=1)
        await hasty.configs.refresh()
        with one_node.wait_primary().frozen():
            with pytest.raises(DatabaseError):
                await claim(hasty)
            if late:
                await eventually(hasty.configs.horizon.may_be_over)
        # The server answers again, so it has made whatever it was asked for before.
        await sane.jobs.server_time()
        await eventually(lambda: waits_uncounted(sane, job))
        await hasty.work.give_backs.drain()
        assert await waits_uncounted(sane, job)
        again = await claim(sane)
        assert (again.job.id, again.job.attempts_made) == (job.id, 1)
        (*_, entry) = again.job.history
        assert entry.token == again.token
