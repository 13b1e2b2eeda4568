"""The clock of tests of users."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobqueue.store.mongo.moved_clock import MovedClock

SERVER = datetime(2030, 1, 1, tzinfo=UTC)
LATER = SERVER + timedelta(days=7)


async def hello() -> dict[str, datetime]:
    return {"localTime": SERVER.replace(tzinfo=None)}


async def test_a_moved_clock_stays_ahead_of_every_later_answer_of_the_server() -> None:
    clock = MovedClock(hello)
    assert clock.present == "$$NOW"
    assert await clock.now() >= SERVER
    clock.move_to(LATER)
    times = [clock.present, await clock.ask(), await clock.now(), clock.present]
    assert all(isinstance(time, datetime) and time >= LATER for time in times)
    assert (await clock.new_id()).generation_time >= LATER
    clock.move_to(SERVER)
    assert await clock.now() >= LATER


async def test_a_moved_clock_never_goes_back_and_ends_where_ids_end() -> None:
    clock = MovedClock(hello)
    before = await clock.now()
    # The server's clock stands still here: a new answer is behind the time that was carried on.
    await clock.ask()
    assert await clock.now() >= before
    with pytest.raises(ValueError, match="cannot be moved to 2101-01-01, after 2100-01-01"):
        clock.move_to(datetime(2101, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="is moved by move_to"):
        clock.present = LATER
