"""Secrets in forms that programs write: headers, options, quotes within quotes, lists of names and values."""

from __future__ import annotations

import base64

import pytest

from jobqueue.domain.access.credentials import hidden
from jobqueue.domain.access.redaction import Redactor


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Authorization: Token abcdef99", "Authorization: ********"),
        ('Authorization: Digest username="ann", response="abcd"', "Authorization: Digest ********"),
        ("Cookie: theme=dark; session=zzz9", "Cookie: ********"),
        ('["Authorization: Token abc", "Accept: x"]', '["Authorization: ********", "Accept: x"]'),
        ("{'Authorization': 'Token abc'}", "{'Authorization': '********'}"),
        ('{"password": "correct horse, battery"}', '{"password": "********"}'),
        (r'password: "ab\"cd" x', 'password: "********" x'),
        (r"{\"password\": \"p,a;ss w\", \"n\": 1}", r"{\"password\": \"********\", \"n\": 1}"),
        ("mongodb://ann:p@ss@h/db", "mongodb://********@h/db"),
        ("run --api-token abc123 --user ann", "run --api-token ******** --user ann"),
        ("https://hooks.slack.com/services/T0/B0/XyZ123456", "https://hooks.slack.com/********"),
        ("wss://h/a?token=abc", "wss://h/a?token=********"),
        ("session_id=abcdefgh footprint=abcdefgh", "session_id=******** footprint=abcdefgh"),
        ("the option --password is required", "the option --password is required"),
    ],
)
def test_secrets_in_texts(text: str, safe: str) -> None:
    assert hidden(text, queries=False) == safe
    assert hidden(safe, queries=False) == safe


def test_names_beside_their_values() -> None:
    data = {
        "headers": [["Authorization", "Token x"], ["Accept", "json"]],
        "env": [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "PORT", "value": "80"}],
        "args": ["--password", "hunter33", "--verbose", "x"],
        "pin": 1234,
        "tokens": 5,
    }
    assert Redactor().redact({"job": {"data": data}}, {})["job"]["data"] == {
        "headers": [["Authorization", "********"], ["Accept", "json"]],
        "env": [{"name": "DB_PASSWORD", "value": "********"}, {"name": "PORT", "value": "80"}],
        "args": ["--password", "********", "--verbose", "x"],
        "pin": 0,
        "tokens": 5,
    }


def test_a_known_secret_is_found_as_urls_json_and_headers_have_it() -> None:
    planted = 'p"a/ss+wörd'
    encoded = base64.b64encode(planted.encode()).decode()
    lines = [{"m": f"x {form} y"} for form in (planted, "p%22a%2Fss%2Bw%C3%B6rd", r"p\"a/ss+w\u00f6rd", encoded)]
    safe = Redactor([], [planted]).redact({"logs": lines}, {"logs": "logs"})
    assert safe["logs"] == [{"m": "x ******** y"}] * 4


def test_a_place_is_named_without_secrets_in_it() -> None:
    redactor = Redactor()
    redactor.redact({"job": {"data": {"sk-abcdefghijklmnopqrst": {"password": "x"}}}}, {})
    assert "sk-" not in str(redactor.places)


def test_hostile_texts_take_a_time_in_proportion() -> None:
    for text in ("password='" * 40_000, "--a " * 100_000, "cookie: " + '="' * 100_000, 'password="' + "\\" * 400_000):
        assert len(hidden(text, queries=True)) <= len(text) * 2
