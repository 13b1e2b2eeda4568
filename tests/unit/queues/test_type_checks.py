"""Schemas of workers that cannot be checked as they are, or only in any time, keep nobody waiting."""

from __future__ import annotations

import inspect
import json
import socket
from typing import Any

import pydantic
import pytest

from jobqueue import InvalidInputError
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.processors.callbacks.type_schemas import schema_of
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


async def test_a_check_that_branches_at_each_level_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    branch = {"type": "object", "properties": {"n": {"$ref": "#/$defs/node"}}}
    node = {"anyOf": [branch | {"required": ["a"]}, branch | {"required": ["b"]}, {"type": "integer"}]}
    value: Any = "no integer"
    for _ in range(3):
        value = {"n": value, "a": 1, "b": 2}
    roster = OneSchema({"$ref": "#/$defs/node"}, **{"$defs": {"node": node}})
    with pytest.raises(InvalidInputError):
        await check(roster, value)
    for _ in range(60):
        value = {"n": value, "a": 1, "b": 2}
    await check(roster, value)
    assert "would take too long" in caplog.text


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True, extra="forbid")
    number: int = pydantic.Field(alias="partNumber")


class _Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    total: int = pydantic.Field(validation_alias=pydantic.AliasChoices("sum", "amount"))
    parts: list[_Part] = []
    note: str = pydantic.Field(default="", alias="remark")


TAKEN: list[dict[str, Any]] = [
    {"sum": 1, "parts": [{"partNumber": 1}, {"number": 2}]},
    {"amount": 1, "remark": "x"},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "data.a: needs one of sum, amount"),
    ({"total": 1}, "data.a.total: is not a known argument"),
    ({"sum": 1, "parts": [{}]}, "data.a.parts.0: needs one of partNumber, number"),
    ({"sum": 1, "parts": [{"number": "x"}]}, "data.a.parts.0.number: must be of type integer"),
    ({"sum": 1, "note": "x"}, "data.a.note: is not a known argument"),
]


async def test_models_of_pydantic_are_taken_by_all_their_keys() -> None:
    def task(a: _Order) -> None:
        del a

    roster = OneSchema({})
    roster.schema = json.loads(schema_of(inspect.signature(task).parameters, {"a": _Order}, takes_other=False) or "")
    for value in TAKEN:
        _Order.model_validate(value)
        await check(roster, value)
    for value, text in REFUSED:
        with pytest.raises(pydantic.ValidationError):
            _Order.model_validate(value)
        with pytest.raises(InvalidInputError, match=text):
            await check(roster, value)


async def test_a_long_list_of_references_is_checked_whole() -> None:
    points = [{"x": number} for number in range(5_000)]
    point = {"type": "object", "properties": {"x": {"type": "integer"}}}
    roster = OneSchema({"type": "array", "items": {"$ref": "#/$defs/point"}}, **{"$defs": {"point": point}})
    await check(roster, points)
    with pytest.raises(InvalidInputError, match=r"data\.a\.5000\.x"):
        await check(roster, [*points, {"x": "no"}])


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
