"""Filters that must be refused, and filters made at random."""

from __future__ import annotations

import random
from typing import Any, Final


def nested(depth: int) -> dict[str, Any]:
    """Return a filter with so many levels."""
    search: dict[str, Any] = {"type": "a"}
    for _ in range(depth):
        search = {"$and": [search]}
    return search


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


def deep(depth: int) -> Any:
    """Return an expression with so many levels."""
    expression: Any = "$type"
    for _ in range(depth):
        expression = {"$toUpper": expression}
    return expression


HOSTILE_STAGES: Final[list[Any]] = [
    {"$out": "jobs"},
    {"$merge": {"into": "config"}},
    {"$lookup": {"from": "config", "pipeline": [], "as": "x"}},
    {"$unionWith": "tokens"},
    {"$graphLookup": {}},
    {"$facet": {"a": [{"$out": "x"}]}},
    {"$collStats": {}},
    {"$indexStats": {}},
    {"$currentOp": {}},
    {"$set": {"x": 1}},
    {"$unset": "claim"},
    {"$replaceRoot": {"newRoot": "$claim"}},
    {"$redact": "$$KEEP"},
    {"$sample": {"size": 1}},
    {"$limit": 0},
    {"$limit": -1},
    {"$limit": 1.5},
    {"$limit": True},
    {"$limit": 10**30},
    {"$skip": "1"},
    {"$sort": {}},
    {"$sort": {"claim.token": 1}},
    {"$sort": {"type": {"$meta": "textScore"}}},
    {"$sort": {"type": 2}},
    {"$sort": {f"data.{number}": 1 for number in range(6)}},
    {"$count": ""},
    {"$count": "$x"},
    {"$count": "a.b"},
    {"$sortByCount": "$claim.token"},
    {"$sortByCount": "$claim"},
    {"$sortByCount": "$history"},
    {"$sortByCount": "$history.token"},
    {"$sortByCount": "$attrs"},
    {"$sortByCount": "$outbox"},
    {"$sortByCount": "$limitKey"},
    {"$sortByCount": "$$ROOT"},
    {"$sortByCount": "$$CURRENT.claim.token"},
    {"$sortByCount": "$$USER_ROLES"},
    {"$sortByCount": {"$getField": "claim"}},
    {"$sortByCount": {"$getField": {"field": "token", "input": "$claim"}}},
    {"$sortByCount": {"$objectToArray": "$$ROOT"}},
    {"$sortByCount": {"$let": {"vars": {"x": "$$ROOT"}, "in": "$$x.claim"}}},
    {"$sortByCount": {"$function": {"body": "x", "args": [], "lang": "js"}}},
    {"$sortByCount": {"$reduce": {"input": {"$range": [0, 10**7]}, "initialValue": 0, "in": 1}}},
    {"$sortByCount": {"$range": [0, 50_000_000]}},
    {"$sortByCount": {"$first": "$history"}},
    {"$sortByCount": {"$arrayElemAt": ["$history", 0]}},
    {"$sortByCount": {"$size": "$claim", "$toUpper": "x"}},
    {"$sortByCount": {"$literal": {"$where": "1"}}},
    {"$sortByCount": {"$cond": {"if": 1, "then": 2}}},
    {"$sortByCount": {"$cond": [1, 2]}},
    {"$sortByCount": {"$subtract": [1]}},
    {"$sortByCount": {"$switch": {"branches": []}}},
    {"$sortByCount": {"$switch": {"branches": [{"case": 1}]}}},
    {"$sortByCount": {"$dateToString": {"date": "$insertAt", "x": 1}}},
    {"$sortByCount": {"$\ud800": 1}},
    {"$sortByCount": {"a\0": 1}},
    {"$sortByCount": {"\ud800": 1}},
    {"$sortByCount": "\ud800"},
    {"$sortByCount": deep(20)},
    {"$sortByCount": {"$add": [1] * 51}},
    {"$sortByCount": {"$add": [{"$add": [1] * 50}] * 50}},
    {"$sortByCount": {"$add": [10**30]}},
    {"$group": {}},
    {"$group": {"n": {"$sum": 1}}},
    {"$group": {"_id": None, "x": "$type"}},
    {"$group": {"_id": None, "x": {"$push": "$$ROOT"}}},
    {"$group": {"_id": None, "x": {"$first": "$claim"}}},
    {"$group": {"_id": None, "x": {"$accumulator": {}}}},
    {"$group": {"_id": None, "x": {"$top": {}}}},
    {"$group": {"_id": None, "x": {"$count": 1}}},
    {"$group": {"_id": None, "x.y": {"$sum": 1}}},
    {"$group": {"_id": None, "$x": {"$sum": 1}}},
    {"$group": {"_id": None, "x": {"$sum": 1, "$avg": 1}}},
    {"$project": {}},
    {"$project": {"claim": 1}},
    {"$project": {"history": 1}},
    {"$project": {"history.token": 1}},
    {"$project": {"claim": {"token": 1}}},
    {"$project": {"x": "$claim"}},
    {"$project": {"x": {"y": "$claim.token"}}},
    {"$project": {"data": 0}},
    {"$project": {"data": 2}},
    {"$project": {"attrs": 1}},
    {"$project": {"data": 1, "data.n": 1}},
    {"$project": {"id": 0}},
    {"$project": {"x.y": "$type"}},
    {"$project": {"$x": "$type"}},
    {"$unwind": "$claim"},
    {"$unwind": "$attrs"},
    {"$unwind": "history"},
    {"$unwind": "$$ROOT"},
    {"$unwind": {"path": "$logs", "includeArrayIndex": "claim"}},
    {"$unwind": {"path": "$logs", "includeArrayIndex": "a.b"}},
    {"$unwind": {"path": "$logs", "preserveNullAndEmptyArrays": 1}},
    {"$unwind": {"path": "$logs", "more": 1}},
    {"$unwind": {}},
    {"$match": {"$expr": {"$eq": ["$claim.token", "x"]}}},
    {1: 2},
]


_STAGES: Final = ["$match", "$group", "$sort", "$limit", "$skip", "$project", "$count", "$sortByCount", "$unwind"]
_CALLS: Final = [
    *("$add", "$subtract", "$divide", "$mod", "$concat", "$size", "$first", "$toInt", "$toDate", "$year", "$eq"),
    *("$cond", "$ifNull", "$arrayElemAt", "$in", "$split", "$toUpper", "$dateTrunc", "$max", "$not", "$type"),
]


class RandomPipeline(Random):
    """Makes pipelines at random."""

    def pipeline(self) -> list[Any]:
        """Return one."""
        return [self._stage() for _ in range(self._random.randrange(1, 5))]

    def _stage(self) -> Any:
        draw = self._random
        kind = draw.choice(
            ["$match", "$group", "$sort", "$limit", "$skip", "$project", "$count", "$sortByCount", "$unwind"]
        )
        if kind == "$match":
            return {kind: self.filter()}
        if kind == "$group":
            accumulator = draw.choice(["$sum", "$avg", "$min", "$max", "$push", "$addToSet", "$first", "$last"])
            return {kind: {"_id": self._expression(0), "x": {accumulator: self._expression(0)}, "n": {"$count": {}}}}
        if kind == "$project":
            return {kind: {draw.choice(_NAMES): 1, "x": self._expression(0)}}
        if kind == "$sort":
            return {kind: {draw.choice([*_NAMES, "_id", "x", "n"]): draw.choice([1, -1])}}
        if kind in {"$limit", "$skip"}:
            return {kind: draw.randrange(50)}
        return {kind: "n" if kind == "$count" else self._expression(0) if kind == "$sortByCount" else self._field()}

    def _field(self) -> str:
        return "$" + self._random.choice([*_NAMES, "_id", "x", "n"])

    def _expression(self, depth: int) -> Any:
        draw = self._random
        if depth > 2 or draw.random() < 0.5:
            return self._field() if draw.random() < 0.8 else draw.choice(_SCALARS)
        operator = draw.choice(_CALLS)
        if operator == "$dateTrunc":
            return {operator: {"date": self._expression(depth + 1), "unit": draw.choice(["day", "x", 5])}}
        count = {"$cond": 3, "$size": 1, "$first": 1, "$toInt": 1, "$toDate": 1, "$year": 1, "$toUpper": 1, "$not": 1}
        arguments = [self._expression(depth + 1) for _ in range(count.get(operator, 1 if operator == "$type" else 2))]
        return {operator: arguments}
