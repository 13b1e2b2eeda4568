"""What holds after whatever was done: a model of the life of jobs, and many at once who do what they like."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import FINAL, UNFINISHED, Outcome, State
from jobqueue.domain.errors import ConflictError, NotFoundError, StaleTokenError, WrongStateError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success
from jobqueue.services.application import Runtime
from jobqueue.services.work.loops import Promoter
from jobqueue.store.documents import statements
from jobqueue.store.documents.documents import child_id
from tests.support.data.factories import ERROR, end_lease, open_runtime, patient_reaper, set_clock
from tests.support.data.scale import sized

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Verdict
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

# Far ahead: what expires by this clock must not be deleted by the server's.
START: Final = datetime(2126, 1, 1, tzinfo=UTC)
LEASE: Final = 10
LOOP: Final = 10
MOST_RETRIES: Final = 2
VERDICTS: Final[dict[Outcome, Verdict]] = {
    Outcome.SUCCESS: Success(result=1),
    Outcome.FAIL: Failure(error=ERROR),
    Outcome.DIE: Death(error=ERROR),
    Outcome.RETRY: RunAgain(delay=7, error=ERROR),
}
COUNTED: Final = {Outcome.SUCCESS, Outcome.FAIL, Outcome.DIE, Outcome.HANGING, Outcome.TIMEOUT, Outcome.KILL, None}


@dataclass(slots=True)
class Modelled:
    """What a job should be like."""

    attempts: int
    backoff: int
    priority: int
    state: State = State.PENDING
    due: float | None = None
    made: int = 0
    begun: float = 0
    lease_end: float | None = None
    crashes: int = 0
    token: str | None = None
    history: list[tuple[str | None, Outcome | None]] = field(default_factory=list)
    late: set[str] = field(default_factory=set)
    retries: int = 0
    retried_at: float = float("-inf")

    def close(self, outcome: Outcome, state: State) -> None:
        self.history = [(token, outcome if token and token == self.token else known) for token, known in self.history]
        self.state, self.token, self.lease_end = state, None, None

    def wait(self, now: float, delay: float) -> None:
        self.state, self.due = (State.DELAYED, now + delay) if delay else (State.PENDING, self.due)

    def fail(self, outcome: Outcome, now: float) -> None:
        self.close(outcome, State.FAILED)
        if self.made < self.attempts:
            self.wait(now, self.backoff)

    def crash(self, now: float) -> None:
        self.close(Outcome.CRASH, State.PENDING)
        self.wait(now, self.backoff)
        self.made -= 1
        self.crashes += 1

    def is_beside(self, other: Modelled) -> bool:
        """Tell whether two jobs of a worker can have lost it at the same moment."""
        return other.begun <= self.end and self.begun <= other.end and abs(self.end - other.end) <= LEASE

    @property
    def end(self) -> float:
        return self.lease_end or 0

    @property
    def is_suspect(self) -> bool:
        return self.crashes >= 2

    def go_back(self, now: float, delay: float) -> None:
        """Go back uncounted; not before a second has passed."""
        self.retries, self.retried_at = self.in_a_row, self.begun
        self.close(Outcome.RETRY, State.DELAYED)
        self.wait(now, max(delay, 1))
        self.made -= 1

    @property
    def in_a_row(self) -> int:
        """How many retries in a row there are when the present run ends with one."""
        return self.retries + 1 if self.begun - self.retried_at <= LOOP else 1

    def outcome_of(self, token: str) -> Outcome | None:
        return dict(self.history).get(token)


class Twin:
    """Does everything to the model and to the database, and compares."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.now = 0.0
        self.jobs: dict[str, Modelled] = {}
        self.claims: list[ClaimedJob] = []
        self.rounds: dict[str, int] = {}

    async def add(self, attempts: int, backoff: int, priority: int, delay: int) -> None:
        fields: dict[str, Any] = {"attempts": attempts, "backoff": FixedBackoff(backoff), "priority": priority}
        job = await self.runtime.producer.add(NewJob(type="work", delay=delay, lease=LEASE, **fields))
        self.jobs[job.id] = model = Modelled(attempts=attempts, backoff=backoff, priority=priority)
        model.wait(self.now, delay)

    async def claim(self) -> None:
        waiting = [job_id for job_id, one in self.jobs.items() if one.state is State.PENDING]
        if any(one.is_suspect and one.token for one in self.jobs.values()):
            waiting = [job_id for job_id in waiting if not self.jobs[job_id].is_suspect]
        expected = min(waiting, key=lambda job_id: -self.jobs[job_id].priority, default=None)
        # A memory that only saves claims that fail, and may be a second old.
        self.runtime.claims.holders.forget("w")
        claimed = await self.runtime.work.claim("default", None, worker="w")
        assert (claimed.job.id if claimed else None) == expected
        if claimed is None:
            return
        self.claims.append(claimed)
        model = self.jobs[claimed.job.id]
        model.state, model.token, model.due = State.PROCESSING, claimed.token, None
        model.made += 1
        model.begun, model.lease_end = self.now, self.now + LEASE
        self.rounds[claimed.token] = model.in_a_row
        model.history.append((claimed.token, None))

    async def settle(self, which: int, outcome: Outcome, delay: float = 7) -> None:
        claimed = self.claims[which % len(self.claims)]
        model = self.jobs.get(claimed.job.id)
        wanted, verdict = outcome, VERDICTS[outcome]
        if outcome is Outcome.RETRY:
            verdict = RunAgain(delay=delay, error=ERROR)
            # A retry too many is a failure; reported after another failure of the same run, it is a repetition.
            wanted = Outcome.FAIL if self.rounds[claimed.token] > MOST_RETRIES else outcome
        expected = self._expected(model, claimed, wanted)
        with pytest.raises(expected) if expected else contextlib.nullcontext():
            await self.runtime.work.settle(claimed.job, claimed.token, verdict)
        if model is None or model.token != claimed.token:
            return
        if outcome is Outcome.RETRY and wanted is Outcome.FAIL:
            model.close(wanted, State.FAILED)
        elif outcome is Outcome.FAIL:
            model.fail(outcome, self.now)
        elif outcome is Outcome.RETRY:
            model.go_back(self.now, delay)
        else:
            model.close(outcome, State.SUCCESS if outcome is Outcome.SUCCESS else State.KILLED)

    def _expected(self, model: Modelled | None, claimed: ClaimedJob, outcome: Outcome) -> type[Exception] | None:
        if model is None:
            return NotFoundError
        if model.token == claimed.token or model.outcome_of(claimed.token) is outcome:
            return None
        model.late.add(claimed.token)
        return StaleTokenError

    async def beat(self, which: int) -> None:
        claimed = self.claims[which % len(self.claims)]
        model = self.jobs.get(claimed.job.id)
        held = model is not None and model.token == claimed.token
        assert (await self.runtime.work.report(claimed.job, claimed.token) is not None) == held
        if held and model:
            model.lease_end = self.now + LEASE

    async def release(self, which: int) -> None:
        claimed = self.claims[which % len(self.claims)]
        model = self.jobs.get(claimed.job.id)
        with contextlib.suppress(NotFoundError):
            await self.runtime.work.release(claimed.job, claimed.token)
        if model is None:
            return
        if model.token == claimed.token:
            model.close(Outcome.RELEASE, State.PENDING)
            model.made -= 1
        elif model.outcome_of(claimed.token) is not Outcome.RELEASE:
            model.late.add(claimed.token)

    async def person(self, which: int, what: str) -> None:
        job_id = list(self.jobs)[which % len(self.jobs)]
        model = self.jobs[job_id]
        states: dict[str, frozenset[State]] = {
            "kill": UNFINISHED,
            "requeue": FINAL | {State.DELAYED},
            "delete": frozenset(State) - {State.PROCESSING},
        }
        act = getattr(self.runtime.manager, what)
        if model.state not in states[what]:
            with pytest.raises(WrongStateError):
                await act(job_id)
            return
        await act(job_id)
        if what == "kill":
            model.close(Outcome.KILL, State.KILLED)
        elif what == "requeue":
            model.state, model.made, model.due, model.crashes = State.PENDING, 0, None, 0
            model.retries, model.retried_at = 0, float("-inf")
            model.history.append((None, Outcome.REQUEUE))
        else:
            del self.jobs[job_id]

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        set_clock(self.runtime, START + timedelta(seconds=self.now))

    async def go_round(self, which: int, delay: float) -> None:
        """Let a job go back three times, each time as soon as it may."""
        for _ in range(3):
            if self.claims:
                await self.settle(which, Outcome.RETRY, delay)
            await self.pass_time(max(delay, 1))
            await self.promote()
            await self.claim()
            which = len(self.claims) - 1 if self.claims else 0

    async def promote(self) -> None:
        await Promoter(self.runtime.jobs, self.runtime.notifier).run_once()
        for model in self.jobs.values():
            if model.state is State.DELAYED and model.due is not None and model.due <= self.now:
                model.state = State.PENDING

    async def reap(self) -> None:
        await patient_reaper(self.runtime).run_once()
        running = [model for model in self.jobs.values() if model.lease_end is not None]
        over = [model for model in running if model.end <= self.now]
        ends = {id(model): self._lost(model, [one for one in running if one is not model]) for model in over}
        for model in over:
            match ends[id(model)]:
                case "worker" if model.attempts > 1 and not model.is_suspect:
                    model.crash(self.now)
                case "worker" | "lease":
                    model.fail(Outcome.HANGING, self.now)

    def _lost(self, model: Modelled, others: list[Modelled]) -> str:
        """Return what a job has lost: its lease alone, or its worker; or that this is not known yet."""
        if any(one.begun <= model.end - LEASE and one.end - LEASE > model.end for one in others):
            return "lease"
        beside = [one for one in others if model.is_beside(one)]
        if all(one.end <= self.now for one in beside):
            return "worker" if beside else "lease"
        return "unknown"

    async def die(self, claims: int) -> None:
        """Let the worker claim jobs, and then be silent for ever."""
        await self.add(2, 0, 0, 0)
        for _ in range(claims):
            await self.claim()
        await self.pass_time(LEASE)
        await self.reap()

    async def compare(self) -> None:
        for job_id, model in self.jobs.items():
            job = await self.runtime.jobs.get(job_id)
            check(job)
            assert (job.state, job.attempts_made, job.crashes or 0) == (model.state, model.made, model.crashes)
            assert [(entry.token, entry.outcome) for entry in job.history] == model.history
            assert {entry.token for entry in job.history if entry.late} == model.late
            assert (job.claim.token if job.claim else None) == model.token
            if model.state is State.DELAYED:
                assert job.delay_til == START + timedelta(seconds=model.due or 0)
            if model.lease_end is not None:
                assert job.reset_at == START + timedelta(seconds=model.lease_end)
        known = {"$ifNull": ["$readyAt", {"$max": ["$insertAt", "$delayTil"]}]}
        odd = {"state": "pending", "$expr": {"$ne": [known, statements.ready()]}}
        assert await self.runtime.jobs.collection.find_one(odd) is None
        own = {"state": {"$exists": True}, "callbackOf": {"$exists": False}}
        assert await self.runtime.jobs.collection.count_documents(own) == len(self.jobs)


def check(job: Job) -> None:
    """Make sure of what holds for every job at any time."""
    running = job.state is State.PROCESSING
    assert (job.claim is not None) == (job.reset_at is not None) == running
    assert (job.end_at is not None) == (job.state in FINAL)
    open_tokens = [entry.token for entry in job.history if entry.outcome is None]
    assert open_tokens == ([job.claim.token] if job.claim else [])
    tokens = [entry.token for entry in job.history if entry.token]
    assert len(tokens) == len(set(tokens))
    outcomes = [entry.outcome for entry in job.history]
    assert outcomes.count(Outcome.REQUEUE) == job.run
    last_run = outcomes[len(outcomes) - outcomes[::-1].index(Outcome.REQUEUE) :] if job.run else outcomes
    assert sum(outcome in COUNTED for outcome in last_run) == job.attempts_made <= job.attempts
    ends: dict[State, set[Outcome | None]] = {
        State.SUCCESS: {Outcome.SUCCESS},
        State.FAILED: {Outcome.FAIL, Outcome.HANGING, Outcome.TIMEOUT},
        State.KILLED: {Outcome.DIE, Outcome.KILL, *last_run},
    }
    if job.state in ends and (last_run or job.state is not State.KILLED):
        assert last_run[-1] in ends[job.state]
    assert last_run.count(Outcome.SUCCESS) == (job.state is State.SUCCESS)
    assert (job.result is not None) == (job.state is State.SUCCESS)


numbers = st.integers(0, 9)
steps = st.one_of(
    st.tuples(
        st.just("add"), st.integers(1, 3), st.sampled_from([0, 5]), st.integers(0, 1), st.sampled_from([0, 0, 4])
    ),
    st.tuples(st.just("claim")),
    st.tuples(st.just("claim")),
    st.tuples(st.just("settle"), numbers, st.sampled_from(list(VERDICTS))),
    st.tuples(st.just("settle"), numbers, st.sampled_from(list(VERDICTS))),
    st.tuples(st.just("settle"), numbers, st.just(Outcome.RETRY), st.sampled_from([0, 0.2, 1, 7, 11])),
    st.tuples(st.just("go_round"), numbers, st.sampled_from([0.2, 5, 11])),
    st.tuples(st.just("beat"), numbers),
    st.tuples(st.just("release"), numbers),
    st.tuples(st.just("person"), numbers, st.sampled_from(["kill", "requeue", "requeue", "delete"])),
    st.tuples(st.just("pass_time"), st.sampled_from([1, 4, 5, 6, 10, 11])),
    st.tuples(st.just("promote")),
    st.tuples(st.just("reap")),
    st.tuples(st.just("die"), st.integers(1, 3)),
)


async def walk(runtime: Runtime, chosen: list[tuple[Any, ...]]) -> None:
    await runtime.jobs.collection.delete_many({})
    runtime.claims.unsettle(None)  # the present begins anew
    twin = Twin(runtime)
    await twin.pass_time(0)
    await twin.add(2, 5, 0, 0)
    await twin.claim()
    for name, *arguments in chosen:
        if twin.jobs or name != "person":
            await getattr(twin, name)(*arguments)
            await twin.compare()


def test_jobs_in_the_database_live_as_those_of_a_simple_model(settings: Settings) -> None:
    with asyncio.Runner() as runner:
        runtime = runner.run(Runtime.open(settings))

        @hypothesis(max_examples=sized(30, 300), deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(steps, min_size=4, max_size=40))
        def compare(chosen: list[tuple[Any, ...]]) -> None:
            runner.run(walk(runtime, chosen))

        try:
            runner.run(runtime.queues.patch("default", {"maxRetries": MOST_RETRIES}))
            compare()
        finally:
            runner.run(runtime.close())


class Crowd:
    """Workers, reapers and people who do what they like with the same few jobs, through services of their own."""

    def __init__(self, runtime: Runtime, ids: list[str], seed: int) -> None:
        self.runtime = runtime
        self.ids = ids
        self.rng = random.Random(seed)  # noqa: S311 - no secret
        self.claims: list[ClaimedJob] = []
        self.done: Counter[str] = Counter()

    async def act(self) -> None:
        verbs = [self.claim, self.claim, self.settle, self.settle, self.beat, self.release, self.hang, self.person]
        verb = self.rng.choice(verbs)
        try:
            await verb()
        except (ConflictError, NotFoundError) as error:
            self.done[type(error).__name__] += 1
        else:
            self.done[verb.__name__] += 1

    async def claim(self) -> None:
        claimed = await self.runtime.work.claim("default", ("work",), worker="w")
        if claimed is not None:
            self.claims.append(claimed)

    def any_claim(self) -> ClaimedJob | None:
        return self.rng.choice(self.claims[-5:]) if self.claims else None

    async def settle(self) -> None:
        if claimed := self.any_claim():
            verdict = self.rng.choice([*VERDICTS.values(), RunAgain(), Failure(error=ERROR)])
            await self.runtime.work.settle(claimed.job, claimed.token, verdict)

    async def beat(self) -> None:
        if claimed := self.any_claim():
            await self.runtime.work.report(claimed.job, claimed.token, progress=50, lines=[("x", None)])

    async def release(self) -> None:
        if claimed := self.any_claim():
            await self.runtime.work.release(claimed.job, claimed.token)

    async def hang(self) -> None:
        if claimed := self.any_claim():
            await end_lease(self.runtime, claimed.job)
            await patient_reaper(self.runtime).run_once()

    async def person(self) -> None:
        job_id = self.rng.choice(self.ids)
        admin = self.runtime.manager
        if self.rng.random() < 0.2:
            await admin.kill(job_id)
        elif self.rng.random() < 0.5:
            await admin.patch(job_id, {"delay_til": None})
        else:
            await admin.requeue(job_id, {"data": {"n": self.rng.random()}})


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_many_do_at_once_every_job_stays_consistent(
    settings: Settings, idle_runtime: Runtime, seed: int
) -> None:
    child = NewJob(type="child")
    new = [NewJob(type="work", backoff=FixedBackoff(n % 2), attempts=1 + n % 3, on_complete=child) for n in range(8)]
    ids = [job.id for job in await idle_runtime.producer.add_all(new)]
    async with open_runtime(settings) as other:
        crowd = [Crowd((idle_runtime, other)[number % 2], ids, seed * 100 + number) for number in range(10)]

        async def busy(one: Crowd) -> None:
            for _ in range(40):
                await one.act()

        await asyncio.gather(*(busy(one) for one in crowd))
    await idle_runtime.outboxes.run_once()
    done = sum((one.done for one in crowd), Counter())
    assert min(done[verb] for verb in ("claim", "settle", "beat", "person", "StaleTokenError")) > 5, done
    for job_id in ids:
        job = await idle_runtime.jobs.whole(job_id)
        check(job)
        assert job.outbox == ()
        born = await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(job_id)})
        assert born <= job.run + 1
        if job.state in FINAL:
            assert await idle_runtime.jobs.find(child_id(job, "onComplete.0"))
