from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.job import LONGEST_MESSAGE, JobError
from jobqueue.domain.verdict import Accepted, Again, Death, Failure, Success
from jobqueue.processors.replies import MOST_BODY, Reply, judge, retry_after

NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)
CUT = Failure(error=JobError(kind="connection", message="example.com broke off its reply"), code=200)
JSON = {"content-type": "application/json; charset=utf-8"}
JSON_NAMED = {"content_type": "application/json"}


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


@pytest.mark.parametrize("number", [str(2**63), str(-(2**63) - 1), str(2**64), "1" * 29, "-" + "1" * 200])
def test_a_2xx_with_a_whole_number_that_cannot_be_kept_fails(number: str) -> None:
    failure = verdict(200, f'{{"n": {number}}}'.encode())
    assert failure.error.kind == "invalid-result"
    assert "result.n: is a whole number beyond 64 bit" in failure.error.message


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**53 + 1])
def test_a_2xx_keeps_large_whole_numbers_exactly(number: int) -> None:
    assert verdict(200, f'{{"n": {number}, "text": "{2**70}"}}'.encode()) == Success(
        result={"n": number, "text": str(2**70)}, code=200
    )


@pytest.mark.parametrize("body", [b"", b" \r\n"])
@pytest.mark.parametrize("headers", [{}, JSON, {"content-encoding": "gzip"}])
def test_a_2xx_without_a_body_succeeds_without_a_result(body: bytes, headers: dict[str, str]) -> None:
    assert judge(Reply(status=204, headers=headers, body=body), NOW) == Success(code=204)


def test_a_2xx_with_text_succeeds_with_the_beginning_of_it() -> None:
    assert verdict(200, b"OK\n", content_type="text/plain") == Success(result="OK", code=200)
    assert verdict(200, b"\xff\x00ok") == Success(result="\ufffd\x00ok", code=200)
    assert verdict(200, b"x" * 5000) == Success(result="x" * 2048 + " …", code=200)


@pytest.mark.parametrize("kind", ["application/json", "Application/Problem+JSON; charset=utf-8"])
@pytest.mark.parametrize("body", [b'{"outcome": "fai', b"NaN", b"OK", b"[1e999]", b'"\xff"', b"[" * 5000])
def test_a_2xx_that_claims_to_be_json_and_is_not_fails(kind: str, body: bytes) -> None:
    failure = verdict(200, body, content_type=kind)

    assert (failure.error.kind, failure.code) == ("invalid-reply", 200)
    assert "JSON" in failure.error.message


def test_a_compressed_2xx_fails_and_says_so() -> None:
    failure = verdict(200, gzip.compress(b'{"outcome": "fail"}'), content_encoding="gzip")

    assert failure.error.kind == "invalid-reply"
    assert "gzip" in failure.error.message


def test_a_2xx_with_too_long_a_body_fails() -> None:
    failure = verdict(200, b'"' + b"x" * MOST_BODY)

    assert (failure.error.kind, failure.code) == ("too-large-reply", 200)
    assert "4 MiB" in failure.error.message


@pytest.mark.parametrize(
    "body",
    [
        b"9223372036854775808",
        b'{"$where": 1}',
        b'{"a\\u0000": 1}',
        b"[" * 70 + b"]" * 70,
        b"[0" + b",0" * 600_000 + b"]",
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_result_that_cannot_be_stored_fails(body: bytes, *, wrapped: bool) -> None:
    failure = verdict(200, b'{"outcome": "success", "result": %b}' % body if wrapped else body)

    assert (failure.error.kind, failure.code) == ("invalid-result", 200)


@pytest.mark.parametrize("status", [200, 201, 202, 400, 404, 410, 500, 503])
def test_an_outcome_in_the_body_decides_whatever_the_status(status: int) -> None:
    assert verdict(status, b'{"outcome": "fail", "reason": "no disk"}') == Failure(
        error=JobError(kind="fail", message="no disk"), code=status
    )
    assert verdict(status, b'{"outcome": "die", "reason": "no such user"}') == Death(
        error=JobError(kind="die", message="no such user"), code=status
    )
    assert verdict(status, b'{"outcome": "retry", "reason": "busy", "delay": 7.5}') == Again(
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
@pytest.mark.parametrize(("outcome", "kind"), [("fail", Failure), ("die", Death), ("retry", Again)])
def test_an_outcome_counts_whatever_its_reason_is(outcome: str, kind: type, reason: Any, said: str | None) -> None:
    decided = verdict(200, orjson.dumps({"outcome": outcome, "reason": reason}))

    assert (type(decided), decided.code, decided.error.kind) == (kind, 200, outcome)
    if said is not None:
        assert decided.error.message == said.replace("{}", outcome)
    assert len(decided.error.message.encode()) <= LONGEST_MESSAGE


@pytest.mark.parametrize("unusable", [True, -1, 1e12, 2**70, {}, [5], "soon", "", "nan", "inf"])
def test_a_retry_with_an_unusable_delay_is_a_retry_that_says_so(unusable: Any) -> None:
    again = verdict(200, json.dumps({"outcome": "retry", "reason": "busy", "delay": unusable}).encode())

    assert (type(again), again.delay, again.error.kind) == (Again, None, "retry")
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
    assert verdict(200, body, **JSON_NAMED).error.kind == "invalid-reply"
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

    assert isinstance(again, Again)
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
    [(200, Failure), (201, Failure), (202, Accepted), (410, Death), (429, Again), (500, Failure)],
)
def test_a_reply_cut_short_still_says_what_its_status_says(status: int, expected: type) -> None:
    reply = Reply(status=status, headers={"retry-after": "5"}, body=b'{"outcome": "die"}', fault=CUT)

    assert type(judge(reply, NOW)) is expected


def test_a_success_cut_short_is_none() -> None:
    assert judge(Reply(status=200, body=b'{"a": 1}', fault=CUT), NOW) is CUT


@given(st.integers(100, 999), st.binary(max_size=200), st.dictionaries(st.sampled_from(["content-type"]), st.text()))
def test_no_reply_breaks_the_verdict(status: int, body: bytes, headers: dict[str, str]) -> None:
    assert judge(Reply(status=status, body=body, headers=headers), NOW) is not None
