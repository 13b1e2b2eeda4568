"""Jobs, limits and batches in the database, and a simple model of them that goes by a clock of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import FINAL, Outcome, State
from jobqueue.domain.errors import ConflictError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.limits.limits import Rate
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.application import Runtime
from tests.integration.jobs.test_invariants import LEASE, MOST_RETRIES, VERDICTS, Modelled, Twin
from tests.support.data.scale import sized
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from jobqueue.settings import Settings

CALLBACK = NewJob(type="callback", queue="callbacks")
numbers = st.integers(0, 9)


class LimitedTwin(Twin):
    """Knows of pauses, of limits, and of batches."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.paused = False
        self.most: int | None = None
        self.rate: Rate | None = None
        self.deadlines: list[float] = []
        self.members: dict[str, list[str]] = {}
        self.sealed: set[str] = set()

    @property
    def running(self) -> int:
        return sum(one.state is State.PROCESSING for one in self.jobs.values())

    async def configure(self, **config: Any) -> None:
        await self.runtime.queues.patch("default", config)

    async def claim(self) -> None:
        waiting = [one.state is State.PENDING for one in self.jobs.values()]
        has_room = self.most is None or self.running < self.most
        if any(waiting) and has_room and not self.paused and self._may_start():
            # What is known of slots may be some milliseconds old; that they are free is seen then.
            await eventually(self._claimed)
        else:
            assert await self.runtime.work.claim("default", None, worker="w") is None

    def _may_start(self) -> bool:
        """Tell whether fewer starts than are allowed can have been, or still be, within the window that ends now."""
        if self.rate is None:
            return True
        return sum(one + self.rate.per > self.now for one in self.deadlines) < self.rate.limit

    async def _claimed(self) -> bool:
        running = self.running
        # A claim that took long without finding a job makes the leeway of the next one longer.
        leeway = None if self.rate is None else self.runtime.work._limiter._leeway.of("default", self.rate)
        try:
            await super().claim()
        except AssertionError:
            if await self.runtime.jobs.collection.count_documents({"state": "processing"}) == running:
                return False
            raise
        if leeway is not None:
            self.deadlines.append(self.now + leeway.total_seconds())
        return True

    async def person(self, which: int, what: str) -> None:
        job_id = list(self.jobs)[which % len(self.jobs)]
        if what == "kill" or not any(job_id in ids for ids in self.members.values()):
            await super().person(which, what)

    async def add(self, attempts: int, backoff: int, priority: int, delay: int) -> None:
        # Of two jobs of the same moment either may come first.
        await self.pass_time(1)
        await super().add(attempts, backoff, priority, delay)

    async def create_batch(self, count: int, *, sealed: bool) -> None:
        await self.pass_time(1)
        new = NewBatch(members=self._members(count), sealed=sealed, on_complete=CALLBACK)
        view, added = await self.runtime.batches.create(new)
        self.members[view.batch.id] = []
        self._take(view.batch.id, [one.id for one in added])
        if sealed:
            self.sealed.add(view.batch.id)

    async def add_to_batch(self, which: int) -> None:
        batch_id = list(self.members)[which % len(self.members)]
        await self.pass_time(1)
        try:
            added = await self.runtime.batches.add(batch_id, self._members(1))
        except ConflictError:
            assert batch_id in self.sealed
        else:
            assert batch_id not in self.sealed
            self._take(batch_id, [one.id for one in added])

    async def seal(self, which: int) -> None:
        batch_id = list(self.members)[which % len(self.members)]
        await self.runtime.batches.seal(batch_id)
        self.sealed.add(batch_id)

    async def compare(self) -> None:
        await self.runtime.outboxes.run_once()
        await super().compare()
        callbacks = Counter[str]()
        async for one in self.runtime.jobs.collection.find({"callbackOf": {"$exists": True}}):
            callbacks[str(one["callbackOf"]["batchId"])] += 1
        ended = {
            batch_id
            for batch_id, ids in self.members.items()
            if batch_id in self.sealed and all(self.jobs[job_id].state in FINAL for job_id in ids)
        }
        for batch_id in self.members:
            view = await self.runtime.batches.get(batch_id)
            assert (view.batch.state == "finished") == (batch_id in ended)
        assert callbacks == Counter(ended)
        slots = await self.runtime.jobs.collection.count_documents({"slots": {"$exists": True}})
        assert slots <= self.running

    def _members(self, count: int) -> list[Member]:
        return [Member(job=NewJob(type="work", attempts=2, backoff=FixedBackoff(5), lease=LEASE)) for _ in range(count)]

    def _take(self, batch_id: str, ids: list[str]) -> None:
        self.members[batch_id] += ids
        self.jobs.update({job_id: Modelled(attempts=2, backoff=5, priority=0) for job_id in ids})


class Machine(RuleBasedStateMachine):
    """Does to both what hypothesis thinks of."""

    runner: asyncio.Runner
    runtime: Runtime

    @initialize()
    def begin(self) -> None:
        self.twin = LimitedTwin(self.runtime)
        self.do(self._empty())

    async def _empty(self) -> None:
        for name in ("jobs", "batches", "limits"):
            await self.runtime.database.collection(name).delete_many({})
        self.runtime.claims.unsettle(None)
        await self.twin.configure(concurrency=None, rate=None, paused=False, maxRetries=MOST_RETRIES)
        await self.twin.pass_time(0)

    def do(self, what: Coroutine[Any, Any, None]) -> None:
        self.runner.run(what)

    @rule(
        attempts=st.integers(1, 3),
        backoff=st.sampled_from([0, 5]),
        priority=st.integers(0, 1),
        delay=st.sampled_from([0, 0, 4]),
    )
    def add(self, attempts: int, backoff: int, priority: int, delay: int) -> None:
        self.do(self.twin.add(attempts, backoff, priority, delay))

    @rule()
    def claim(self) -> None:
        self.do(self.twin.claim())

    @rule()
    def claim_again(self) -> None:
        self.do(self.twin.claim())

    @precondition(lambda self: self.twin.claims)
    @rule(which=numbers, outcome=st.sampled_from(list(VERDICTS)))
    def settle(self, which: int, outcome: Any) -> None:
        self.do(self.twin.settle(which, outcome))

    @precondition(lambda self: self.twin.claims)
    @rule(which=numbers, delay=st.sampled_from([0, 0.2, 1, 5, 11]))
    def retry(self, which: int, delay: float) -> None:
        self.do(self.twin.settle(which, Outcome.RETRY, delay))

    @precondition(lambda self: self.twin.claims)
    @rule(which=numbers)
    def beat(self, which: int) -> None:
        self.do(self.twin.beat(which))

    @precondition(lambda self: self.twin.claims)
    @rule(which=numbers)
    def release(self, which: int) -> None:
        self.do(self.twin.release(which))

    @precondition(lambda self: self.twin.jobs)
    @rule(which=numbers, what=st.sampled_from(["kill", "requeue", "delete"]))
    def person(self, which: int, what: str) -> None:
        self.do(self.twin.person(which, what))

    @rule(seconds=st.sampled_from([1, 4, 5, 6, 10, 11]))
    def pass_time(self, seconds: float) -> None:
        self.do(self.twin.pass_time(seconds))

    @rule()
    def promote(self) -> None:
        self.do(self.twin.promote())

    @rule()
    def reap(self) -> None:
        self.do(self.twin.reap())

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:  # noqa: FBT001 - a strategy
        self.twin.paused = paused
        self.do(self.twin.configure(paused=paused))

    @rule(most=st.sampled_from([None, 1, 2, 3]))
    def limit(self, most: int | None) -> None:
        self.twin.most = most
        self.do(self.twin.configure(concurrency=most))

    @rule(limit=st.sampled_from([None, 1, 2, 4]))
    def start_only(self, limit: int | None) -> None:
        self.twin.rate = None if limit is None else Rate(limit=limit, per=5)
        self.do(self.twin.configure(rate=None if self.twin.rate is None else self.twin.rate.wire()))

    @rule(count=st.integers(1, 3), sealed=st.booleans())
    def create_batch(self, count: int, sealed: bool) -> None:  # noqa: FBT001 - a strategy
        self.do(self.twin.create_batch(count, sealed=sealed))

    @precondition(lambda self: self.twin.members)
    @rule(which=numbers)
    def add_to_batch(self, which: int) -> None:
        self.do(self.twin.add_to_batch(which))

    @precondition(lambda self: self.twin.members)
    @rule(which=numbers)
    def seal(self, which: int) -> None:
        self.do(self.twin.seal(which))

    @invariant()
    def is_as_the_model_says(self) -> None:
        if hasattr(self, "twin"):
            self.do(self.twin.compare())


def test_limits_and_batches_in_the_database_are_as_a_simple_model_says(settings: Settings) -> None:
    with asyncio.Runner() as runner:
        runtime = runner.run(Runtime.open(settings))
        runner.run(runtime.configs.refresh())
        machine = type("Machine", (Machine,), {"runner": runner, "runtime": runtime})
        try:
            run_state_machine_as_test(
                machine,
                settings=hypothesis(
                    max_examples=sized(12, 150),
                    stateful_step_count=30,
                    deadline=None,
                    database=None,
                    # A failure is told at once: to look for a shorter one takes longer than a test may.
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(runtime.close())
