"""Workflows as they are put together, before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue import InvalidInputError, JobQueue, NewJob, Workflow, chain, gather
from jobqueue.domain.jobs.job import as_tuple

queue = JobQueue()


@queue.task("image.shrink/small")
def shrink(src: str) -> int:
    return len(src)


def refs(flow: Workflow) -> dict[str | None, tuple[str, ...]]:
    return {member.ref: tuple(member.after) for member in flow.members}


def test_members_wait_for_those_they_name() -> None:
    flow = Workflow("album", meta={"user_id": 42})
    first = flow.add(NewJob(type="fetch"))
    many = flow.add_each((shrink.new(src) for src in "ab"), after=first)
    numbered = flow.add_each([shrink.new("c")], after=[first, "fetch"], ref="more")
    flow.add(NewJob(type="report"), after=[first, *many, *numbered, "6b06105097b133d05ea55fc5"])
    assert refs(flow) == {
        "fetch": (),
        "image.shrink_small": ("fetch",),
        "image.shrink_small-2": ("fetch",),
        "more-1": ("fetch", "fetch"),
        "report": ("fetch", "image.shrink_small", "image.shrink_small-2", "more-1", "6b06105097b133d05ea55fc5"),
    }
    assert flow.batch().meta == {"workflow": "album", "user_id": 42}


def test_callbacks_are_those_of_the_batch() -> None:
    flow = Workflow()
    flow.on_complete(NewJob(type="a"))
    flow.on_failure(NewJob(type="b"))
    flow.on_failure(NewJob(type="c"))
    batch = flow.batch()
    assert [job.type for job in as_tuple(batch.on_failure)] == ["b", "c"]
    assert [job.type for job in as_tuple(batch.on_complete)] == ["a"]
    assert (batch.on_success, batch.meta, batch.sealed) == (None, {}, True)


def test_chains_and_gatherings() -> None:
    a, b, c, d = (NewJob(type=kind) for kind in "abcd")
    assert refs(chain(a, b, c)) == {"a": (), "b": ("a",), "c": ("b",)}
    assert refs(gather(a, b).then(c).then(d)) == {"a": (), "b": (), "c": ("a", "b"), "d": ("c",)}
    assert chain(a, name="row").meta == {"workflow": "row"}


@pytest.mark.parametrize("kind", [" ", "ä.png", "-", "x" * 200])
def test_a_ref_is_made_of_any_type(kind: str) -> None:
    batch = gather(*(NewJob(type=kind) for _ in range(3))).batch()
    assert len({member.ref for member in batch.members}) == 3


def test_mistakes_are_named() -> None:
    flow, other = Workflow(), Workflow()
    flow.add(NewJob(type="a"), ref="a")
    stranger = other.add(NewJob(type="a"))
    with pytest.raises(InvalidInputError, match="'a' is the ref of another job of this workflow"):
        flow.add(NewJob(type="b"), ref="a")
    with pytest.raises(InvalidInputError, match="'a' is no member of this workflow"):
        flow.add(NewJob(type="b"), after=stranger)
    job: Any = shrink
    with pytest.raises(TypeError, match=r"jobs of task\.new\(…\) or NewJob\(…\), not Task"):
        flow.add(job)
    with pytest.raises(TypeError, match="members of the workflow, refs and ids of jobs, not NewJob"):
        flow.add(NewJob(type="b"), after=[NewJob(type="a")])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="name: must be a text"):
        Workflow("")
    assert len(flow.members) == 1
