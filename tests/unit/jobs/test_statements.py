"""What the filters and updates of jobs say, whoever's words are in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.attempt import JobError, Retries
from jobqueue.domain.attempts.states import FINAL, UNFINISHED, Outcome, State
from jobqueue.domain.jobs import transitions
from jobqueue.domain.jobs.job import NewJob
from jobqueue.store.documents import queue_statements, requeue_statements, statements
from jobqueue.store.limits import group_key_statements, limit_statements
from jobqueue.store.mongo.clock import SERVER_NOW
from tests.unit.jobs.domain_strategies import JOB_ID, LONG_AGO, make_job, modest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "t" * 24
EVIL = "$$ROOT"
ERROR = JobError(kind=EVIL, message=EVIL, trace=EVIL)
CHILD = NewJob(type="child")


LOOPING = make_job(start_at=LONG_AGO, retries=Retries(count=5, at=LONG_AGO - timedelta(seconds=1)))


def every_transition() -> list[Transition]:
    """Return one of every kind, with a text in each place that looks like an expression."""
    job = make_job(on_complete=CHILD)
    return [
        transitions.succeed(job, TOKEN, {"value": EVIL}, code=200),
        transitions.fail(job, TOKEN, ERROR, chance=0.5, code=1),
        transitions.fail(job, TOKEN, ERROR, chance=0.5, outcome=Outcome.HANGING, expired_only=True),
        transitions.fail(make_job(attempts=1), TOKEN, ERROR, chance=0.5),
        transitions.die(job, TOKEN, ERROR),
        transitions.retry(job, TOKEN, delay=5, error=ERROR, most=5),
        transitions.retry(job, EVIL, delay=5, error=ERROR, most=5),
        transitions.retry(job, TOKEN, delay=None, error=ERROR, most=5),
        transitions.retry(LOOPING, TOKEN, delay=None, error=ERROR, most=5),
        transitions.release(TOKEN),
        transitions.kill(job, ERROR),
        transitions.kill(make_job(state=State.PENDING, claim=None), ERROR),
        transitions.kill(make_job(state=State.DELAYED, claim=None), ERROR),
    ]


def updates(now: Now) -> list[Document | list[Document]]:
    """Return every update, likewise."""
    grouped = make_job(meta={"x": EVIL})
    return [
        *(statements.applied(one, now) for one in every_transition()),
        statements.claim(EVIL, EVIL, now, lease=5, slots=[EVIL]),
        statements.renew(now, 5, [{"m": EVIL, "level": EVIL}]),
        requeue_statements.requeue(now, {"data": None}, {"data": {"value": EVIL}}),
        statements.patch({"data": {"value": EVIL}, "delayTil": NOW}, now),
        statements.patch({"meta": {"value": EVIL}}, now),
        statements.patch({"priority": 1}, now, group_key_statements.regrouped("meta.x", grouped, {})),
        requeue_statements.requeue(
            now, {}, {}, None, group_key_statements.regrouped("data.x", grouped, {"data": {"x": EVIL}})
        ),
        statements.promote(now),
        limit_statements.grant(EVIL, 5, 1000, 50, now),
        limit_statements.give_back(NOW),
        limit_statements.breaker_failed(EVIL, EVIL, 5, 60, EVIL, NOW),
        limit_statements.breaker_succeeded(5, NOW),
        limit_statements.close_breaker(now, forget=True),
        queue_statements.kill_waiting(EVIL, now),
    ]


def expressions(tree: Any) -> Iterator[Any]:
    """Yield every leaf that the server would evaluate: whatever is not below a ``$literal``."""
    if isinstance(tree, dict):
        for name, inner in tree.items():
            if name != "$literal":
                yield from expressions(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from expressions(inner)
    else:
        yield tree


def leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for inner in tree.values():
            yield from leaves(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from leaves(inner)
    else:
        yield tree


def test_no_text_from_outside_is_an_expression() -> None:
    pipelines = [one for one in updates(NOW) if isinstance(one, list)]
    assert len(pipelines) > 5
    for pipeline in pipelines:
        assert EVIL not in list(expressions(pipeline))


def test_with_a_fixed_present_nothing_asks_for_the_servers_time() -> None:
    for update in updates(NOW):
        assert "$currentDate" not in update
        assert SERVER_NOW not in list(leaves(update))


def test_in_production_only_the_servers_clock_counts() -> None:
    given_dates = {NOW}  # of a due time that a person has set
    for update in updates(SERVER_NOW):
        assert {one for one in leaves(update) if isinstance(one, datetime)} <= given_dates
    filters = [statements.due(SERVER_NOW), statements.expired(SERVER_NOW, 60)]
    filters += [statements.guard(JOB_ID, "default", one, SERVER_NOW) for one in every_transition()]
    assert not any(isinstance(one, datetime) for found in filters for one in leaves(found))


@pytest.mark.parametrize("transition", every_transition(), ids=lambda one: f"{one.source}-{one.outcome}-{one.target}")
def test_every_change_is_guarded_by_the_state_it_starts_from_and_the_claim(transition: Transition) -> None:
    guard = statements.guard(JOB_ID, "default", transition, NOW)
    assert guard["state"] == transition.source
    assert guard["queue"] == "default"
    assert ("claim.token" in guard) == (transition.source is State.PROCESSING)
    assert guard.get("claim.token") == transition.token
    assert ("$expr" in guard) == transition.expired_only


@pytest.mark.parametrize("transition", every_transition(), ids=lambda one: f"{one.source}-{one.outcome}-{one.target}")
def test_a_change_sets_the_target_lets_go_of_the_claim_and_touches_nothing_a_person_gave(
    transition: Transition,
) -> None:
    update = statements.applied(transition, NOW)
    changed = (update[0] if isinstance(update, list) else update)["$set"]
    plain = {
        name: value["$literal"] if isinstance(value, dict) and "$literal" in value else value
        for name, value in changed.items()
        if name != "history"
    }
    assert plain["state"] == transition.target
    if transition.token is not None:
        assert plain["claim"] is None
        assert plain["resetAt"] is None
    given_fields = {"data", "meta", "type", "queue", "priority", "attempts", "key", "insertAt", "parentId", "run"}
    assert not {name.partition(".")[0] for name in changed} & given_fields
    assert ("endAt" in changed) == (transition.target in FINAL)
    pushed = {} if isinstance(update, list) else update.get("$push", {})
    assert ("outbox" in changed or "outbox" in pushed) == bool(transition.outbox)
    assert ("delayTil" in changed) == (transition.delay is not None)


def test_what_may_be_claimed_is_pending_and_of_the_wanted_types() -> None:
    base = {"queue": "q", "state": "pending", "run": {"$ne": None}} | statements.SOUND
    assert statements.claimable("q", None) == base
    assert statements.claimable("q", ["a"]) == base | {"type": "a"}
    assert statements.claimable("q", ["a", "b"]) == base | {"type": {"$in": ["a", "b"]}}
    assert statements.claimable("q", None, ["a"]) == base | {"type": {"$nin": ["a"]}}
    assert statements.claimable("q", ["a"], ["b"]) == base | {"type": "a"}


def test_the_holder_of_a_key_is_unfinished() -> None:
    found = statements.key_holder("q", "k")
    assert (found["queue"], found["key"]) == ("q", "k")
    assert set(found["state"]["$in"]) == {one.value for one in UNFINISHED}


def test_only_what_does_not_run_may_be_changed_or_deleted() -> None:
    resting = {one.value for one in State} - {"processing"}
    assert set(statements.patchable(JOB_ID, "q", waiting_only=False)["state"]["$in"]) == resting
    assert set(statements.patchable(JOB_ID, "q", waiting_only=True)["state"]["$in"]) == {"pending", "delayed"}
    deletable = statements.deletable(JOB_ID, "q")
    assert set(deletable["state"]["$in"]) == resting
    assert deletable["outbox"] == {"$exists": False}


@modest
@given(st.integers(0, 3), st.integers(1, 3), st.sampled_from(sorted(FINAL | {State.DELAYED})))
def test_a_requeue_needs_the_run_and_state_it_was_decided_on_and_an_empty_outbox(
    size: int, run: int, source: State
) -> None:
    guard = requeue_statements.requeueable(make_job(state=source, run=run, claim=None), 10**size)
    assert (guard["state"], guard["run"], guard["outbox"]) == (source, run, {"$exists": False})
    update, _ = requeue_statements.requeue(NOW, {"data": None}, {})
    changed = update["$set"]
    assert (changed["state"], changed["attemptsMade"], changed["result"]) == ("pending", 0, None)
    assert changed["history"]["$concatArrays"][1][0]["was"] == {"data": "$data"}
