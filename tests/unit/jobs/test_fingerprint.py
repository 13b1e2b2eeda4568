from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import LENGTH, fingerprint, template


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("user 42 has no account 7", "user <n> has no account <n>"),
        ("took 12.5 s, not 1,000 at 10:30:00", "took <n> s, not <n> at <n>"),
        ("job 6b06105097b133d05ea55fc5 is gone", "job <id> is gone"),
        ("no 3f2b8c1e-1d2a-4e5f-8a9b-0c1d2e3f4a5b here", "no <id> here"),
        ("at 0x7f3a and DEADBEEF01", "at <id> and <id>"),
        ("deadbeef is a word, facade too", "deadbeef is a word, facade too"),
        ("cannot open /var/lib/x y.txt", "cannot open <path> y.txt"),
        (r"cannot open C:\data\a.csv: denied", "cannot open <path>: denied"),
        ("~/a/b and ./c and ../d/e/", "<path> and <path> and <path>"),
        ("read/write and n/a stay", "read/write and n/a stay"),
        ("column \"price\" of `orders` and 'x y'", "column <text> of <text> and <text>"),
        ("can't find it, doesn't matter", "can't find it, doesn't matter"),
        ("GET https://example.com/a?b=1 said 503", "GET <url example.com> said <n>"),
        ("mail to ann.b+c@example.co.uk bounced", "mail to <email> bounced"),
        ("not before 2026-01-31T12:00:00.123Z!", "not before <time>!"),
        ("token abc_DEF_0123456789_xyz refused", "token <id> refused"),
        ("no heartbeat from vm-a.b:16426:e1e7dd for 3 s", "no heartbeat from <worker> for <n> s"),
        (
            "ran longer than its 5 s on pod-7f:1:0a1b2c; it was in step a",
            "ran longer than its <n> s on <worker>; it was in step a",
        ),
        ("worker12 on host3a", "worker<n> on host<n>a"),
        ("  many\n\n spaces\t", "many spaces"),
        ("", ""),
    ],
)
def test_what_differs_from_case_to_case_is_left_out(message: str, left: str) -> None:
    assert template(message) == left


def test_the_same_mistake_of_the_same_type_has_the_same_fingerprint() -> None:
    def of(kind: str, error: str, message: str) -> str:
        return fingerprint(kind, JobError(kind=error, message=message, trace="whatever"))

    first = of("resize", "OSError", "no file /a/b.png of user 1")
    assert len(first) == LENGTH
    assert first == of("resize", "OSError", "no file /c/d/e.png of user 23456")
    others = {of("crop", "OSError", "no file /a"), of("resize", "KeyError", "no file /a of user 1"), first}
    assert len(others | {of("resize", "OSError", "no dir /a of user 1"), fingerprint("resize", None)}) == 5


@given(st.text(max_size=3000))
def test_any_message_has_a_short_template_on_one_line(message: str) -> None:
    left = template(message)
    assert len(left) <= 300
    assert left == left.strip()
    assert "\n" not in left


@pytest.mark.parametrize(
    "part", ["a", "/", "/a", "'", '"', "@", "a@", "1", "1.", "0x", "f", "<", "\\", "a.", "1-", "://"]
)
def test_a_long_message_takes_no_longer_than_its_length_asks_for(part: str) -> None:
    assert len(template(part * 8192)) <= 300


def test_lone_surrogates_of_other_programs_do_no_harm() -> None:
    assert len(fingerprint("\ud800", JobError(kind="\udfff", message="\ud800 1"))) == LENGTH
