"""Telling the crash of a worker from one job of it that hangs, by the leases of its jobs and its signs of life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.crash import CrashVerdict, Neighbour, group, verdict
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs import json_form, transitions
from jobqueue.store.documents import documents, statements
from tests.unit.jobs.domain_strategies import ERROR, make_job

TOKEN = "t" * 24
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def job(name: str, *, begun: float = 0, heard: float | None = None, lease: float = 10, **how: Any) -> Neighbour:
    """Return a job that was claimed at a moment and renewed last at another one."""
    reset_at = at((begun if heard is None else heard) + lease)
    fields: dict[str, Any] = {"job_id": name, "queue": "q", "worker": "w", "token": name, "lease": lease}
    return Neighbour(**fields, start_at=at(begun), reset_at=reset_at, **how)


def test_a_job_that_runs_by_itself_is_always_counted() -> None:
    assert verdict(job("a"), [], signed_at=None, now=at(10)) is CrashVerdict.COUNTED
    assert verdict(job("a"), [], signed_at=at(1), now=at(10)) is CrashVerdict.COUNTED


@pytest.mark.parametrize("signed_at", [None, at(3)])
def test_jobs_whose_leases_have_all_ended_together_have_crashed(signed_at: datetime | None) -> None:
    one, other = job("a", heard=2), job("b", begun=3)
    assert verdict(one, [other], signed_at=signed_at, now=at(13)) is CrashVerdict.CRASH
    assert verdict(other, [one], signed_at=signed_at, now=at(13)) is CrashVerdict.CRASH
    assert group(one, [other]) == [one, other]


def test_a_process_that_signs_after_the_lease_has_ended_lives() -> None:
    assert verdict(job("a"), [job("b")], signed_at=at(11), now=at(30)) is CrashVerdict.COUNTED


def test_the_silence_of_a_process_is_conclusive_after_more_than_two_signs() -> None:
    short, long = job("a", lease=2), job("b", heard=1, lease=60)
    assert verdict(short, [long], signed_at=at(1.5), now=at(13)) is CrashVerdict.OPEN
    assert verdict(short, [long], signed_at=at(1.5), now=at(13.5)) is CrashVerdict.CRASH


def test_a_heartbeat_elsewhere_does_not_hide_the_death_of_a_process() -> None:
    """A receiver that has accepted a webhook sends heartbeats although the server that called it is dead."""
    accepted = job("c", heard=20, lease=60)
    assert verdict(job("a"), [job("b"), accepted], signed_at=at(2), now=at(21)) is CrashVerdict.CRASH
    assert group(job("a"), [job("b"), accepted]) == [job("a"), job("b")]


def test_a_polling_worker_lives_while_a_job_of_the_same_time_gets_heartbeats() -> None:
    assert verdict(job("a"), [job("b", heard=11)], signed_at=None, now=at(12)) is CrashVerdict.COUNTED


def test_a_polling_worker_that_was_restarted_under_its_name_does_not_hide_its_death() -> None:
    after_restart = job("c", begun=5, heard=14)
    assert (
        verdict(job("a", heard=2), [job("b", heard=2), after_restart], signed_at=None, now=at(15)) is CrashVerdict.CRASH
    )
    assert verdict(job("a", heard=2), [after_restart], signed_at=None, now=at(15)) is CrashVerdict.COUNTED


def test_a_polling_worker_is_given_half_a_lease_for_its_next_heartbeat_but_not_for_ever() -> None:
    short, long, endless = job("a", lease=2), job("b", lease=40), job("c", lease=3600)
    assert verdict(short, [long], signed_at=None, now=at(19)) is CrashVerdict.OPEN
    assert verdict(short, [long], signed_at=None, now=at(20)) is CrashVerdict.CRASH
    assert verdict(short, [endless], signed_at=None, now=at(29)) is CrashVerdict.OPEN
    assert verdict(short, [endless], signed_at=None, now=at(30)) is CrashVerdict.CRASH


def test_a_job_of_a_polling_worker_that_is_over_its_time_has_timed_out_unless_all_have_ended() -> None:
    one, other = job("a", lease=2), job("b", lease=60)
    assert verdict(one, [other], signed_at=None, now=at(40), timed_out=True) is CrashVerdict.COUNTED
    assert verdict(one, [other], signed_at=None, now=at(60), timed_out=True) is CrashVerdict.CRASH


def test_a_job_that_was_claimed_after_the_lease_had_ended_did_not_run_beside() -> None:
    assert verdict(job("a"), [job("b", begun=11)], signed_at=None, now=at(40)) is CrashVerdict.COUNTED


def test_a_lease_that_had_ended_while_the_job_still_lived_was_not_lost_with_it() -> None:
    hung, last = job("a"), job("b", heard=11)
    assert verdict(last, [hung], signed_at=None, now=at(21)) is CrashVerdict.COUNTED
    assert verdict(hung, [last], signed_at=None, now=at(21)) is CrashVerdict.COUNTED


def test_a_note_holds_until_the_lease_is_renewed() -> None:
    noted = job("a", beside=at(10))
    assert verdict(noted, [], signed_at=None, now=at(10)) is CrashVerdict.CRASH
    renewed = job("a", heard=5, beside=at(10))
    assert verdict(renewed, [], signed_at=None, now=at(20)) is CrashVerdict.COUNTED


@pytest.mark.parametrize("made", [1, 3])
@pytest.mark.parametrize("wait", [0, 7])
def test_a_crash_beside_others_is_not_counted_as_an_attempt_and_waits_like_a_failure(made: int, wait: int) -> None:
    one = make_job(attempts_made=made, attempts=3, backoff=FixedBackoff(wait), crashes=None)
    change = transitions.crash(one, TOKEN, ERROR, chance=0.5)
    assert (change.outcome, change.refund, change.crashes, change.expired_only) == (Outcome.CRASH, True, 1, True)
    assert (change.target, change.delay) == ((State.DELAYED, wait) if wait else (State.PENDING, None))
    assert (change.outbox, change.fingerprint) == ((), None)
    assert transitions.crash(make_job(crashes=1), TOKEN, ERROR, chance=0.5).crashes == 2


def test_a_job_is_a_suspect_from_two_crashes_on() -> None:
    assert [make_job(crashes=count).is_suspect for count in (None, 1, 2, 3)] == [False, False, True, True]


def test_crashes_are_shown_when_there_were_any_and_the_note_never_is() -> None:
    shown = json_form.job(make_job(crashes=2))
    assert shown["crashes"] == 2
    assert "crashes" not in json_form.job(make_job())
    assert set(shown["claim"]) == {"token", "worker"}


@pytest.mark.parametrize(("stored", "read"), [(None, None), (0, None), (2, 2), ("many", None), (True, None)])
def test_crashes_that_another_tool_has_spoilt_are_none(stored: Any, read: int | None) -> None:
    assert documents.job({"_id": "x", "crashes": stored}).crashes == read


def test_a_transition_can_ask_for_a_job_without_a_note_of_its_present_lease() -> None:
    change = transitions.fail(make_job(), TOKEN, ERROR, chance=0.5, expired_only=True, unmarked_at=at(3))
    assert statements.guard("a" * 24, "q", change, "$$NOW")["claim.beside"] == {"$ne": at(3)}
