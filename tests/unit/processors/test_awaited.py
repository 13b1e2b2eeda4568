"""Which jobs new ones depend on, children included: all have to be there for their creator."""

from __future__ import annotations

from jobqueue.api.security.caller import awaited
from jobqueue.domain.jobs.job import NewJob


def test_what_children_depend_on_is_looked_at_in_every_generation() -> None:
    first, second, third = ("1" * 24, "2" * 24, "3" * 24)
    grandchild = NewJob(type="c", depends_on=(third,))
    child = NewJob(
        type="b",
        depends_on=(second,),
        on_failure=(
            grandchild,
            NewJob(type="d"),
        ),
    )
    assert list(awaited(NewJob(type="a", depends_on=(first,), on_complete=child))) == [first, second, third]
    assert list(awaited((child, grandchild))) == [second, third, third]
    assert list(awaited(None)) == []
