"""Requests that nobody would send, for every route of the table."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hypothesis import strategies as st

from jobqueue.api.route_table import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from marshmallow import Schema

    from jobqueue.api.http.route_spec import Route

_SURROGATE: Final = "\ud800"
_OPERATORS: Final = ("$where", "$gt", "$in", "$regex", "$expr", "$function", "$match", "$group", "$or", "$not", "_id")
_NAMES: Final = (
    "id",
    "type",
    "kind",
    "url",
    "name",
    "base",
    "a",
    "a.b",
    "",
    "\0",
    "$set",
    "data",
    "data.n",
    *_OPERATORS,
)

_BROKEN: Final = (
    *(b"", b"\xef\xbb\xbf{}", b"{", b"{}\0", b"\0", b"9" * 5000, b'{"a": 1, "a": 2}', "{}".encode("utf-16")),
    *(b'{"type": 1e999}', b'{"type": NaN}', b'{"type": "\xff"}', b'{"type": "a\\u0000"}', b'{"type": "\\ud800"}'),
    *(b"[" * 200 + b"]" * 200, b"[" * 100_000, b'{"a":' * 130 + b"1" + b"}" * 130),
    b'{"data": {"\\u0000": 1}, "type": "a"}',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A request for a route."""

    route: Route
    path: str
    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)


def attempts(real: Mapping[str, list[str]]) -> st.SearchStrategy[Attempt]:
    """Return requests for any route; ``real`` are values that exist, by the name they have in paths and bodies."""
    values = _values(real)
    changing = [route for route in ROUTES if route.method != "GET"]
    reading = [route for route in ROUTES if route.method == "GET"]
    return st.one_of([_attempt(route, real, values) for route in [*changing, *changing, *reading]])


def _attempt(route: Route, real: Mapping[str, list[str]], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Attempt]:
    body: st.SearchStrategy[bytes | None] = st.none()
    if route.method != "GET":
        taken = route.body
        schema = None if taken is None else taken.schema()
        shaped = _shaped(schema, real, values)
        example = None if taken is None else taken.example
        body = st.one_of(
            shaped if example is None else _changed(example, values), shaped, shaped, _raw(values), st.none()
        )
    return st.builds(
        Attempt,
        route=st.just(route),
        path=st.tuples(_path(route.path, real), _query(route, real)).map("".join),
        body=body,
        headers=_headers(),
    ).map(_declared)


def _values(real: Mapping[str, list[str]]) -> st.SearchStrategy[Any]:
    known = sorted({value for values in real.values() for value in values})
    scalars: st.SearchStrategy[Any] = st.one_of(
        st.sampled_from(known),
        st.none() | st.booleans(),
        st.integers(-3, 5),
        st.integers(),
        st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**40, 1e308, -0.0, float("nan"), float("inf"), 1e18]),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["\0", "a\0b", _SURROGATE, "$where", "$$ROOT", "a.b", "..", "x" * 300, "é" * 90, "1e5", "NaN"]),
        st.sampled_from(
            ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "10000-01-01T00:00:00Z", "2026-01-01"]
        ),
    )
    names = st.sampled_from(_NAMES) | st.text(max_size=4) | st.just(_SURROGATE)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
    )


def _shaped(
    schema: Schema | None, real: Mapping[str, list[str]], values: st.SearchStrategy[Any]
) -> st.SearchStrategy[bytes]:
    """Return bodies with the fields of a schema, some of them right."""
    known = [] if schema is None else [spec.data_key or name for name, spec in schema.fields.items()]
    right = {name: st.sampled_from(real[name]) for name in known if name in real}
    wild = st.dictionaries(st.sampled_from([*known, *known, *_NAMES]), values, max_size=4)
    return st.tuples(st.fixed_dictionaries({}, optional=right), wild, st.booleans()).map(_merged)


def _changed(example: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Return an example with one value replaced or added."""
    places = st.sampled_from([*_places(example), ("odd",)])
    return st.tuples(places, values).map(lambda change: json.dumps(_with(example, *change)).encode()) | st.just(
        json.dumps(example).encode()
    )


def _places(value: Any) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inner:
        yield (name,)
        yield from ((name, *rest) for rest in _places(child))


def _with(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    name, *rest = place
    if isinstance(value, list):
        return [_with(item, tuple(rest), new) if index == name else item for index, item in enumerate(value)]
    return value | {name: _with(value.get(name), tuple(rest), new)}


def _merged(parts: tuple[dict[str, Any], dict[str, Any], bool]) -> bytes:
    right, wild, right_first = parts
    merged = wild | right if right_first else right | wild
    if "wait" in merged:
        # A long poll is no mistake, and takes its time.
        merged["wait"] = 0
    return json.dumps(merged).encode()


def _raw(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Return bodies that are not quite JSON objects."""
    texts = values.map(lambda value: json.dumps(value).encode())
    broken = st.sampled_from(_BROKEN)
    return st.one_of(texts, broken, st.binary(max_size=40), texts.map(lambda text: text[: len(text) // 2]))


def _path(path: str, real: Mapping[str, list[str]]) -> st.SearchStrategy[str]:
    parts = []
    for part in path.split("/"):
        if not part.startswith("{"):
            parts.append(st.just(part))
            continue
        name = part.strip("{}")
        odd = st.sampled_from(["\0", "%", "a/b", "..", "é", "x" * 500, " ", "a:b", "%zz", ";", "0" * 24]) | st.text(
            st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8
        )
        known = st.sampled_from(real[name]) if name in real else st.nothing()
        parts.append((known | known | odd).map(lambda text: quote(text, safe="")))
    return st.tuples(*parts).map("/".join)


def _query(route: Route, real: Mapping[str, list[str]]) -> st.SearchStrategy[str]:
    schema = route.query
    known = [] if schema is None else [spec.data_key or name for name, spec in schema().fields.items()]
    if schema is not None and schema.prefix:
        known += [f"{schema.prefix}a", f"{schema.prefix}$a", schema.prefix, f"{schema.prefix}user.id"]
    texts = st.one_of(
        st.sampled_from(sorted({value for values in real.values() for value in values})),
        st.sampled_from(
            ["1", "0", "-1", "9" * 400, "1e999", "NaN", "null", "true", "\0", "é", "x" * 300, "[]", "{", ""]
        ),
        st.sampled_from(
            ["2026-01-01", "9999-12-31T23:59:59-23:59", "10000-01-01", "pending", "failed,killed", "insertAt"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    )
    pairs = st.lists(st.tuples(st.sampled_from([*known, "odd"]), texts), max_size=3)
    encoded = pairs.map(lambda drawn: "&".join(f"{quote(name)}={quote(text)}" for name, text in drawn))
    return (encoded | st.just("a=%ff&%00") | st.just("")).map(lambda text: f"?{text}" if text else "")


def _headers() -> st.SearchStrategy[dict[str, str]]:
    odd = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20) | st.just("é" * 10)
    return st.fixed_dictionaries(
        {},
        optional={
            "Content-Type": st.sampled_from(
                ["application/json", "application/json; charset=utf-16", "text/plain", "/"]
            ),
            "Content-Encoding": st.sampled_from(["gzip", "deflate", "odd"]),
            "Idempotency-Key": odd,
            "If-Match": odd | st.just('"1"') | st.just("*"),
            "If-None-Match": odd,
            "Last-Event-ID": odd,
            "X-Request-Id": odd,
        },
    ).map(_mostly_json)


def _mostly_json(headers: dict[str, str]) -> dict[str, str]:
    """Return headers with which half of all bodies are read as JSON."""
    if len(headers) % 2:
        return {
            name: value for name, value in headers.items() if name in {"Idempotency-Key", "If-Match", "X-Request-Id"}
        }
    return headers


def _declared(attempt: Attempt) -> Attempt:
    headers = dict(attempt.headers)
    body = attempt.body
    if body is None:
        headers.pop("Content-Encoding", None)
    else:
        headers.setdefault("Content-Type", "application/json")
        if headers.get("Content-Encoding") == "gzip" and len(body) % 2:
            body = gzip.compress(body)
    return Attempt(route=attempt.route, path=attempt.path, body=body, headers=headers)
