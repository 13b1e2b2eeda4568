"""Unknown names of fields and parameters come with the one that was probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue import InvalidInputError
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.domain.queues import queue
from jobqueue.domain.unknown import MOST_HINTS, unknown_names


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("prioritty", ["is not a known field; did you mean priority?"]),
        ("zzz", ["is not a known field"]),
        ("x" * 5000, ["is not a known field"]),
    ],
)
def test_an_unknown_field_of_a_request_is_told(name: str, told: list[str]) -> None:
    problems = NewJobSchema().validate({"type": "a", name: 5})
    assert problems == {name: told}


def test_many_unknown_fields_of_an_object_cost_no_search_for_each() -> None:
    names = [f"prioritty{number}" for number in range(MOST_HINTS + 1)]
    assert NewJobSchema().validate({"type": "a", **dict.fromkeys(names, 1)}) == {
        name: ["is not a known field"] for name in names
    }


def test_a_field_of_a_queue_too() -> None:
    with pytest.raises(InvalidInputError) as caught:
        queue.read({"concurency": 5})
    assert caught.value.problems == {"concurency": ["is not a known field; did you mean concurrency?"]}


@pytest.mark.parametrize("name", [5, None, "priority.", ""])
def test_names_may_be_anything(name: Any) -> None:
    assert list(unknown_names([name], {"priority"}, path="jobs.0")) == [f"jobs.0.{name}"]
