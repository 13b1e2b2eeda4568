"""How often a process asks whether it is ready."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from jobqueue.domain.errors import NotReadyError
from jobqueue.services.insight.readiness import FRESH_SECONDS, Readiness


@dataclass
class Server:
    """Answers as it is told, and counts the questions."""

    trouble: str | None = None
    asked: int = 0
    now: float = 0
    slow: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self) -> None:
        self.asked += 1
        await self.slow.wait()
        if self.trouble:
            raise NotReadyError(self.trouble)


@pytest.fixture
def server() -> Server:
    made = Server()
    made.slow.set()
    return made


@pytest.fixture
def readiness(server: Server) -> Readiness:
    return Readiness(server.ask, lambda: server.now)


async def test_an_answer_holds_for_a_moment(server: Server, readiness: Readiness) -> None:
    for _ in range(10):
        await readiness.check()
    assert server.asked == 1
    server.trouble = "no primary"
    server.now += FRESH_SECONDS
    for _ in range(10):
        with pytest.raises(NotReadyError, match="no primary"):
            await readiness.check()
    assert server.asked == 2
    server.trouble = None
    server.now += FRESH_SECONDS
    await readiness.check()
    assert server.asked == 3


async def test_probes_that_come_together_share_a_question_that_outlives_any_of_them(
    server: Server, readiness: Readiness
) -> None:
    server.slow.clear()
    probes = [asyncio.create_task(readiness.check()) for _ in range(50)]
    await asyncio.sleep(0)
    probes[0].cancel()
    server.slow.set()
    told = await asyncio.gather(*probes, return_exceptions=True)
    assert [one for one in told if one is not None] == [told[0]]
    assert isinstance(told[0], asyncio.CancelledError)
    assert server.asked == 2


async def test_a_change_is_logged_once(server: Server, readiness: Readiness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for trouble in (None, "no primary", "no primary", "no right", None, None):
        server.trouble = trouble
        server.now += FRESH_SECONDS
        if trouble is None:
            await readiness.check()
        else:
            with pytest.raises(NotReadyError):
                await readiness.check()
    told = [record.getMessage().partition(" reason=")[0] for record in caplog.records]
    assert told == ["readiness lost", "readiness lost", "readiness restored"]
