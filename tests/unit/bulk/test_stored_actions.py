"""The stored form of an operation: no process carries out what is left of it without its rules or its patch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from bson import ObjectId

from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.bulk.rules import Rules
from jobqueue.domain.insight.audit import Actor
from jobqueue.store.bulk import operation_documents

ANN = Actor(name="ann", via="http")
GONE: Final = object()
RULES: Final = Rules.of({"trial": 2, "then": True, "pace": 5, "stop_after": 3})


@pytest.mark.parametrize(
    ("fields", "is_known_before"),
    [
        ({}, True),
        ({"changes": {"attempts": 2}}, True),
        ({"rules": Rules.of({"pace": 1})}, False),
        ({"data_patch": {"country": "AT"}}, False),
        ({"data_patch": {}}, False),
    ],
)
def test_only_a_plain_requeue_has_the_action_that_older_processes_know(
    fields: dict[str, Any], *, is_known_before: bool
) -> None:
    new = NewOperation(action=Action.REQUEUE, by=ANN, filter={"type": "a"}, **fields)
    stored = operation_documents.document(new, datetime.now(UTC), 1, is_exact=True)
    assert (stored["action"] in {"requeue", "kill", "delete"}) is is_known_before
    assert operation_documents.operation({"_id": ObjectId(), **stored}).new == new


@pytest.mark.parametrize(
    "name", ["trial", "then", "pace", "stopAfter", "dataPatch", "fromStep", "given", "isTrial", "results", "watched"]
)
@pytest.mark.parametrize("odd", [GONE, None, "odd"])
def test_a_careful_requeue_that_lost_a_field_is_not_carried_out(name: str, odd: Any) -> None:
    new = requeue(rules=RULES, data_patch={"a": 1}, from_step="s")
    if odd == "odd" and name == "fromStep":
        odd = 5
    stored = spoilt(document(new), name, odd)
    assert operation_documents.operation(document(new)).new == new
    if (name, odd) == ("fromStep", None):
        # That is the first step.
        return
    shown = operation_documents.operation(stored)
    assert (shown.new.action, shown.error) == (Action.UNKNOWN, operation_documents.UNREADABLE)


@pytest.mark.parametrize("rules", [{"trial": 1}, {"pace": 5}, {"stop_after": 1}])
@pytest.mark.parametrize("odd", [GONE, None])
def test_the_only_rule_of_a_requeue_is_missed(rules: dict[str, Any], odd: object) -> None:
    stored = document(requeue(rules=Rules.of(rules)))
    [name] = stored["given"]
    assert operation_documents.operation(spoilt(stored, name, odd)).new.action is Action.UNKNOWN


@pytest.mark.parametrize("name", ["done", "skipped", "failed", "failures", "position", "insertAt", "filter", "scope"])
def test_an_operation_that_lost_a_field_is_not_carried_out(name: str) -> None:
    stored = document(requeue()) | {"soon": datetime.now(UTC)}
    assert operation_documents.operation(spoilt(stored, name, GONE)).new.action is Action.UNKNOWN


def test_an_operation_of_version_0_3_0_is_carried_out_though_the_clock_of_its_host_is_wrong() -> None:
    later = {"given", "left", "ahead", "soon", "fromStep"}
    new = requeue()
    stored = {name: value for name, value in document(new).items() if name not in later}
    stored["insertAt"] += timedelta(hours=2)
    assert operation_documents.operation(stored).new == new
    assert operation_documents.operation(stored | {"left": []}).new.action is Action.UNKNOWN


def requeue(**fields: Any) -> NewOperation:
    return NewOperation(action=Action.REQUEUE, by=ANN, filter={"type": "a"}, **fields)


def document(new: NewOperation) -> dict[str, Any]:
    return {"_id": ObjectId(), **operation_documents.document(new, datetime.now(UTC), 1, is_exact=True)}


def spoilt(stored: dict[str, Any], name: str, odd: object) -> dict[str, Any]:
    """Return a document in which another tool has changed a field, or removed it."""
    rest = {field: value for field, value in stored.items() if field != name}
    return rest if odd is GONE else rest | {name: odd}
