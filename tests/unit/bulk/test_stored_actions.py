"""The stored action of an operation: an older process does not carry out what it would do without rules or patch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.bulk.rules import Rules
from jobqueue.domain.insight.audit import Actor
from jobqueue.store.bulk import operation_documents

ANN = Actor(name="ann", via="http")


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
