"""When a worker may take it that nobody has a database."""

from __future__ import annotations

import contextlib
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.store.mongo.outage import Outage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "127.0.0.1", server.getsockname()[1]


@pytest.fixture
def refusing() -> tuple[str, int]:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        return "127.0.0.1", server.getsockname()[1]


def outage(*members: tuple[str, int], kind: str = "ReplicaSetNoPrimary", answered: bool = True) -> Outage:
    topology = SimpleNamespace(topology_type_name=kind, server_descriptions=lambda: dict.fromkeys(members))
    client: Any = SimpleNamespace(topology_description=topology)
    made = Outage(client)
    if answered:
        made.ended()
    return made


def test_there_is_an_outage_from_the_first_look_at_which_all_members_refuse(refusing: tuple[str, int]) -> None:
    one = outage(refusing, refusing)
    began = one.look()
    assert began is not None
    assert one.look() == began


def test_a_member_that_listens_may_serve_somebody_else(listening: tuple[str, int], refusing: tuple[str, int]) -> None:
    assert outage(refusing, listening).look() is None


def test_a_host_that_does_not_answer_may_serve_somebody_else(refusing: tuple[str, int]) -> None:
    assert outage(refusing, ("host.invalid", 27017)).look() is None


@pytest.mark.parametrize("kind", ["Sharded", "Single", "Unknown"])
def test_where_not_all_members_are_known_others_may_have_a_database(refusing: tuple[str, int], kind: str) -> None:
    assert outage(refusing, kind=kind).look() is None
    assert outage(refusing, answered=False).look() is None


def test_an_outage_that_was_interrupted_begins_anew(refusing: tuple[str, int]) -> None:
    one = outage(refusing)
    began = one.look()
    one.ended()
    again = one.look()
    assert began is not None
    assert again is not None
    assert again > began
