from __future__ import annotations

import base64
import gzip
import json
import random
import re
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.attempt import LONGEST_MESSAGE, JobError
from jobqueue.domain.values import payload
from jobqueue.domain.work.verdict import Accepted, Death, Failure, RunAgain, Success
from jobqueue.processors.webhooks.replies import MOST_BODY, Reply, judge, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)
CUT = Failure(error=JobError(kind="connection", message="example.com broke off its reply"), code=200)
JSON = {"content-type": "application/json; charset=utf-8"}
JSON_NAMED = {"content_type": "application/json"}
NO_JSON = "it is meant as JSON and is not"


def verdict(status: int, body: bytes = b"", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge(Reply(status=status, reason="Because", headers=named, body=body), NOW)


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"a": [1, 2.5, null, "\xc2\xb5"]}', {"a": [1, 2.5, None, "µ"]}),
        (b"[]", []),
        (b"0", 0),
        (b"null", None),
        (b'\xef\xbb\xbf{"bom": true}', {"bom": True}),
        (b'{"outcome": "approved"}', {"outcome": "approved"}),
        (b'{"outcome": ["fail"]}', {"outcome": ["fail"]}),
        (b'[{"outcome": "fail"}]', [{"outcome": "fail"}]),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 203, 299])
def test_a_2xx_succeeds_with_its_json_body(status: int, body: bytes, result: Any) -> None:
    assert verdict(status, body) == Success(result=result, code=status)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**53 + 1])
def test_a_2xx_keeps_large_whole_numbers_exactly(number: int) -> None:
    assert verdict(200, f'{{"n": {number}, "text": "{2**70}"}}'.encode()) == Success(
        result={"n": number, "text": str(2**70)}, code=200
    )


@pytest.mark.parametrize("body", [b"", b" \r\n"])
@pytest.mark.parametrize("headers", [{}, JSON, {"content-encoding": "gzip"}])
def test_a_2xx_without_a_body_succeeds_without_a_result(body: bytes, headers: dict[str, str]) -> None:
    assert judge(Reply(status=204, headers=headers, body=body), NOW) == Success(code=204)


def kept(given: Any, text: str, *why: str) -> None:
    """Check that a reply is a success with a text as its result, and that the warning says why."""
    assert isinstance(given, Success)
    assert (given.result, given.code) == (text, 200)
    assert given.warning is not None
    assert given.warning.startswith("the reply cannot be stored as it is, so the result is its text: ")
    assert all(word in given.warning for word in why), given.warning
    assert payload.check_result(given.result) == given.result


@pytest.mark.parametrize("body", ["OK\n", "x" * 50_000, "<p>nul \0 \u2028</p>"])
def test_a_2xx_with_text_succeeds_with_all_of_it(body: str) -> None:
    assert verdict(200, body.encode(), content_type="text/plain") == Success(result=body.strip(), code=200)
    assert verdict(200, body.encode()) == Success(result=body.strip(), code=200)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (str(2**63), "is a whole number beyond 64 bit"),
        (str(-(2**63) - 1), "is a whole number beyond 64 bit"),
        ("1" * 29, "is a whole number beyond 64 bit"),
        ("-" + "1" * 5000, "is a whole number beyond 64 bit"),
        ('{"$ref": 1}', "result.$ref: has a name that begins with $"),
        ('{"a": {"$where": 1}}', "result.a.$where: has a name that begins with $"),
        ('{"a\\u0000": 1}', "has a NUL character in its name"),
        ("NaN", "is not a finite number"),
        ('{"a": [Infinity, -Infinity]}', "result.a.1: is not a finite number"),
        ("[1e999]", "is not a finite number"),
        ('"\\ud800"', "has a lone surrogate"),
        ("[" * 70 + "]" * 70, "is nested deeper than 64 levels"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "has the name c twice in one object"),
    ],
)
@pytest.mark.parametrize("headers", [{}, JSON_NAMED])
def test_a_2xx_with_json_that_cannot_be_stored_succeeds_with_its_text(
    text: str, problem: str, headers: dict[str, str]
) -> None:
    kept(verdict(200, text.encode(), **headers), text, problem)
    wrapped = f'{{"result" : {text} ,"outcome": "success"}}'.encode()
    given = verdict(200, wrapped, **headers)
    assert given.result in {text, wrapped.decode()}
    kept(given, given.result, problem)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"outcome": "fai', '{"outcome": "fai'),
        (b"OK", "OK"),
        (b'{"caf\xe9": "\xff"}', '{"caf\\xe9": "\\xff"}'),
        (b'"two\nlines"', '"two\nlines"'),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "Application/Problem+JSON; charset=utf-8"])
def test_a_2xx_that_claims_to_be_json_and_is_not_succeeds_with_its_text(kind: str, body: bytes, text: str) -> None:
    kept(verdict(200, body, content_type=kind), text, NO_JSON)


def test_a_2xx_that_is_no_utf_8_succeeds_and_shows_each_byte() -> None:
    kept(verdict(200, b"\xff\x00ok"), "\\xff\x00ok", "it is not UTF-8")


@pytest.mark.parametrize("name", ["a.b", "", ".", "a."])
def test_a_name_with_a_dot_is_kept_as_it_is(name: str) -> None:
    assert verdict(200, orjson.dumps({name: 1})) == Success(result={name: 1}, code=200)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("gzip", bytes),
        ("br", bytes),
    ],
)
def test_an_encoded_body_counts_although_nobody_has_asked_for_the_encoding(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    def of(status: int, body: bytes) -> Any:
        return verdict(status, pack(body), content_encoding=encoding, content_type="application/json")

    assert of(200, b'{"n": 1}') == Success(result={"n": 1}, code=200)
    assert of(200, b'{"outcome": "fail", "reason": "no"}').error.message == "no"
    assert isinstance(of(500, b'{"outcome": "die"}'), Death)
    assert of(500, b"Oops").error.trace == "HTTP 500 Because\n\nOops"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
@pytest.mark.parametrize("body", [b"\x1f\x8b", gzip.compress(b"abc" * 100, mtime=0)[:20], b"\xff" * 50])
def test_a_2xx_whose_encoding_cannot_be_undone_succeeds_with_its_bytes(encoding: str, body: bytes) -> None:
    given = verdict(200, body, content_encoding=encoding)

    kept(given, base64.b64encode(body).decode(), f"its encoding, {encoding}, cannot be undone")


def refused(given: Any, kind: str, message: str) -> None:
    """Check that a reply is a failed attempt that says why."""
    assert isinstance(given, Failure)
    assert (given.error.kind, given.error.message, given.code) == (kind, message, 200)
    assert given.error.trace is not None


TOO_LARGE = "the webhook answered with more than 4 MiB, the most a result may take"
UNSTORABLE = "the webhook answered with a result that cannot be stored: result takes {} bytes; the limit is 4,194,304"


@pytest.mark.parametrize("headers", [{}, JSON_NAMED, {"content_encoding": "br"}])
@pytest.mark.parametrize(
    "body",
    [
        b"x" * (MOST_BODY + 1),
        b'"' + b"x" * (MOST_BODY + 5),
        "é".encode() * MOST_BODY,
        b"\xff" * (MOST_BODY + 1),
        b"\0" * (MOST_BODY + 1),
        b" " * (MOST_BODY + 1),
        b'{"outcome": "success", "result": "' + b"x" * MOST_BODY,
        b'{"outcome": "success", "result": [' + b"1," * MOST_BODY,
        b'{"outcome": "success", "more": "' + b"x" * MOST_BODY + b'", "result": 1}',
        b'{"outcome": "success", "result": ' + b"1" * MOST_BODY,
    ],
    ids=["text", "JSON", "accents", "bytes", "NUL", "blank", "long", "list", "late", "number"],
)
def test_a_2xx_with_too_long_a_body_is_a_failed_attempt(body: bytes, headers: dict[str, str]) -> None:
    refused(verdict(200, body[: MOST_BODY + 1], **headers), "too-large-reply", TOO_LARGE)


NOISE = random.Random(1).randbytes(MOST_BODY + 50)  # noqa: S311 - no secret, but bytes that cannot be packed


@pytest.mark.parametrize("body", [b"x" * 50_000_000, NOISE], ids=["text", "noise"])
def test_a_body_that_unpacks_to_very_much_is_a_failed_attempt(body: bytes) -> None:
    packed = gzip.compress(body, mtime=0)[: MOST_BODY + 1]

    refused(verdict(200, packed, content_encoding="gzip"), "too-large-reply", TOO_LARGE)


@pytest.mark.parametrize(
    ("body", "size", "why"),
    [
        (b"[0" + b",0" * 600_000 + b"]", None, ""),
        (b'{"outcome": "success", "result": [0' + b",0" * 600_000 + b"]}", None, ""),
        (b'"' + b"x" * (MOST_BODY - 2) + b'"', 4_194_309, ""),
        (b"x" * (MOST_BODY - 6), 4_194_305, ""),
        (b"[" * (MOST_BODY - 6), 4_194_305, ""),
        (b"\xff" * 2_000_000, 8_000_007, " (as text, for it is not UTF-8)"),
        (
            b'{"$a": "' + b"x" * (MOST_BODY - 10) + b'"}',
            *(4_194_311, " (as text, for result.$a: has a name that begins with $)"),
        ),
    ],
    ids=["list", "outcome", "JSON", "text", "half a JSON", "no UTF-8", "name"],
)
def test_a_2xx_with_a_result_over_its_limit_is_a_failed_attempt(body: bytes, size: int | None, why: str) -> None:
    assert len(body) <= MOST_BODY
    given = verdict(200, body)
    shown = f"{size:,}" if size else re.findall(r"takes ([\d,]+) bytes", given.error.message)[0]
    refused(given, "invalid-result", UNSTORABLE.format(shown) + why)


def test_an_unreadable_encoding_whose_base64_is_over_the_limit_is_a_failed_attempt() -> None:
    given = verdict(200, b"\xff" * 4_000_000, content_encoding="br")
    assert isinstance(given, Failure)
    assert given.error.kind == "invalid-result"
    assert given.error.message.startswith(UNSTORABLE.format("5,333,343") + " (as text, for its encoding, br, cannot")


def test_a_text_of_the_size_allowed_is_whole() -> None:
    text = "x" * (payload.MOST_RESULT - 7)
    assert verdict(200, text.encode()) == Success(result=text, code=200)
    kept(verdict(200, text.encode(), **JSON_NAMED), text, NO_JSON)


@pytest.mark.parametrize("outcome", ["fail", "die", "retry", "success"])
def test_an_outcome_counts_in_a_body_that_is_too_long(outcome: str) -> None:
    body = b'{"outcome": "%b", "result": {"n": 1}, "more": "%b"}' % (outcome.encode(), b"x" * MOST_BODY)
    given = verdict(200, body[: MOST_BODY + 1])
    if outcome == "success":
        assert given == Success(result={"n": 1}, code=200)
    else:
        assert given.error.kind == outcome


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"outcome": "success", "result": "half', '"half'),
        (b'{"outcome": "success", ', '{"outcome": "success",'),
    ],
)
def test_the_outcome_success_counts_in_a_body_that_is_not_whole(body: bytes, text: str) -> None:
    given = verdict(200, body)

    assert given.result.startswith(text)
    kept(given, given.result)


def test_the_outcome_success_has_its_result_though_the_rest_is_broken() -> None:
    assert verdict(200, b'{"outcome": "success", "result": {"a": 1}, oops') == Success(result={"a": 1}, code=200)
    large = b'{"n": %b, "outcome": "success", "result": {"a": 1}}' % (b"9" * 5000)
    assert verdict(200, large) == Success(result={"a": 1}, code=200)


@pytest.mark.parametrize("status", [200, 201, 202, 400, 404, 410, 500, 503])
def test_an_outcome_in_the_body_decides_whatever_the_status(status: int) -> None:
    assert verdict(status, b'{"outcome": "fail", "reason": "no disk"}') == Failure(
        error=JobError(kind="fail", message="no disk"), code=status
    )
    assert verdict(status, b'{"outcome": "die", "reason": "no such user"}') == Death(
        error=JobError(kind="die", message="no such user"), code=status
    )
    assert verdict(status, b'{"outcome": "retry", "reason": "busy", "delay": 7.5}') == RunAgain(
        delay=7.5, error=JobError(kind="retry", message="busy"), code=status
    )


@pytest.mark.parametrize("status", [200, 202])
def test_the_outcome_success_carries_the_result(status: int) -> None:
    assert verdict(status, b'{"outcome": "success", "result": {"n": 1}}') == Success(result={"n": 1}, code=status)
    assert verdict(status, b'{"outcome": "success", "reason": 5}') == Success(code=status)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_the_outcome_success_does_not_help_an_error_status(status: int) -> None:
    failure = verdict(status, b'{"outcome": "success"}')

    assert isinstance(failure, Failure)
    assert failure.error.kind == "http"


def test_an_outcome_needs_neither_reason_nor_delay() -> None:
    again = verdict(200, b'{"outcome": "retry", "reason": null, "delay": null}')

    assert again.delay is None
    assert verdict(200, b'{"outcome": "die"}').error.message == "the webhook answered with the outcome die"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        *(
            (5, "5"),
            (0, "0"),
            (False, "false"),
            ({"a": 1}, '{"a": 1}'),
            ([], "[]"),
            ("a\0b", "a\0b"),
            ("é" * 9000, None),
        ),
        *(("", "the webhook answered with the outcome {}"), (None, "the webhook answered with the outcome {}")),
    ],
)
@pytest.mark.parametrize(("outcome", "kind"), [("fail", Failure), ("die", Death), ("retry", RunAgain)])
def test_an_outcome_counts_whatever_its_reason_is(outcome: str, kind: type, reason: Any, said: str | None) -> None:
    decided = verdict(200, orjson.dumps({"outcome": outcome, "reason": reason}))

    assert (type(decided), decided.code, decided.error.kind) == (kind, 200, outcome)
    if said is not None:
        assert decided.error.message == said.replace("{}", outcome)
    assert len(decided.error.message.encode()) <= LONGEST_MESSAGE


@pytest.mark.parametrize("unusable", [True, -1, 1e12, 2**70, {}, [5], "soon", "", "nan", "inf"])
def test_a_retry_with_an_unusable_delay_is_a_retry_that_says_so(unusable: Any) -> None:
    again = verdict(200, json.dumps({"outcome": "retry", "reason": "busy", "delay": unusable}).encode())

    assert (type(again), again.delay, again.error.kind) == (RunAgain, None, "retry")
    assert again.error.message.startswith("busy (the answer has an unusable delay: delay: must be ")
    assert '"delay"' in again.error.trace


@pytest.mark.parametrize(("delay", "seconds"), [("60", 60), ("2.5", 2.5), (0, 0), (0.2, 0.2)])
def test_a_delay_may_be_a_number_in_quotes(delay: Any, seconds: float) -> None:
    assert verdict(200, json.dumps({"outcome": "retry", "delay": delay}).encode()).delay == seconds


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"outcome": "die", "reason": "a \\ud800 b"}', "a ? b"),
        (b'{"outcome": "die", "reason": "caf\xe9"}', "caf\ufffd"),
        (b'{"outcome": "die", "reason": "two\nlines\0"}', "two\nlines\0"),
        (b'{"outcome": "die", "reason": "x", "score": NaN}', "x"),
        (b'{"outcome": "die", "reason": "x", "n": %b}' % (b"9" * 5000), "x"),
        (b'{"outcome": "die", "reason": "x", "deep": %b}' % (b"[" * 100_000), "x"),
        (b'{"outcome": "die", "reason": "cut sho', "cut sho"),
        (b'{"outcome": "die", "rea', "the webhook answered with the outcome die"),
        (b'\xef\xbb\xbf { "outcome" : "die" , ', "the webhook answered with the outcome die"),
        (b'{"reason": "x", "outcome": "die"}garbage', "x"),
    ],
)
@pytest.mark.parametrize("headers", [{}, JSON])
def test_an_outcome_counts_in_a_body_that_is_not_quite_json(
    status: int, body: bytes, said: str, headers: dict[str, str]
) -> None:
    decided = judge(Reply(status=status, headers=headers, body=body), NOW)

    assert decided == Death(error=JobError(kind="die", message=said), code=status)


@pytest.mark.parametrize("status", [200, 500])
def test_an_outcome_counts_with_a_reason_longer_than_what_is_read(status: int) -> None:
    whole = b'{"outcome": "die", "reason": "' + b"x" * 6_000_000
    limit = Reply(status=status).limit
    decided = verdict(status, whole[: limit + 1])

    assert isinstance(decided, Death)
    assert decided.error.message.startswith("xxx")
    last = b'{"reason": "' + b"x" * 200_000 + b'", "outcome": "die"}'
    assert isinstance(verdict(status, last), Death)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b'{"outcome": "di',
            b'{"outcome"',
            b"{outcome: die}",
            b'[{"outcome": "die"',
            b'{"a": {"outcome": "die"',
            b"{}}",
        ),
        *(b'{"outcome": "success", "result": {"n": NaN}}', b'{5: "die"}', b'{"outcome": ["die"], NaN', b"{", b"\xff"),
    ],
)
def test_nothing_is_decided_by_half_an_outcome(body: bytes) -> None:
    assert isinstance(verdict(200, body, **JSON_NAMED), Success)
    assert verdict(500, body).error.kind == "http"


@pytest.mark.parametrize("body", [b"", b"thanks", b'{"id": 5}', b"x" * (MOST_BODY + 1)])
def test_a_202_leaves_the_job_to_the_receiver(body: bytes) -> None:
    assert verdict(202, body) == Accepted(code=202)


def test_a_410_is_final() -> None:
    death = verdict(410, b"closed")

    assert isinstance(death, Death)
    assert (death.error.kind, death.error.message, death.code) == ("http", "the webhook answered 410 Because", 410)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_receiver_says_when_to_come_back(status: int) -> None:
    again = verdict(status, b"later", retry_after="120")

    assert isinstance(again, RunAgain)
    assert again.error is not None
    assert (again.delay, again.code, again.error.kind) == (120, status, "http")


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {}), (503, {"retry_after": "soon"}), (500, {"retry_after": "5"})]
)
def test_without_a_time_to_come_back_it_is_a_counted_failure(status: int, headers: dict[str, str]) -> None:
    assert isinstance(verdict(status, b"", **headers), Failure)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("1", 1), ("90", 90), (" 90 ", 90), ("3600", 3600), ("3601", 3600), ("9" * 8000, 3600), ("0", 1)),
        ("Sat, 01 Mar 2025 12:10:00 GMT", 600),
        ("Saturday, 01-Mar-25 12:10:00 GMT", 600),
        ("Sat Mar  1 12:10:00 2025", 600),
        ("Sat, 01 Mar 2025 14:10:00 +0200", 600),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 1),
        ("Fri, 01 Mar 2999 00:00:00 GMT", 3600),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_limits(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "-5", "1.5", "soon", "٣", "1e3", "0x10", "Sat, 99 Mar 2025 12:10:00 GMT", "Sat, 01 Mar 99999 1:1:1 GMT"],
)
def test_retry_after_that_is_neither_is_ignored(text: str) -> None:
    assert retry_after({"retry-after": text}, NOW) is None


def test_a_date_to_come_back_is_read_by_the_receivers_own_clock() -> None:
    headers = {"retry-after": "Mon, 01 Jan 2001 00:05:00 GMT", "date": "Mon, 01 Jan 2001 00:00:00 GMT"}

    assert retry_after(headers, NOW) == 300
    assert retry_after(headers | {"date": "garbage"}, NOW) == 1


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_header_breaks_the_reading_of_retry_after(text: str, date: str) -> None:
    seconds = retry_after({"retry-after": text, "date": date}, NOW)

    assert seconds is None or 1 <= seconds <= 3600


@pytest.mark.parametrize("status", [101, 300, 304, 400, 401, 404, 422, 500, 502, 599, 999])
def test_any_other_status_fails_with_an_excerpt(status: int) -> None:
    failure = verdict(status, b"<h1>Oops</h1>" + b"x" * 5000)

    assert (failure.error.kind, failure.code) == ("http", status)
    assert failure.error.message == f"the webhook answered {status} Because"
    assert failure.error.trace == f"HTTP {status} Because\n\n<h1>Oops</h1>" + "x" * (2048 - 13) + " …"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_fails_and_names_its_target(status: int) -> None:
    failure = verdict(status, b'{"outcome": "success"}', location="http://10.0.0.1/\udcff\n")

    assert failure.error.kind == "http"
    assert failure.error.message == (
        f"the webhook answered {status} Because to http://10.0.0.1/??; redirects are not followed"
    )


def test_a_reason_as_long_as_a_header_may_be_is_cut() -> None:
    failure = judge(Reply(status=500, reason="x" * 8000 + "\0\x1b[31m"), NOW)

    assert isinstance(failure, Failure)
    assert len(failure.error.message) < 400


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, Failure), (201, Failure), (202, Accepted), (410, Death), (429, RunAgain), (500, Failure)],
)
def test_a_reply_cut_short_still_says_what_its_status_says(status: int, expected: type) -> None:
    reply = Reply(status=status, headers={"retry-after": "5"}, body=b'{"outcome": "die"}', fault=CUT)

    assert type(judge(reply, NOW)) is expected


def test_a_success_cut_short_is_none() -> None:
    assert judge(Reply(status=200, body=b'{"a": 1}', fault=CUT), NOW) is CUT


@given(st.integers(100, 999), st.binary(max_size=200), st.dictionaries(st.sampled_from(["content-type"]), st.text()))
def test_no_reply_breaks_the_verdict(status: int, body: bytes, headers: dict[str, str]) -> None:
    assert judge(Reply(status=status, body=body, headers=headers), NOW) is not None
