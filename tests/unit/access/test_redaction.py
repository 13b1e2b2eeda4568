from __future__ import annotations

import pytest

from jobqueue.domain.access.credentials import hidden, names_secret, secrets_of_url
from jobqueue.domain.access.redaction import MOST_NAMED, MOST_PATHS, Redactor, check_paths
from jobqueue.domain.errors import InvalidInputError

JOBS = {"job": "", "children": "", "results": "steps", "logs": "logs"}


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "userPassword",
        "DB_PASS",
        "api_key",
        "X-Api-Key",
        "AWS_SECRET_ACCESS_KEY",
        "accessToken",
        "sessionId",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["key", "tokenizer", "secretary", "passenger", "card", "monkey", "sort_key", ""])
def test_names_of_other_things(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("SMTP_PASSWORD=hunter2 sent", "SMTP_PASSWORD=******** sent"),
        ('{"api_key": "xyz12345", "n": 1}', '{"api_key": "********", "n": 1}'),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ********"),
        ("Proxy-Authorization: Basic YTpiYzpk", "Proxy-Authorization: Basic ********"),
        ("mongodb://ann:pw@h/db", "mongodb://********@h/db"),
        ("see https://h/a?id=77&sig=abc", "see https://h/a?id=77&sig=********"),
        ("https://h/a?q=9f8e7d6c5b4a39281706", "https://h/a?q=********"),
        ("https://h/answer/WyI2YjA.x1_-y now", "https://h/answer/******** now"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- end", "******** end"),
        ("jq_abcd1234_" + "x" * 43, "********"),
        ("key sk-proj-abcdefghijklmnop", "key ********"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "********"),
        ("data.token: expected int, got str", "data.token: expected int, got str"),
        ("the token is wrong", "the token is wrong"),
        ("KeyError: 'vat_id' in order 77 of ann", "KeyError: 'vat_id' in order 77 of ann"),
    ],
)
def test_texts_that_look_like_credentials(text: str, safe: str) -> None:
    assert hidden(text, queries=False) == safe


def test_whole_queries_are_masked_where_no_handler_reads() -> None:
    assert hidden("GET https://h/a?id=77 failed", queries=True) == "GET https://h/a?******** failed"


def test_a_long_text_takes_a_time_in_proportion() -> None:
    for text in ("password" * 50_000, "a" * 400_000, "token=" * 60_000, "https://" * 50_000, "eyJ" * 100_000):
        assert len(hidden(text, queries=True)) <= len(text) * 2


def test_secrets_of_urls() -> None:
    assert secrets_of_url("https://ann:p%40ss@h/x?key=abc&flag") == ["p%40ss", "abc", "flag", "p@ss"]
    assert secrets_of_url("mongodb://a:pw@h/?replicaSet=rs&tlsCertificateKeyFilePassword=x", named=True) == ["pw", "x"]
    assert secrets_of_url("http://[") == []


def test_a_value_that_is_left_out_stands_nowhere_else() -> None:
    job = {
        "id": "a" * 24,
        "type": "charge",
        "data": {
            "cards": [{"number": 4111111111111111, "cvv": "123"}, {"number": "5500005555555559"}],
            "pin": "charge",
        },
        "error": {"kind": "ValueError", "message": "card 5500005555555559 was refused"},
        "steps": [{"name": "charge", "kind": "step"}],
    }
    parts = {
        "job": job,
        "children": [{"data": {"cards": [{"number": "1"}]}}],
        "results": {"charge": {"of": 4111111111111111}, "b": {"x": "y", "tokens": 900}},
        "logs": [{"m": "4111111111111111 and known-secret"}],
    }
    redactor = Redactor(["data.cards.number", "steps.b.x", "meta.none"], ["known-secret"])
    safe = redactor.redact(parts, JOBS)
    assert safe["job"]["data"]["cards"] == [{"number": 0, "cvv": "********"}, {"number": "********"}]
    assert safe["job"]["error"]["message"] == "card ******** was refused"
    # What a replay needs to find its way is no secret, whatever else has the same text.
    assert (safe["job"]["type"], safe["job"]["steps"][0]["name"]) == ("charge", "charge")
    assert safe["children"] == [{"data": {"cards": [{"number": "********"}]}}]
    assert safe["results"] == {"charge": {"of": 0}, "b": {"x": "********", "tokens": 900}}
    assert safe["logs"] == [{"m": "******** and ********"}]
    assert redactor.unused == ["meta.none"]
    assert {"path": "job.data.cards.0.number", "why": "chosen"} in redactor.places
    assert {"path": "job.data.pin", "why": "named like a secret"} in redactor.places


def test_chosen_values_keep_their_kind() -> None:
    data = {"a": {"b": 1}, "c": ["x"], "d": 2.5, "e": True, "f": None, "g.h": "dotted"}
    redactor = Redactor([f"data.{name}" for name in data])
    assert redactor.redact({"job": {"data": data}}, JOBS)["job"]["data"] == {
        "a": {},
        "c": [],
        "d": 0.0,
        "e": False,
        "f": None,
        "g.h": "********",
    }
    whole = Redactor(["data", "steps", "logs"])
    parts = {"job": {"data": data}, "results": {"a": 1}, "logs": [{"m": "x"}]}
    assert whole.redact(parts, JOBS) == {"job": {"data": {}}, "results": {}, "logs": []}
    assert Redactor(["data.*"]).redact({"job": {"data": {"x": "secretly"}}}, JOBS)["job"]["data"] == {"x": "********"}


def test_names_that_are_secrets_are_masked_and_stay_apart() -> None:
    redactor = Redactor([], ["secret-1", "secret-2"])
    safe = redactor.redact({"job": {"data": {"secret-1": 1, "secret-2": 2}}}, JOBS)
    assert safe["job"]["data"] == {"********": 1, "*********": 2}


def test_many_places_are_counted() -> None:
    redactor = Redactor()
    redactor.redact({"results": {str(place): {"password": "x"} for place in range(MOST_NAMED + 7)}}, JOBS)
    assert (len(redactor.places), redactor.unnamed) == (MOST_NAMED, 7)


@pytest.mark.parametrize("path", ["", "password", "data..x", "data.", ".data", "data.\0", "id", "data." + "x" * 200])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(InvalidInputError):
        check_paths([path])


def test_too_many_paths() -> None:
    with pytest.raises(InvalidInputError):
        check_paths([f"data.{place}" for place in range(MOST_PATHS + 1)])
    assert check_paths(["data.a", "data.a", "meta"]) == ("data.a", "meta")
