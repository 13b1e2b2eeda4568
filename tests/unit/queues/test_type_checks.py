"""Schemas of workers that cannot be checked as they are, or only in any time, keep nobody waiting."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from jobqueue import InvalidInputError
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.services.queues.type_checks import TypeChecks
from jobqueue.services.work.roster import ServedType


class OneSchema:
    """A roster of one worker."""

    def __init__(self, argument: dict[str, Any], **more: Any) -> None:
        self.schema = {"type": "object", "properties": {"a": argument}, **more}

    async def served(self, queue: str, kind: str) -> ServedType:
        return ServedType(queue=queue, type=kind, workers=1, processor=None, schemas=[self.schema], is_open=False)


async def check(roster: Any, value: Any) -> None:
    await TypeChecks(roster).check(QueueConfig(check=True), "media", "thumbnail", {"a": value})


SLOW = [
    ({"type": "string", "pattern": "^(a+)+$"}, "a" * 60 + "!"),
    ({"type": "string", "pattern": r"^\p{L}+$"}, "abc"),
    ({"type": "array", "uniqueItems": True}, [*range(20_000), *map(str, range(20_000))]),
    ({"type": "object", "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}, {"a" * 60 + "!": 1}),
    ({"not": {"pattern": "b"}}, "a"),
    ({"oneOf": [{"pattern": "^a"}, {"pattern": "^b"}]}, "a"),
    ({"if": {"pattern": "^b"}, "then": {"type": "integer"}}, "a"),
]


@pytest.mark.parametrize(("schema", "value"), SLOW)
async def test_keywords_that_may_take_any_time_are_left_to_the_worker(schema: dict[str, Any], value: Any) -> None:
    await check(OneSchema(schema), value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/absent"},
        {"type": "nothing that JSON has"},
        {"type": 5},
        {"minimum": "high"},
    ],
)
async def test_a_schema_that_cannot_be_used_takes_everything(schema: dict[str, Any]) -> None:
    await check(OneSchema(schema), 5)


async def test_a_reference_to_a_url_is_not_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        await check(OneSchema({"$ref": f"http://127.0.0.1:{listening.getsockname()[1]}/x.json"}), 5)
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_names_of_arguments_may_be_those_of_keywords() -> None:
    roster = OneSchema({"type": "object", "properties": {"pattern": {"type": "integer"}}})
    await check(roster, {"pattern": 5})
    with pytest.raises(InvalidInputError) as caught:
        await check(roster, {"pattern": "five"})
    assert caught.value.problems == {"data.a.pattern": ["must be of type integer"]}


@pytest.mark.parametrize("value", ["red", 5])
async def test_one_of_several_forms_is_asked_for(value: Any) -> None:
    roster = OneSchema({"oneOf": [{"const": "red"}, {"type": "integer", "minimum": 5}]})
    await check(roster, value)
    with pytest.raises(InvalidInputError):
        await check(roster, 4)
