"""Values for property tests of the domain: what is acceptable, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError
from jobqueue.domain.attempts.backoff import ExponentialBackoff, FixedBackoff, SteppedBackoff
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs.job import Job, NewJob

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

    from jobqueue.domain.attempts.backoff import Backoff

modest = settings(
    max_examples=50,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

INT64 = st.integers(-(2**63), 2**63 - 1)
LONG_AGO = datetime(2020, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
JOB_ID = "0123456789abcdef01234567"
HUGE = 10**400

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)
chances = st.floats(0, 1)
scalars = st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
names = st.text(max_size=8).filter(lambda name: "\0" not in name and not name.startswith("$"))
plain_names = names.filter(lambda name: name != "" and "." not in name)


def values(keys: SearchStrategy[str] = names) -> SearchStrategy[Any]:
    """Give JSON values that can be stored."""
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=10
    )


datas = st.dictionaries(names, values(), max_size=3)
metas = st.dictionaries(plain_names, values(plain_names), max_size=3)

waits = st.integers(0, 10**6) | st.floats(0, 10**6)
backoffs: SearchStrategy[Backoff] = st.one_of(
    waits.map(FixedBackoff),
    st.lists(waits, min_size=1, max_size=5).map(lambda several: SteppedBackoff(tuple(several))),
    st.builds(
        ExponentialBackoff, base=waits, factor=st.integers(1, 1000) | st.floats(1, 1000), max=waits, jitter=chances
    ),
)

garbage = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([HUGE, -HUGE, 2**63, b"", 1j, object(), "\ud800", "$x", "a\0", "x" * 600, LONG_AGO])
    | st.floats()
    | st.text(st.characters(), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(st.characters(), max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def new_jobs(draw: DrawFn, levels: int = 2, *, dated: bool = True) -> NewJob:
    """Give acceptable new jobs, with children as many levels deep; ``dated`` ones may have a due time."""

    def maybe(strategy: SearchStrategy[Any]) -> Any:
        return draw(st.none() | strategy)

    fields: dict[str, Any] = {
        "type": draw(st.from_regex(r"[a-z][a-z.]{0,9}", fullmatch=True)),
        "queue": draw(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_:-]{0,9}", fullmatch=True)),
        "data": draw(datas),
        "meta": draw(metas),
        "priority": maybe(st.integers(-(10**9), 10**9)),
        "attempts": maybe(st.integers(1, 10_000)),
        "backoff": maybe(backoffs),
        "lease": maybe(st.integers(1, 3600) | st.floats(0.2, 3600)),
        "timeout": maybe(st.integers(1, 3600) | st.floats(0.05, 3600)),
        "key": maybe(st.text(min_size=1, max_size=20)),
        "on_success_delete": maybe(st.booleans()),
    }
    fields[draw(st.sampled_from(["delay", "delay_til"]))] = None
    if draw(st.booleans()):
        fields["delay"] = draw(waits)
    else:
        fields["delay_til"] = maybe(moments) if dated else None
    if levels:
        child = new_jobs(levels - 1, dated=dated)
        children = st.none() | child | st.lists(child, max_size=2)
        for slot in ("on_complete", "on_success", "on_failure"):
            fields[slot] = draw(children)
    return NewJob(**fields)


def make_job(**changes: Any) -> Job:
    """Return a job that is being processed, but for the changes."""
    token = "a" * 24
    fields: dict[str, Any] = {
        "id": JOB_ID,
        "queue": "default",
        "type": "work",
        "data": {},
        "meta": {},
        "priority": 0,
        "attempts": 3,
        "attempts_made": 1,
        "backoff": FixedBackoff(10),
        "delay": 0,
        "lease": 60,
        "timeout": None,
        "insert_at": LONG_AGO,
        "start_at": LONG_AGO,
        "end_at": None,
        "delay_til": None,
        "reset_at": LONG_AGO,
        "batch_id": None,
        "parent_id": None,
        "depends_on": (),
        "progress": 0,
        "logs": (),
        "result": None,
        "error": None,
        "history": (Attempt(attempt=1, token=token, worker="w", start_at=LONG_AGO),),
        "state": State.PROCESSING,
        "on_success_delete": False,
        "on_complete": None,
        "on_success": None,
        "on_failure": None,
        "key": None,
        "claim": Claim(token=token, worker="w"),
    }
    return Job(**fields | changes)


ERROR = JobError(kind="Boom", message="it broke")
OUTCOMES = tuple(Outcome)
