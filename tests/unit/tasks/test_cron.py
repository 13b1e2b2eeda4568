"""Schedules in code: their declaration, and what follows a change of the code."""

from __future__ import annotations

import gc
import sys
import types
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import InvalidInputError, JobQueue, NewJob, SyncJobQueue
from jobqueue.domain.schedules.cron import Cron, Every
from jobqueue.domain.schedules.declaration import edited, merged
from jobqueue.domain.schedules.schedule import Declared, Schedule
from jobqueue.tasks.cron import is_dropped, module_of

if TYPE_CHECKING:
    from collections.abc import Callable

NIGHTLY = Schedule(name="s", job=NewJob(type="a"), recurrence=Cron(text="30 2 * * *"))


def declared(schedule: Schedule) -> Declared:
    return Declared(by="shop.tasks", at=datetime(2026, 1, 1, tzinfo=UTC), schedule=schedule)


def test_tasks_and_handlers_declare_schedules() -> None:
    queue = JobQueue()

    @queue.cron("30 2 * * 1-5", timezone="Europe/Berlin", missed="skip", data={"n": 2}, key="report")
    @queue.task("mail.report", queue="media", attempts=5)
    async def report(n: int) -> int:
        return n

    @queue.cron(every=300, name="poller", data={"site": "a"}, priority=3)
    @queue.handler("poll", queue="media")
    def poll(_job: Any) -> None: ...

    queue.cron("@daily", name="other", data={"n": 3})(report.options(attempts=9))
    stored = {name: each.schedule.wire() for name, each in queue.declarations.items()}
    assert stored["mail-report"] == {
        "cron": "30 2 * * 1-5",
        "timezone": "Europe/Berlin",
        "every": None,
        "job": {"type": "mail.report", "queue": "media", "data": {"n": 2}, "attempts": 5, "key": "report"},
        "missed": "skip",
        "paused": False,
    }
    assert (stored["poller"]["every"], stored["poller"]["missed"]) == (300, "one")
    assert stored["poller"]["job"] == {"type": "poll", "queue": "media", "data": {"site": "a"}, "priority": 3}
    assert stored["other"]["job"]["attempts"] == 9
    assert {each.by for each in queue.declarations.values()} == {__name__}


def test_a_queue_for_plain_programs_declares_schedules_too() -> None:
    queue = SyncJobQueue()

    @queue.cron("@hourly")
    @queue.task()
    def tidy() -> None: ...

    assert queue.calls.declarations["tidy"].schedule.recurrence == Cron(text="@hourly")


def _nothing() -> None: ...


MISTAKES: dict[str, tuple[Callable[[JobQueue], object], type[Exception], str]] = {
    "expression": (lambda queue: queue.cron("61 * * * *")(queue.task()(_nothing)), InvalidInputError, "cron: is no"),
    "zone": (
        lambda queue: queue.cron("@daily", timezone="Berlin")(queue.task()(_nothing)),
        InvalidInputError,
        "timezone: must be the name",
    ),
    "both": (lambda queue: queue.cron("@daily", every=3)(queue.task()(_nothing)), InvalidInputError, "together with"),
    "neither": (lambda queue: queue.cron()(queue.task()(_nothing)), InvalidInputError, "cron: is required, or every"),
    "every": (lambda queue: queue.cron(every=0)(queue.task()(_nothing)), InvalidInputError, "every: must be from 1"),
    "missed": (
        lambda queue: queue.cron("@daily", missed="none")(queue.task()(_nothing)),  # type: ignore[arg-type]
        InvalidInputError,
        "missed: must be one of skip, one, all",
    ),
    "name": (
        lambda queue: queue.cron("@daily", name="no name")(queue.task()(_nothing)),
        InvalidInputError,
        "name: must be 1 to 100",
    ),
    "twice": (
        lambda queue: queue.cron("@hourly")(queue.cron("@daily")(queue.task()(_nothing))),
        InvalidInputError,
        "'_nothing' in the code already: give another name=",
    ),
    "unknown option": (
        lambda queue: queue.cron("@daily", prioriti=3)(queue.task()(_nothing)),  # type: ignore[call-arg]
        InvalidInputError,
        "did you mean priority",
    ),
    "date": (
        lambda queue: queue.cron("@daily", delay_til=datetime(2030, 1, 1, tzinfo=UTC))(queue.task()(_nothing)),
        InvalidInputError,
        "use delay",
    ),
    "size": (
        lambda queue: queue.cron("@daily", data={"n": "x" * 70_000})(queue.task("t")(lambda n: n)),
        InvalidInputError,
        "data: must be at most 64 KiB",
    ),
    "missing argument": (
        lambda queue: queue.cron("@daily")(queue.task("t")(lambda n: n)),
        TypeError,
        "missing a required argument: 'n'",
    ),
    "order": (lambda queue: queue.task()(queue.cron("@daily")(_nothing)), TypeError, r"above @queue.task\(\)"),
    "another queue object": (
        lambda queue: queue.cron("@daily")(JobQueue().task()(_nothing)),
        TypeError,
        "no task of this queue object",
    ),
    "no parentheses": (lambda queue: queue.cron(queue.task()(_nothing)), TypeError, "with the time in parentheses"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_where_it_is_made(mistake: str) -> None:
    make, error, text = MISTAKES[mistake]
    with pytest.raises(error, match=text):
        make(JobQueue())


def test_what_a_person_has_changed_does_not_follow_the_code() -> None:
    code = replace(NIGHTLY, recurrence=Every(seconds=60), job=NewJob(type="b"), missed="all")
    assert merged(NIGHTLY, declared(NIGHTLY), code) == code
    paused = replace(NIGHTLY, paused=True)
    assert merged(paused, declared(NIGHTLY), code) == replace(code, paused=True)
    moved = replace(NIGHTLY, recurrence=Cron(text="30 2 * * *", timezone="Europe/Berlin"))
    assert merged(moved, declared(NIGHTLY), code) == replace(code, recurrence=moved.recurrence)
    other = replace(NIGHTLY, job=NewJob(type="a", data={"n": True}), missed="skip")
    assert merged(other, declared(NIGHTLY), code) == replace(other, recurrence=code.recurrence)
    assert merged(NIGHTLY, None, code) == NIGHTLY
    assert edited(moved, declared(NIGHTLY)) == ("timezone",)
    assert edited(other, declared(NIGHTLY)) == ("job", "missed")
    assert edited(paused, declared(NIGHTLY)) == ()


def test_a_schedule_is_dropped_if_its_module_is_there_and_declares_it_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shop_", "shop_.tasks", "shop_.mail"):
        module = types.ModuleType(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    queue = JobQueue()

    def tidy() -> None: ...

    tidy.__module__ = "shop_.mail"
    queue.cron("@daily")(queue.task()(tidy))
    assert not is_dropped("shop_.mail", "tidy")
    assert not is_dropped("shop_.tasks", "tidy")
    assert is_dropped("shop_.tasks", "other")
    assert is_dropped("shop_.gone", "other")
    assert is_dropped("shop_.gone.too", "other")
    # Another worker may import these.
    assert not is_dropped("tests.support.workers.schedule_worker", "other")
    assert not is_dropped("another_shop.tasks", "other")
    del queue
    gc.collect()
    assert is_dropped("shop_.mail", "tidy")


def test_the_module_of_a_program_is_named_as_if_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def tidy() -> None: ...

    tidy.__module__ = "__main__"
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert module_of(tidy) == "__main__"
    main.__file__ = "/srv/shop.py"
    assert module_of(tidy) == "shop"
    main.__spec__ = types.SimpleNamespace(name="shop.__main__")  # type: ignore[assignment]
    assert module_of(tidy) == "shop"
