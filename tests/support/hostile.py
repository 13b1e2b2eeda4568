"""Filters nobody should be able to run, and filters made at random."""

from __future__ import annotations

import random
from typing import Any, Final


def nested(depth: int) -> dict[str, Any]:
    """Return a filter with so many levels."""
    found: dict[str, Any] = {"type": "a"}
    for _ in range(depth):
        found = {"$and": [found]}
    return found


HOSTILE: Final[list[Any]] = [
    {"$where": "while(true){}"},
    {"$expr": {"$function": {"body": "function(){while(true){}}", "args": [], "lang": "js"}}},
    {"$expr": {"$eq": ["$claim.token", "x"]}},
    {"$and": [{"$where": "1"}]},
    {"$or": [{"type": "a", "$where": "1"}]},
    {"$or": [{"type": "a"}] * 5000},
    {"$or": []},
    {"$or": {"type": "a"}},
    {"$nor": [{"$jsonSchema": {}}]},
    {"$text": {"$search": "x"}},
    {"$comment": "x"},
    {"$lookup": {"from": "config"}},
    {"$out": "jobs"},
    nested(7),
    nested(900),
    {"type": {"$gt": {"$where": "1"}}},
    {"type": {"$ne": {"$gt": ""}}},
    {"type": {"$in": [{"$regex": "x"}]}},
    {"type": {"$in": []}},
    {"type": {"$in": ["a"] * 101}},
    {"type": {"$in": "a"}},
    {"type": {"$type": "string"}},
    {"type": {"$not": "a"}},
    {"type": {"$not": {"$where": "1"}}},
    {"type": {"$elemMatch": {"$where": "1"}}},
    {"type": {"$eq": "a", "more": 1}},
    {"data": {"$where": "1"}},
    {"data.x": {"y": 1}},
    {"data.x": {"$elemMatch": {"$where": "1"}}},
    {"data.x": {"$geoWithin": {}}},
    {"data.x": {"$mod": [0, 0]}},
    {"data.$where": 1},
    {"data.a..b": 1},
    {"data.": 1},
    {".data": 1},
    {"data." + "a." * 20 + "a": 1},
    {"data." + "a" * 600: 1},
    {"data.a\0b": 1},
    {"data.\ud800": 1},
    {"": 1},
    {"$": 1},
    {"__proto__": {"admin": True}},
    {"constructor.prototype": 1},
    {"claim.token": "x"},
    {"claim": {"$elemMatch": {"token": "x"}}},
    {"claim": {"token": "x"}},
    {"history.token": {"$regex": "^a"}},
    {"history": {"$elemMatch": {"token": {"$regex": "^a"}}}},
    {"history.late": 1},
    {"outbox": {"$exists": True}},
    {"attrs": "user_id=1"},
    {"limitKey": "a"},
    {"slots": "a"},
    {"run": 1},
    {"error.message": {"$regex": "^(a+)+$"}},
    {"error.message": {"$regex": "(.*a){12}x"}},
    {"error.message": {"$regex": "(a|a)*b"}},
    {"error.message": {"$regex": "((a*)b)+"}},
    {"error.message": {"$regex": "(?=a)b"}},
    {"error.message": {"$regex": r"(a)\1"}},
    {"error.message": {"$regex": r"\Qa"}},
    {"error.message": {"$regex": "a" * 129}},
    {"error.message": {"$regex": "a\0b"}},
    {"error.message": {"$regex": "("}},
    {"error.message": {"$regex": "[a"}},
    {"error.message": {"$regex": ".*.*.*.*.*.*.*x"}},
    {"error.message": {"$regex": "a", "$options": "x"}},
    {"error.message": {"$regex": "a", "$options": 1}},
    {"error.message": {"$regex": {"$regex": "a"}}},
    {"error.message": {"$regex": "\ud800"}},
    {"error.message": {"$options": "i"}},
    {"priority": 10**30},
    {"priority": float("nan")},
    {"priority": "5"},
    {"priority": True},
    {"data.n": 10**400},
    {"data.n": float("inf")},
    {"data.n": {"$numberLong": "9" * 19}},
    {"data.n": {"$numberLong": 5}},
    {"data.n": {"$numberDouble": "NaN"}},
    {"data.n": {"$numberDecimal": "1"}},
    {"data.n": {"$gt": None}},
    {"data.n": {"$size": -1}},
    {"data.n": {"$exists": 1}},
    {"data.n": "x" * 5000},
    {"data.n": "\ud800"},
    {"data.n": {"$code": "1"}},
    {"data.n": {"$date": 10**30}},
    {"data.n": {"$date": "2026-13-01"}},
    {"data.n": {"$date": "2026-01-01", "x": 1}},
    {"data.n": {"$regularExpression": {"pattern": "a", "options": ""}}},
    {"data.n": {"$minKey": 1}},
    {"data.n": [1, 2]},
    {"insertAt": "yesterday"},
    {"insertAt": 5},
    {"id": "x"},
    {"id": {"$oid": "x"}},
    {"id": {"$oid": {"$oid": "x"}}},
    {"state": "no such state"},
    {"state": {"$regex": "f"}},
    {"dependsOn": {"$elemMatch": {"x": 1}}},
    {f"data.n{number}": 1 for number in range(201)},
    {1: 2},
    [],
    None,
    "x",
    5,
]

_NAMES: Final = [
    *("id", "_id", "queue", "type", "state", "data.n", "meta.user_id", "meta.tenant", "meta", "data", "result"),
    *("error", "history", "history.worker", "history.token", "claim.token", "claim", "attrs", "outbox", "insertAt"),
    *("priority", "batchId", "dependsOn", "onSuccessDelete", "logs.m", "$where", "$expr", "__proto__", "", "a\0", "é"),
    *("meta.tags", "key", "error.message", "endAt", "callbackOf", "result.a.b", "data.list", "logs", "$nor"),
]
_OPERATORS: Final = [
    *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$all", "$exists", "$size", "$not", "$regex"),
    *("$options", "$elemMatch", "$where", "$expr", "$function", "$type", "$date", "$oid", "$numberLong"),
]
_SCALARS: Final = [
    *(
        None,
        True,
        False,
        0,
        -1,
        42,
        10**20,
        0.5,
        float("nan"),
        "",
        "a",
        "failed",
        "success",
        "media",
        "other",
        "x" * 300,
    ),
    *("x" * 300, "0" * 24, "2026-01-01T00:00:00Z", "^a.*", "(a+)+", "a\0b", "\ud800", "ß", "[a-z]{2,3}$", ".*", "i"),
]


class Random:
    """Makes filters at random: about as many acceptable ones as others."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def filter(self, depth: int = 0) -> Any:
        """Return one."""
        draw = self._random
        if depth < 4 and draw.random() < 0.3:
            parts = [self.filter(depth + 1) for _ in range(draw.randrange(4))]
            return {draw.choice(["$and", "$or", "$nor"]): parts}
        return {draw.choice(_NAMES): self._operand(depth) for _ in range(draw.randrange(3))}

    def _operand(self, depth: int) -> Any:
        draw = self._random
        kind = draw.random()
        if kind < 0.35:
            return draw.choice(_SCALARS)
        if kind < 0.85:
            return {draw.choice(_OPERATORS): self._inner(depth) for _ in range(draw.randrange(1, 3))}
        return self._inner(depth)

    def _inner(self, depth: int) -> Any:
        draw = self._random
        kind = draw.random()
        if kind < 0.6 or depth > 4:
            return draw.choice(_SCALARS)
        if kind < 0.8:
            return [draw.choice(_SCALARS) for _ in range(draw.randrange(4))]
        return self._operand(depth + 1) if kind < 0.9 else self.filter(depth + 1)
