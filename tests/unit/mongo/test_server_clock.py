"""The server's time as a process knows it: never ahead, hardly behind, and in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from jobqueue.store.mongo import clock
from jobqueue.store.mongo.clock import ServerClock

START = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)


class Server:
    """Tells the time; the answer is on its way for as many seconds as a test says, half a millisecond otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 1000.0
        self.step = timedelta()
        self.delays: list[float] = []
        self.asked = 0
        monkeypatch.setattr(clock, "steady", lambda: self.passed)

    @property
    def time(self) -> datetime:
        return START + self.step + timedelta(seconds=self.passed - 1000)

    async def hello(self) -> dict[str, Any]:
        self.asked += 1
        now = self.time
        delay = self.delays.pop(0) if self.delays else 0.0005
        if delay < 0:
            raise AutoReconnect("gone")
        self.passed += delay
        return {"localTime": now.replace(microsecond=now.microsecond // 1000 * 1000, tzinfo=None)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


@pytest.fixture
def known(server: Server) -> ServerClock:
    return ServerClock(server.hello)


def behind(server: Server, moment: datetime) -> float:
    return (server.time - moment).total_seconds()


@pytest.mark.parametrize("delays", [[], [3.0], [60.0, 2.0], [0.5, 0.1, 0.03]])
async def test_an_answer_that_takes_long_is_not_what_counts(
    server: Server, known: ServerClock, delays: list[float]
) -> None:
    server.delays = list(delays)
    assert 0 <= behind(server, await known.now()) < 0.003
    assert server.asked == len(delays) + 1


async def test_one_answer_is_enough_where_the_next_one_fails(server: Server, known: ServerClock) -> None:
    server.delays = [0.5, -1.0]
    assert 0.5 <= behind(server, await known.now()) < 0.503


async def test_where_the_way_is_long_it_is_asked_twice_only(server: Server, known: ServerClock) -> None:
    server.delays = [0.2] * 10
    assert 0 <= behind(server, await known.now()) < 0.203
    assert server.asked == 2


async def test_it_is_read_anew_after_ten_seconds_and_carried_on_until_then(server: Server, known: ServerClock) -> None:
    for _ in range(9):
        assert 0 <= behind(server, await known.now()) < 0.003
        server.passed += 1
    assert server.asked == 1
    server.passed += 2
    await known.now()
    assert server.asked == 2


@pytest.mark.parametrize("step", [-3600, -5, 0.2, 5, 3600])
async def test_a_server_whose_clock_is_set_is_believed_as_soon_as_it_is_asked(
    server: Server, known: ServerClock, step: float
) -> None:
    await known.now()
    server.step = timedelta(seconds=step)
    assert 0 <= behind(server, await known.ask()) < 0.003
    assert 0 <= behind(server, await known.now()) < 0.003


async def test_a_slow_answer_changes_nothing_that_is_known_better(server: Server, known: ServerClock) -> None:
    await known.now()
    server.delays = [4.0]
    assert 4 <= behind(server, await known.ask()) < 4.003
    assert 0 <= behind(server, await known.now()) < 0.003


async def test_time_does_not_go_back_by_little(server: Server, known: ServerClock) -> None:
    before = await known.now()
    server.step = timedelta(milliseconds=-500)
    await known.ask()
    assert await known.now() == before
    server.passed += 0.6
    assert await known.now() > before


async def test_ids_are_in_the_order_of_the_servers_time_over_processes(server: Server, known: ServerClock) -> None:
    other = ServerClock(server.hello)
    made = []
    for number in range(50):
        made.append(await (known if number % 2 else other).new_id())
        server.passed += 0.002
    assert made == sorted(made)
    assert made[0].generation_time == START
    at_once = [await known.new_id() for _ in range(1000)]
    assert at_once == sorted(set(at_once))
