"""The threads that renew leases: they end, hang, and meet errors of any kind."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import NetworkTimeout, OperationFailure

from jobqueue.store.mongo.database import Database
from jobqueue.store.mongo.outage import Outage
from jobqueue.store.work.leases import LeaseKeeper, LostClaim
from jobqueue.store.work.renewals import RenewalConnection
from tests.support.data.factories import claimed_job, document, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

LEASE = 1.0


@pytest.fixture
def keeper(idle_runtime: Runtime) -> LeaseKeeper:
    return idle_runtime.keeper


def keep(keeper: LeaseKeeper, claimed: ClaimedJob, on_lost: Callable[[LostClaim], None]) -> None:
    keeper.keep(claimed.job, claimed.token, on_lost, since=claimed.sent_at)


async def end_of_lease(runtime: Runtime, claimed: ClaimedJob) -> datetime:
    at: datetime = (await document(runtime, claimed.job.id))["resetAt"]
    return at


async def renewals(runtime: Runtime, claimed: ClaimedJob, count: int) -> None:
    """Wait for so many renewals."""
    for _ in range(count):
        before = await end_of_lease(runtime, claimed)

        async def is_later(before: datetime = before) -> bool:
            return await end_of_lease(runtime, claimed) > before

        await eventually(is_later)


def end_thread(name: str) -> None:
    """End a thread by an exit that comes out of nowhere."""
    (thread,) = [one for one in threading.enumerate() if one.name == name]
    assert thread.ident is not None
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["leases", "leases-watch"])
async def test_a_thread_that_has_ended_is_started_again_though_no_job_is_claimed(
    idle_runtime: Runtime, keeper: LeaseKeeper, name: str
) -> None:
    claimed = await claimed_job(idle_runtime, lease=LEASE)
    lost: list[LostClaim] = []
    keep(keeper, claimed, lost.append)
    await renewals(idle_runtime, claimed, 1)
    (before,) = [one for one in threading.enumerate() if one.name == name]
    end_thread(name)
    await eventually(lambda: not before.is_alive())
    await eventually(lambda: [one for one in threading.enumerate() if one.name == name])
    await renewals(idle_runtime, claimed, 2)
    assert lost == []


async def test_a_thread_that_hangs_is_replaced_and_its_leases_are_reported_when_they_end(
    idle_runtime: Runtime, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.store.work.renewer.CALL_SECONDS", 1.0)
    monkeypatch.setattr("jobqueue.store.work.renewer._STUCK_SECONDS", 0.5)
    hangs, go_on = threading.Event(), threading.Event()
    renew = RenewalConnection.renew

    def hang(self: RenewalConnection, leases: Any) -> Any:
        if not hangs.is_set():
            hangs.set()
            go_on.wait(60)
        return renew(self, leases)

    monkeypatch.setattr(RenewalConnection, "renew", hang)
    short, long = [await claimed_job(idle_runtime, queue=f"q{lease}", lease=lease) for lease in (1, 60)]
    lost: dict[str, LostClaim] = {}
    try:
        for one in (short, long):
            keep(keeper, one, lambda loss, token=one.token: lost.update({token: loss}))  # type: ignore[misc]
        await eventually(lambda: short.token in lost)
        assert not lost[short.token].known
        keeper.check(long.token)
        await renewals(idle_runtime, long, 1)
        keeper.check(long.token)
        await renewals(idle_runtime, long, 1)
    finally:
        go_on.set()
    assert set(lost) == {short.token}


async def test_a_holder_that_raises_when_it_hears_of_its_loss_keeps_nobody_else_from_hearing(
    idle_runtime: Runtime, keeper: LeaseKeeper
) -> None:
    first, second, third = [await claimed_job(idle_runtime, queue=f"q{n}", lease=LEASE) for n in range(3)]
    heard: list[LostClaim] = []

    def fall(_: LostClaim) -> None:
        heard.append(_)
        raise RuntimeError("this holder is gone")

    keep(keeper, first, fall)
    keep(keeper, second, heard.append)
    keep(keeper, third, heard.append)
    await succeed(idle_runtime, first)
    await eventually(lambda: len(heard) == 1)
    await renewals(idle_runtime, third, 2)
    await succeed(idle_runtime, second)
    await eventually(lambda: len(heard) == 2)
    assert all(loss.known for loss in heard)
    await renewals(idle_runtime, third, 1)


async def test_heartbeats_begin_when_the_hosts_of_the_database_become_known(idle_runtime: Runtime) -> None:
    database = idle_runtime.database
    astray = LeaseKeeper(Database(database._client, database.name, "mongodb://host:no-port"))
    claimed, later = [await claimed_job(idle_runtime, queue=f"q{n}", lease=lease) for n, lease in ((1, 1), (2, 60))]
    lost: list[LostClaim] = []
    try:
        keep(astray, claimed, lost.append)
        keep(astray, later, lost.append)
        await eventually(lambda: lost)
        assert [(loss.known, loss.reason) for loss in lost] == [
            (False, "the lease has ended: MongoDB could not be reached")
        ]
        assert astray._renewer is not None
        astray._renewer._url = database.url
        astray.check(later.token)
        await renewals(idle_runtime, later, 1)
    finally:
        astray.stop()


@pytest.mark.parametrize("broken", [(RenewalConnection, "ping"), (Outage, "look"), (RenewalConnection, "renew")])
async def test_an_error_that_nobody_foresaw_is_a_heartbeat_that_failed(
    idle_runtime: Runtime, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch, broken: tuple[type, str]
) -> None:
    claimed = await claimed_job(idle_runtime, lease=LEASE)
    broke = threading.Event()
    was = getattr(*broken)
    if broken == (Outage, "look"):
        monkeypatch.setattr(RenewalConnection, "renew", _timed_out_once(RenewalConnection.renew))

    def breaks(*arguments: Any) -> Any:
        if not broke.is_set():
            broke.set()
            raise LookupError("nobody foresaw this")
        return was(*arguments)

    monkeypatch.setattr(*broken, breaks)
    lost: list[LostClaim] = []
    keep(keeper, claimed, lost.append)
    await eventually(broke.is_set)
    await renewals(idle_runtime, claimed, 2)
    assert lost == []


def _timed_out_once(renew: Callable[..., Any]) -> Callable[..., Any]:
    timed_out = threading.Event()

    def inner(*arguments: Any) -> Any:
        if not timed_out.is_set():
            timed_out.set()
            raise NetworkTimeout("no answer")
        return renew(*arguments)

    return inner


async def test_a_claim_that_is_gone_is_told_from_those_that_are_renewed_with_it(
    idle_runtime: Runtime, keeper: LeaseKeeper
) -> None:
    claims = [await claimed_job(idle_runtime, queue=f"q{n % 3}", lease=60) for n in range(12)]
    lost: set[str] = set()
    for one in claims:
        keep(keeper, one, lambda _, token=one.token: lost.add(token))  # type: ignore[misc]
    for one in claims[:4]:
        await succeed(idle_runtime, one)
    ends = [await end_of_lease(idle_runtime, one) for one in claims[4:]]
    for one in claims:
        keeper.check(one.token)
    await eventually(lambda: lost == {one.token for one in claims[:4]})

    async def are_renewed() -> bool:
        return all([await end_of_lease(idle_runtime, one) > end for one, end in zip(claims[4:], ends, strict=True)])

    await eventually(are_renewed)
    assert lost == {one.token for one in claims[:4]}


async def test_a_job_that_cannot_be_renewed_keeps_no_other_from_being_renewed(
    idle_runtime: Runtime, keeper: LeaseKeeper
) -> None:
    poison, innocent = [await claimed_job(idle_runtime, queue=f"q{n}", lease=LEASE, timeout=60) for n in range(2)]
    spoilt = {"$set": {"startAt": "no date"}}
    await idle_runtime.jobs.collection.update_one({"queue": "q0"}, spoilt)
    lost: dict[str, LostClaim] = {}
    for one in (poison, innocent):
        keep(keeper, one, lambda loss, token=one.token: lost.update({token: loss}))  # type: ignore[misc]
    await eventually(lambda: poison.token in lost)
    assert lost[poison.token].reason == "the lease has ended: MongoDB did not renew it"
    assert time.monotonic() - poison.sent_at >= LEASE
    await renewals(idle_runtime, innocent, 2)
    assert set(lost) == {poison.token}


async def test_a_claim_whose_reply_comes_after_a_whole_lease_is_asked_for_before_it_is_given_up(
    idle_runtime: Runtime, keeper: LeaseKeeper
) -> None:
    claims = [await claimed_job(idle_runtime, queue=f"q{n}", lease=60) for n in range(2)]
    await succeed(idle_runtime, claims[0])
    lost: list[tuple[str, bool]] = []
    ends = await end_of_lease(idle_runtime, claims[1])
    for one in claims:
        since = time.monotonic() - 100
        keeper.keep(one.job, one.token, lambda loss, token=one.token: lost.append((token, loss.known)), since=since)  # type: ignore[misc]

    async def is_renewed() -> bool:
        return await end_of_lease(idle_runtime, claims[1]) > ends

    await eventually(is_renewed)
    await eventually(lambda: lost)
    assert lost == [(claims[0].token, True)]


async def test_a_check_that_is_asked_for_while_a_renewal_is_on_its_way_is_made(
    idle_runtime: Runtime, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime, lease=60)
    on_its_way, go_on = threading.Event(), threading.Event()
    renew = RenewalConnection.renew

    def held_up(self: RenewalConnection, leases: Any) -> Any:
        renewal = renew(self, leases)
        on_its_way.set()
        go_on.wait(20)
        return renewal

    monkeypatch.setattr(RenewalConnection, "renew", held_up)
    lost: list[LostClaim] = []
    keep(keeper, claimed, lost.append)
    keeper.check(claimed.token)
    await eventually(on_its_way.is_set)
    await succeed(idle_runtime, claimed)
    keeper.check(claimed.token)
    go_on.set()
    await eventually(lambda: lost, within=5)
    assert lost[0].known


async def test_a_group_that_is_refused_as_a_whole_is_renewed_in_smaller_groups(
    idle_runtime: Runtime, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [await claimed_job(idle_runtime, queue=f"q{n}", lease=4) for n in range(40)]
    poison = {claims[3].token, claims[17].token}
    renew = RenewalConnection.renew

    def refuse(self: RenewalConnection, leases: Any) -> Any:
        if poison & {one.token for one in leases}:
            raise OperationFailure("no", 4242)
        return renew(self, leases)

    monkeypatch.setattr(RenewalConnection, "renew", refuse)
    lost: set[str] = set()
    for one in claims:
        keep(keeper, one, lambda _, token=one.token: lost.add(token))  # type: ignore[misc]
    await eventually(lambda: lost == poison)
    await asyncio.gather(*(renewals(idle_runtime, one, 1) for one in claims if one.token not in poison))
    assert lost == poison


async def test_a_database_that_refuses_everything_is_asked_seldom_and_then_for_whole_groups(
    idle_runtime: Runtime, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [await claimed_job(idle_runtime, queue=f"q{n}", lease=20) for n in range(40)]
    renew = RenewalConnection.renew
    refusals: list[int] = []
    groups: list[int] = []

    def refuse(self: RenewalConnection, leases: Any) -> Any:
        if len(refusals) < 12:
            refusals.append(len(leases))
            raise OperationFailure("no", 13)
        groups.append(len(leases))
        return renew(self, leases)

    monkeypatch.setattr(RenewalConnection, "renew", refuse)
    lost: list[LostClaim] = []
    for one in claims:
        keep(keeper, one, lost.append)
    keeper.check(claims[0].token)
    await eventually(lambda: sum(groups) >= 40, within=40)
    assert len(groups) <= 3
    assert lost == []


async def test_claims_that_a_new_primary_takes_for_held_are_asked_for_again_each_alone(
    idle_runtime: Runtime, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [await claimed_job(idle_runtime, queue=f"q{n}", lease=60) for n in range(6)]
    groups: list[int] = []
    renew = RenewalConnection.renew

    def counted(self: RenewalConnection, leases: Any) -> Any:
        groups.append(len(leases))
        return renew(self, leases)

    monkeypatch.setattr(RenewalConnection, "renew", counted)
    monkeypatch.setattr(RenewalConnection, "_held", lambda _self, leases: {one.token for one in leases})
    await succeed(idle_runtime, claims[0])
    lost: set[str] = set()
    now = time.monotonic()
    for one in claims:
        # So long ago that all are due at once.
        keeper.keep(one.job, one.token, lambda _, token=one.token: lost.add(token), since=now - 20)  # type: ignore[misc]
    await eventually(lambda: lost)
    assert lost == {claims[0].token}
    assert groups[-1] == 1
