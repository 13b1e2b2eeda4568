"""Any graph, any fates: a job starts only after what it depends on, and a requeue ends what is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.application import Runtime
from jobqueue.store.mongo.database import new_id
from tests.support.data.factories import die, fail, succeed
from tests.support.data.scale import sized

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.settings import Settings

Node = tuple[list[int], str, str]
"""What a job depends on, its policy, and its fate."""
nodes = st.tuples(
    st.lists(st.integers(0, 11), max_size=3),
    st.sampled_from(["kill", "kill", "run", "hold"]),
    st.sampled_from(["succeed", "succeed", "succeed", "fail", "die"]),
)


class Walk:
    """One batch in a queue of its own, run to its end by one worker."""

    def __init__(self, runtime: Runtime, graph: list[Node]) -> None:
        self._runtime = runtime
        self._graph = graph
        self._queue = f"q{new_id()}"
        self._ids: dict[str, int] = {}
        self.batch = ""

    async def create(self) -> None:
        members = [
            Member(
                job=NewJob(type="a", queue=self._queue, attempts=1, dependency_policy=policy),
                ref=f"n{place}",
                after=tuple(dict.fromkeys(f"n{one}" for one in before if one < place)),
            )
            for place, (before, policy, _) in enumerate(self._graph)
        ]
        view, added = await self._runtime.batches.create(NewBatch(members=members))
        self.batch = view.batch.id
        self._ids = {one.id: place for place, one in enumerate(added)}

    async def run(self, *, all_succeed: bool) -> None:
        while claimed := await self._runtime.work.claim(self._queue, None, worker="w"):
            _, policy, fate = self._graph[self._ids[claimed.job.id]]
            for other in claimed.job.depends_on:
                state = (await self._runtime.jobs.get(other)).state
                assert state is State.SUCCESS or (policy == "run" and state in {State.FAILED, State.KILLED})
            if all_succeed or fate == "succeed":
                await succeed(self._runtime, claimed)
            elif fate == "fail":
                await fail(self._runtime, claimed)
            else:
                await die(self._runtime, claimed)

    async def jobs(self) -> list[Job]:
        return [await self._runtime.jobs.get(job_id) for job_id in self._ids]


async def check(runtime: Runtime, graph: list[Node]) -> None:
    walk = Walk(runtime, graph)
    await walk.create()
    await walk.run(all_succeed=False)
    before = await walk.jobs()
    for job, (_, policy, _) in zip(before, graph, strict=True):
        states = [(await runtime.jobs.get(other)).state for other in job.depends_on]
        if job.state is State.DELAYED:
            ended_badly = any(state in {State.FAILED, State.KILLED} for state in states)
            assert (policy == "hold" and ended_badly) or State.DELAYED in states
        elif job.error is not None and job.error.kind == "dependency":
            assert policy == "kill"
            assert any(state in {State.FAILED, State.KILLED} for state in states)
    broken = [job for job in before if job.state in {State.FAILED, State.KILLED}]
    if broken:
        await runtime.batches.requeue(walk.batch)
        await walk.run(all_succeed=True)
    view = await runtime.batches.get(walk.batch)
    assert (view.batch.state, view.counts["success"]) == ("finished", len(graph))
    for old, job in zip(before, await walk.jobs(), strict=True):
        if old.state is State.SUCCESS:
            assert job.history == old.history
    assert not await runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})


def test_whatever_fails_every_job_starts_after_what_it_depends_on(settings: Settings) -> None:
    with asyncio.Runner() as runner:
        runtime = runner.run(Runtime.open(settings))
        # On a slow machine a cascade must not go on in the background while the walk looks for jobs.
        runtime.outboxes.patience = 60
        try:

            @profile(max_examples=sized(25, 400), deadline=None, suppress_health_check=list(HealthCheck))
            @given(st.lists(nodes, min_size=1, max_size=12))
            def any_graph(graph: list[Node]) -> None:
                runner.run(check(runtime, graph))

            any_graph()
        finally:
            runner.run(runtime.close())
