"""The composition of all services of one process, from start to close."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import DatabaseError
from jobqueue.journal import get_logger
from jobqueue.services.access.access import Access
from jobqueue.services.access.sessions import Sessions
from jobqueue.services.alerts.alerts import Alerts
from jobqueue.services.alerts.detector import LOOK_SECONDS, AlertDetector
from jobqueue.services.bulk.failures import MARK_SECONDS, Failures
from jobqueue.services.bulk.operations import Operations
from jobqueue.services.concerns import Concerns
from jobqueue.services.insight.audit import Audit
from jobqueue.services.insight.count_keeper import COUNT_SECONDS, CountKeeper, FailureCountKeeper
from jobqueue.services.insight.events import Events
from jobqueue.services.insight.job_counts import JobCounts
from jobqueue.services.insight.metrics import Metrics
from jobqueue.services.insight.readiness import Readiness
from jobqueue.services.insight.rollups import ROLL_SECONDS, Roller, RollupWriter
from jobqueue.services.insight.search import Searches
from jobqueue.services.insight.series import Series
from jobqueue.services.insight.stats import Stats
from jobqueue.services.insight.suggestions import Suggestions
from jobqueue.services.jobs.adopt import ADOPT_SECONDS, Adopter
from jobqueue.services.jobs.edits import EDIT_SECONDS, EditFollower
from jobqueue.services.jobs.manage import JobManager
from jobqueue.services.jobs.producer import Producer
from jobqueue.services.jobs.retention import PRUNE_SECONDS, UNREAD_SECONDS, Pruner, UnreadJobs
from jobqueue.services.jobs.watch import JobWatch
from jobqueue.services.limits.breakers import Breakers
from jobqueue.services.limits.group_keys import KEY_SECONDS, LimitKeys
from jobqueue.services.limits.group_use import GroupUses
from jobqueue.services.limits.limiter import Limiter
from jobqueue.services.outbox.awaiting import AWAIT_SECONDS, Awaiting
from jobqueue.services.outbox.batch_ends import BatchEnds
from jobqueue.services.outbox.batch_restarts import BatchRestarts
from jobqueue.services.outbox.dependencies import Dependencies
from jobqueue.services.outbox.derived_jobs import DerivedJobs
from jobqueue.services.outbox.outbox import OUTBOX_SECONDS, Outboxes
from jobqueue.services.outbox.revival import Revival
from jobqueue.services.queues.explain import Explainer
from jobqueue.services.queues.queue_why import QueueExplainer
from jobqueue.services.queues.queues import Queues
from jobqueue.services.queues.type_checks import TypeChecks
from jobqueue.services.queues.webhook_tests import WebhookTests
from jobqueue.services.runs.attempts import Attempts
from jobqueue.services.schedules.declared import DECLARE_SECONDS, DeclaredSchedules
from jobqueue.services.schedules.manual_runs import ManualRuns
from jobqueue.services.schedules.schedules import Scheduler, Schedules
from jobqueue.services.signals.config import QueueConfigs
from jobqueue.services.signals.log_signals import Logs
from jobqueue.services.signals.notifier import Notifier, Wakeup
from jobqueue.services.signals.pulse import PULSE_SECONDS, REST_SECONDS, Pulse
from jobqueue.services.signals.relay import Relay
from jobqueue.services.steps.admission import StepAdmission
from jobqueue.services.steps.calls import Calls
from jobqueue.services.steps.doubts import Doubts
from jobqueue.services.steps.links import SignalLinks
from jobqueue.services.steps.signals import Signals
from jobqueue.services.steps.steps import Steps
from jobqueue.services.work.context import JobRelatives
from jobqueue.services.work.crashes import CrashDetector
from jobqueue.services.work.dispatcher import Dispatcher
from jobqueue.services.work.drains import Drains
from jobqueue.services.work.loops import Expiry, Loop, Promoter, Reaper
from jobqueue.services.work.roster import Roster
from jobqueue.services.work.several import SeveralAttempts
from jobqueue.services.work.worker_registry import SIGN_SECONDS, WorkerRegistry, about, worker_name
from jobqueue.services.workflow.batches import Batches
from jobqueue.services.workflow.idempotency import Idempotency
from jobqueue.store import indexes
from jobqueue.store.access.scope_checks import ScopeChecks
from jobqueue.store.access.secrets import SecretStore
from jobqueue.store.access.tokens import TokenStore
from jobqueue.store.bulk.failure_counts import FailureCountStore
from jobqueue.store.bulk.failures import FailureStore
from jobqueue.store.bulk.operations import OperationStore
from jobqueue.store.edits.edits import EditStore
from jobqueue.store.embedded.lifecycle import EmbeddedMongo
from jobqueue.store.external.adoption import ExternalStore
from jobqueue.store.insight.audit import AuditStore
from jobqueue.store.insight.audit_outbox import DRAIN_SECONDS, AuditOutbox
from jobqueue.store.insight.job_stream import JobStream
from jobqueue.store.insight.rollups import RollupStore
from jobqueue.store.insight.wakeup_stream import WakeupStream
from jobqueue.store.jobs.jobs import JobStore
from jobqueue.store.jobs.logs import LogStore
from jobqueue.store.limits.group_keys import LimitKeyStore
from jobqueue.store.limits.group_use import GroupUseStore
from jobqueue.store.limits.limits import LimitStore
from jobqueue.store.mongo.database import Database
from jobqueue.store.mongo.readiness import check as check_readiness
from jobqueue.store.mongo.turns import Turn
from jobqueue.store.pulse import PulseStore
from jobqueue.store.queues.config import ConfigStore
from jobqueue.store.queues.heads import HeadStore
from jobqueue.store.queues.queues import QueueStore
from jobqueue.store.retention.pruning import PruningStore
from jobqueue.store.schedules.schedules import ScheduleStore
from jobqueue.store.search.aggregates import AggregateStore
from jobqueue.store.search.listings import Listing
from jobqueue.store.search.samples import SampleStore
from jobqueue.store.search.search import SearchStore
from jobqueue.store.search.short_ids import ShortIdStore
from jobqueue.store.work.claims import ClaimStore
from jobqueue.store.work.leases import LeaseKeeper
from jobqueue.store.work.neighbours import NeighbourStore
from jobqueue.store.work.several_claims import SeveralClaims
from jobqueue.store.work.workers import WorkerStore
from jobqueue.store.workflow.additions import SWEEP_SECONDS
from jobqueue.store.workflow.batches import BatchStore
from jobqueue.store.workflow.dependencies import DependencyStore
from jobqueue.store.workflow.forms import FormStore
from jobqueue.store.workflow.generations import GenerationStore
from jobqueue.store.workflow.graphs import GraphStore
from jobqueue.store.workflow.idempotency import IdempotencyStore
from jobqueue.store.workflow.requeues import RequeueStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.work.lanes import Lane
    from jobqueue.settings import Settings

log = get_logger(__name__)


class Runtime:
    """The services of one process on one database.

    `open` returns the use cases; `start` adds the change stream and the maintenance in the background.
    """

    loops: Sequence[Loop] = ()
    _pulse: Pulse | None = None

    def __init__(self, settings: Settings, database: Database, embedded: EmbeddedMongo | None) -> None:
        self.settings, self.database, self.embedded, self.name = settings, database, embedded, worker_name()
        self.notifier = Notifier()
        self.jobs, self.short_ids = JobStore(database), ShortIdStore(database)
        self.claims = ClaimStore(database)
        self.config_store, self.listing = ConfigStore(database), Listing(database)
        self.configs = QueueConfigs(self.config_store, lambda: self.notifier.tell(Wakeup(kind="config")))
        self.audit = Audit(AuditStore(database))
        self.dependencies, generations = DependencyStore(database), GenerationStore(database)
        self._batch_store = batch_store = BatchStore(database, self.jobs)
        dependencies = Dependencies(self.dependencies, self.jobs, self.notifier)
        self.requeues = requeues = RequeueStore(self.jobs)
        derived = DerivedJobs(self.jobs, self.dependencies, self.configs, self.notifier)
        ends = BatchEnds(batch_store, generations, requeues, derived)
        self.limits, self.limit_keys, self.edits = LimitStore(database), LimitKeyStore(database), EditStore(database)
        self.breakers = Breakers(self.limits, self.configs, self.notifier)
        self.outboxes = Outboxes(
            self.jobs,
            self.claims,
            dependencies,
            Revival(self.dependencies, self.jobs, requeues, ends),
            BatchRestarts(batch_store, generations, requeues, self.dependencies, self.claims, ends, self.notifier),
            self.breakers,
            derived,
            Awaiting(self.jobs, self.notifier),
        )
        neighbours, workers = NeighbourStore(database), WorkerStore(database)
        self.roster = Roster(workers, neighbours, self.configs)
        self.configs.check = TypeChecks(self.roster).check
        self.producer = Producer(self.jobs, dependencies, self.outboxes, self.configs, self.notifier)
        self.logs, self.expiry = Logs(LogStore(database)), Expiry(self.claims.expiry, self.outboxes)
        self.adopter = Adopter(ExternalStore(database), dependencies, self.outboxes, self.configs, self.notifier)
        self.manager = JobManager(
            self.jobs, requeues, self.dependencies, self.listing, self.configs, self.outboxes, self.notifier, self.audit
        )
        self.work = Attempts(
            self.jobs,
            self.claims,
            Limiter(self.limits, self.limit_keys, self.claims, self.breakers, self.configs),
            self.dependencies,
            Steps(self.jobs.steps, self.jobs, StepAdmission(self.config_store, self.configs, workers)),
            self.outboxes,
            self.logs,
            self.notifier,
        )
        self.work.steps.calls = Calls(self.jobs, dependencies, self.outboxes, self.configs, self.notifier, self.manager)
        self.signals = Signals(self.jobs, self.notifier, self.audit)
        self.doubts, links = Doubts(self.jobs, self.notifier, self.audit), SecretStore(database)
        self.links = self.work.steps.links = SignalLinks(links, database.clock, settings.address)
        self.operations = Operations(OperationStore(database), self.jobs, self.manager)
        self.scope_checks, search_store = ScopeChecks(database), SearchStore(database)
        self.batches = Batches(
            *(batch_store, self.jobs, dependencies, self.outboxes),
            *(self.operations, self.configs, self.notifier, self.scope_checks),
        )
        self.access = Access(TokenStore(database), self.audit)
        self.failures = Failures(FailureStore(database), self.manager, self.operations.patches)
        self.searches = Searches(search_store, AggregateStore(database, search_store))
        self.sessions = Sessions(links.sessions, self.access, settings.admin_token)
        self.figures, self.pruning = QueueStore(database), PruningStore(database, self.jobs.readers)
        self.queues = Queues(
            self.config_store, self.figures, self.manager, self.outboxes, self.breakers, self.configs, self.notifier
        )
        self.schedules = Schedules(schedule_store := ScheduleStore(database), self.configs.admit)
        self.manual_runs = ManualRuns(self.schedules, self.producer, self.audit)
        self.events, self.job_counts = Events(JobStream(database)), JobCounts(self.figures)
        self.waiting, self.scheduler = JobWatch(self.jobs, self.events), Scheduler(schedule_store, self.producer)
        self.registry = WorkerRegistry(workers, self.name, about(), settings.drain_timeout)
        self._view(database, workers, neighbours)
        self.idempotency = Idempotency(IdempotencyStore(database), self.jobs, self.producer, self.batches)
        self._count(database)
        self.changes, self.keeper = WakeupStream(database), LeaseKeeper(database)
        self._relay = Relay(self.notifier)
        self.notifier.listen(self._on_wakeup)
        self._tasks: list[asyncio.Task[Any]] = []
        self._starting, self._closing = asyncio.Lock(), False

    def _count(self, database: Database) -> None:
        """Compose the services that count."""
        self.roller = RollupWriter(rollups := RollupStore(database), database.clock)
        self.metrics = self.work.metrics = Metrics(self.job_counts, database.clock)
        self.readiness = Readiness(lambda: check_readiness(database))
        self.stats = Stats(rollups, self.roller, self.job_counts, database.clock)
        self.series = Series(rollups, self.roller, database.clock)

    def _view(self, database: Database, workers: WorkerStore, neighbours: NeighbourStore) -> None:
        """Compose the services of people."""
        self.forms = FormStore(database)
        self.crashes, self.drains = CrashDetector(neighbours), Drains(workers.drains, self.roster, self.audit)
        self.graphs, self.suggestions = GraphStore(database), Suggestions(SampleStore(database))
        self.declared = DeclaredSchedules(self.schedules, workers, self.registry, self.name)
        self.explainer = Explainer(
            self.jobs, self.configs, self.limits, self.breakers, workers, self.figures, self.scope_checks, neighbours
        )
        self.queue_explainer = QueueExplainer(self.explainer, HeadStore(database), self.configs)
        self.group_uses = GroupUses(GroupUseStore(database), self.limits, self.configs)
        self.concerns = Concerns(
            *(self.failures, self.queues, self.queue_explainer, self.roster, self.schedules, self.listing),
            *(self.operations.store, database.clock),
        )
        self.webhook_tests = WebhookTests(self.queues, self.audit, database.clock, self.settings)
        self.alerts = Alerts(database, self.producer, self.queues, self.config_store)
        self.detector = AlertDetector(self.alerts, self.concerns, self.configs, Turn(database, "alerts"))

    @classmethod
    async def open(
        cls, settings: Settings, *, creates: bool = True, answered: Callable[[], None] = lambda: None
    ) -> Runtime:
        """Connect to the MongoDB of the settings, or to the embedded MongoDB, which is started if need be.

        Args:
            settings: of the process.
            creates: create the database if it does not exist.
            answered: called when MongoDB has answered.

        Raises:
            NoDatabaseError: the database does not exist, and ``creates`` is false.
            DatabaseError: MongoDB cannot be reached, is not suitable, or cannot be started.
        """
        embedded = None
        url = settings.mongo_url
        if url is None:
            if not creates:
                await asyncio.to_thread(EmbeddedMongo.check_there, settings.data_dir)
            embedded = await asyncio.to_thread(EmbeddedMongo.acquire, settings.data_dir, mongod=settings.mongod)
            url = embedded.url
        try:
            prepare = partial(indexes.ensure, creates=creates)
            database = await Database.connect(url, settings.db, prepare=prepare, answered=answered)
        except BaseException:
            if embedded is not None:
                await asyncio.to_thread(embedded.release)
            raise
        return cls(settings, database, embedded)

    async def start(self) -> None:
        """Start the background work, once."""
        async with self._starting:
            if self._tasks:
                return
            await self.configs.refresh()
            if not self._closing:
                self._begin()

    def _begin(self) -> None:
        promoter = Loop("promoter", Promoter(self.jobs, self.notifier).run_once, every=REST_SECONDS)
        edits = EditFollower(self.edits, self.configs, self.limit_keys, self.notifier)
        reaper = Reaper(self.jobs, self.outboxes, self.breakers, self.notifier, self.crashes)
        reaper.metrics = self.metrics
        failure_counts = FailureCountKeeper(FailureCountStore(self.database), self.database.clock)
        pulse = self._pulse = Pulse(PulseStore(self.database), self.configs, reaper.saw_database)
        configs = Loop("config", self.configs.refresh, every=REST_SECONDS)
        operations = Loop("operations", self.operations.run_once, every=REST_SECONDS)
        self.operations.begun = operations.wake
        declaring = Loop("declared schedules", self.declared.run_once, every=DECLARE_SECONDS)
        self.declared.begun = declaring.wake
        adopter = Loop("adopter", self.adopter.run_once, every=ADOPT_SECONDS)
        loops = [
            promoter,
            operations,
            configs,
            adopter,
            Loop("pulse", pulse.run_once, every=PULSE_SECONDS),
            Loop("awaited children", self.outboxes.awaiting.run_once, every=AWAIT_SECONDS),
            declaring,
            Loop("presence", self.registry.run_once, every=SIGN_SECONDS),
            Loop("limit keys", LimitKeys(self.configs, self.limit_keys, self.notifier).run_once, every=KEY_SECONDS),
            Loop("edits", edits.run_once, every=EDIT_SECONDS),
            Loop("statistics", Roller(self.roller, Turn(self.database, "statistics")).run_once, every=ROLL_SECONDS),
            Loop("counts", CountKeeper(self.figures.kept, self.figures).run_once, every=COUNT_SECONDS),
            Loop("failure counts", failure_counts.run_once, every=COUNT_SECONDS),
            Loop("batch attributes", self.batches.pages.run_once, every=self.batches.pages.seconds),
            self.detector.loop(),
            Loop("pruner", Pruner(self.configs, self.pruning).run_once, every=PRUNE_SECONDS),
        ]
        often = self.settings.reap_interval < PULSE_SECONDS
        reaping = Loop("reaper", reaper.run_once, every=self.settings.reap_interval if often else REST_SECONDS)
        unread, audit = UnreadJobs(self.jobs), AuditOutbox(self.database)
        for part, loop, every in (
            ("delayed", promoter, PULSE_SECONDS),
            ("operations", operations, PULSE_SECONDS),
            ("hanging", reaping, self.settings.reap_interval),
            ("expired", Loop("expiry", self.expiry.run_once, every=REST_SECONDS), PULSE_SECONDS),
            ("schedules", Loop("scheduler", self.scheduler.run_once, every=REST_SECONDS), PULSE_SECONDS),
            ("outboxes", Loop("completer", self.outboxes.run_once, every=REST_SECONDS), OUTBOX_SECONDS),
            ("unread", Loop("unread jobs", unread.run_once, every=REST_SECONDS), UNREAD_SECONDS),
            ("additions", Loop("additions", self._batch_store.additions.run_once, every=REST_SECONDS), SWEEP_SECONDS),
            ("failures", Loop("failures", self.failures.run_once, every=REST_SECONDS), MARK_SECONDS),
            ("audit", Loop("audit", audit.run_once, every=REST_SECONDS), DRAIN_SECONDS),
        ):
            pulse.on(part, loop.wake, every=every)
            if loop not in loops:
                loops.append(loop)
        pulse.on("alerts", self.detector.found, every=LOOK_SECONDS)
        self.notifier.listen(lambda wake: promoter.wake() if wake.kind in {"delayed", "all"} else None)
        self._relay.is_listening = True
        self.changes.listen(self._relay.on_change)
        self.changes.listen(lambda event: configs.wake() if event.kind in {"config", "gap"} else None)
        self.changes.listen(lambda event: adopter.wake() if event.external or event.kind == "gap" else None)
        for survivor in (self.changes, self.events, self.notifier, self.work.give_backs):
            survivor.turns.count = self.metrics.loop_failed
        self.changes.start()
        for loop in loops:
            loop.turns.count = self.metrics.loop_failed
        self.loops = loops
        self._tasks = [asyncio.create_task(loop.run()) for loop in loops]

    def relatives(self, job: Job) -> JobRelatives:
        """Return the relatives of a running job."""
        return JobRelatives(self.listing, self.dependencies, self.batches, job)

    def dispatcher(self, lanes: Callable[[], Sequence[Lane]], *, concurrency: int | None = None) -> Dispatcher:
        """Return a dispatcher for processors of this process."""
        made = Dispatcher(
            claims=SeveralAttempts(SeveralClaims(self.database, self.claims), self.configs, self.work),
            keeper=self.keeper,
            notifier=self.notifier,
            lanes=lanes,
            concurrency=concurrency or self.settings.concurrency,
            poll_interval=self.settings.poll_interval,
            worker=self.name,
            count=self.metrics.loop_failed,
        )
        made.is_idle = lambda within: self._pulse is not None and self._pulse.is_idle(within)
        made.version = self.settings.version
        self.registry.hold(lanes, made)
        return made

    async def close(self) -> None:
        """Stop the background work, close the connection and release the embedded MongoDB."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(DatabaseError):
            await self.registry.close()
        await self.changes.stop()
        await self.events.stop()
        await self.edits.close()
        await self.work.give_backs.drain()
        await self.outboxes.drain()
        await self.access.drain()
        await asyncio.to_thread(self.keeper.stop)
        await self.database.close()
        if self.embedded is not None:
            await asyncio.to_thread(self.embedded.release)

    def abandon(self) -> None:
        """Close the connections of an event loop that is closed already, and with it the background work."""
        self.keeper.stop()
        self.database.abandon()
        if self.embedded is not None:
            self.embedded.release()

    def _on_wakeup(self, wake: Wakeup) -> None:
        if wake.kind in {"ready", "all"}:
            self.claims.unsettle(wake.queue, wake.priority)
