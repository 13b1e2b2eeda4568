"""Which jobs may be created together, and in which order they can run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import MOST_DEPENDENCIES, NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch, is_ref, resolve_refs
from tests.unit.jobs.domain_strategies import garbage, modest

ID = "0123456789abcdef01234567"


def member(ref: str | None, *after: str) -> Member:
    return Member(job=NewJob(type="a"), ref=ref, after=after)


def problems(members: list[Member], known: tuple[str, ...] = ()) -> dict[str, list[str]]:
    with pytest.raises(InvalidInputError) as caught:
        resolve_refs(members, known)
    return caught.value.problems


def test_refs_and_ids_are_told_apart() -> None:
    found = resolve_refs([member("a"), member(None, "a", ID, "old")], ["old"])
    assert (found[1].after, found[1].job.depends_on) == (("a", "old"), (ID,))


def test_a_ref_that_looks_like_an_id_is_a_ref() -> None:
    found = resolve_refs([member(ID), member(None, ID)])
    assert (found[1].after, found[1].job.depends_on) == ((ID,), ())


@pytest.mark.parametrize(
    ("members", "paths"),
    [
        ([member("a"), member("a")], {"jobs.1.ref"}),
        ([member("a", "a")], {"jobs.0.dependsOn.0"}),
        ([member(None, "b")], {"jobs.0.dependsOn.0"}),
        ([member("a", "b"), member("b", "a")], {"jobs.0.dependsOn", "jobs.1.dependsOn"}),
        (
            [member("a", "c"), member("b", "a"), member("c", "b"), member("d")],
            {f"jobs.{n}.dependsOn" for n in range(3)},
        ),
    ],
)
def test_what_could_never_run_is_named(members: list[Member], paths: set[str]) -> None:
    assert set(problems(members, ("old",))) == paths


@modest
@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30), st.randoms())
def test_any_graph_without_a_cycle_is_accepted_in_any_order(edges: list[list[int]], rng: Any) -> None:
    members = [
        member(f"n{place}", *dict.fromkeys(f"n{one}" for one in before if one < place))
        for place, before in enumerate(edges)
    ]
    rng.shuffle(members)
    assert resolve_refs(members) == tuple(members)


@modest
@given(st.integers(2, 40))
def test_a_ring_of_any_size_is_refused(size: int) -> None:
    ring = [member(f"n{place}", f"n{(place + 1) % size}") for place in range(size)]
    assert len(problems([*ring, member("free")])) == size


def test_a_long_chain_needs_no_deep_recursion() -> None:
    chain = [member("n0"), *(member(f"n{place}", f"n{place - 1}") for place in range(1, 9_999))]
    assert len(resolve_refs(chain)) == 9_999


@pytest.mark.parametrize("ref", ["", "a b", "-a", "é", "x" * 101, None, 5, ["a"]])
def test_what_is_no_ref(ref: Any) -> None:
    assert not is_ref(ref)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"meta": []}, "meta"),
        ({"sealed": "yes"}, "sealed"),
        ({"on_complete": 5}, "onComplete"),
        ({"on_success": [{"type": ""}]}, "onSuccess.0.type"),
        ({"on_failure": {"kind": "a"}}, "onFailure.kind"),
    ],
)
def test_a_wrong_field_of_a_batch_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        NewBatch(**fields)
    assert list(caught.value.problems) == [path]


def test_callbacks_may_be_given_as_the_children_of_a_job_are() -> None:
    assert NewBatch(on_complete={"type": "a"}).on_complete == NewJob(type="a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"depends_on": "a"}, "dependsOn"),
        ({"depends_on": [ID, "x"]}, "dependsOn.1"),
        ({"depends_on": [ID] * (MOST_DEPENDENCIES + 1)}, "dependsOn"),
        ({"dependency_policy": "wait"}, "dependencyPolicy"),
    ],
)
def test_a_wrong_dependency_of_a_job_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        NewJob(type="a", **fields)
    assert list(caught.value.problems) == [path]


def test_ids_are_in_lower_case_and_each_is_there_once() -> None:
    assert NewJob(type="a", depends_on=[ID.upper(), ID]).depends_on == (ID,)


@modest
@given(garbage)
def test_garbage_raises_nothing_but_invalid_input_errors(value: Any) -> None:
    for name in ("meta", "sealed", "on_complete"):
        try:
            NewBatch(**{name: value})
        except InvalidInputError as error:
            assert error.problems  # noqa: PT017 - only some garbage is refused
