"""What hostile callers try with tokens: locking others out, and being relied on for longer than they should."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jobqueue.api.http.keys import OPEN_TO_ALL, REMOTE, ROUTE_TABLE, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.route_table import ROUTES
from jobqueue.api.security import authentication
from jobqueue.api.security.throttle import BURST, THROTTLE, Throttle
from jobqueue.domain.access import token as tokens
from jobqueue.domain.access.access import Scope
from jobqueue.domain.access.token import Token
from jobqueue.services.access import access
from jobqueue.services.access.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

SECRET = "s" * 43


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shelf:
    """Tokens in memory; ``reading`` is called while one is looked up."""

    def __init__(self, *there: Token) -> None:
        self.there = {one.id: one for one in there}
        self.reading: Callable[[], None] = lambda: None
        self.reads = 0
        self.clock = self

    async def find(self, token_id: str) -> Token | None:
        self.reads += 1
        found = self.there.get(token_id)
        self.reading()
        return found

    async def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    async def used(self, *_: Any) -> None:
        """Note nothing."""


def token() -> Token:
    return Token(
        id="abcd1234",
        digest=tokens.digest(SECRET),
        name="ours",
        roles=frozenset({"read"}),
        scope=Scope(),
        insert_at=datetime(2029, 1, 1, tzinfo=UTC),
        expires_at=None,
        last_used_at=None,
        revoked_at=None,
    )


class Door:
    """The authentication of one process."""

    def __init__(self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = Time()
        monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=self.time))
        self.access = Access(shelf, SimpleNamespace())  # type: ignore[arg-type]
        runtime = SimpleNamespace(settings=SimpleNamespace(admin_token=None), access=self.access)
        self._app = {RUNTIME: runtime, THROTTLE: Throttle(self.time), OPEN_TO_ALL: False, ROUTE_TABLE: ROUTES}

    async def ask(self, text: str, address: str = "1.1.1.1") -> int:
        """Return the status with which a token is answered."""

        class Request(dict[Any, Any]):
            app = self._app

        try:
            await authentication.caller_of_token(Request({REMOTE: address}), text)  # type: ignore[arg-type]
        except ProblemError as error:
            return error.problem.status
        return 200


VALID = tokens.compose("abcd1234", SECRET)
WRONG = tokens.compose("abcd1234", "x" * 43)
UNKNOWN = tokens.compose("zzzz9999", SECRET)


async def test_one_address_cannot_use_up_the_attempts_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(Shelf(token()), monkeypatch)
    for _ in range(3000):
        door.time.now += 0.01
        assert await door.ask(UNKNOWN, "6.6.6.6") in {401, 429}
    assert await door.ask(VALID, "9.9.9.9") == 200


async def test_somebody_at_the_same_address_cannot_lock_out_a_token_that_was_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = Door(Shelf(token()), monkeypatch)
    assert await door.ask(VALID) == 200
    door.time.now += 10 * access.KNOWN_SECONDS
    for _ in range(5 * BURST):
        await door.ask(UNKNOWN)
    assert await door.ask(UNKNOWN) == 429
    assert await door.ask(VALID) == 200


async def test_knowing_the_id_of_a_token_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(token())
    door = Door(shelf, monkeypatch)
    assert await door.ask(VALID) == 200
    for _ in range(BURST):
        assert await door.ask(WRONG) == 401
    door.time.now += 2 * access.KNOWN_SECONDS / 1000
    assert await door.ask(WRONG) == 429
    assert shelf.reads == 1


async def test_made_up_ids_do_not_push_out_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(Shelf(token()), monkeypatch)
    monkeypatch.setattr(access, "_MOST_KNOWN", 2)
    assert await door.ask(VALID) == 200
    for number in range(5):
        assert await door.ask(tokens.compose(f"made000{number}", SECRET)) == 401
    assert door.access.is_known(VALID)


async def test_however_long_a_token_is_read_it_is_relied_on_for_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(token())
    door = Door(shelf, monkeypatch)

    def slow() -> None:
        door.time.now += access.KNOWN_SECONDS

    shelf.reading = slow
    assert await door.ask(VALID) == 200
    shelf.there.clear()
    assert await door.ask(VALID) == 401
