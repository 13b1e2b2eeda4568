"""Bundles with texts of any depth where sentences belong, and attempts whose errors have lost values."""

from __future__ import annotations

import json

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.work.bundle import Bundle
from jobqueue.testing.replays.replay import past
from tests.unit.testing.bundles import bundle


def test_only_texts_are_sentences() -> None:
    form = json.dumps(bundle(doubts=["@", "pay"], cut=["@", "a"], redacted=[{"path": "@"}], madeAt="@", version="@"))
    deep = '{"a":' * 1_000 + "1" + "}" * 1_000
    read = Bundle.read(form.replace('"@"', deep).encode())
    assert (read.doubts, read.cut, read.redacted, read.made_at, read.version) == (("pay",), ("a",), (), "", "")


def test_the_last_attempt_has_the_fingerprint_of_the_error_before_its_values_were_left_out() -> None:
    whole = fingerprint("order", JobError(kind="ValueError", message="no such customer as ann"))
    masked = {"kind": "ValueError", "message": "no such customer as ********"}
    attempts = [
        {"attempt": number, "startAt": "2030-01-31T12:00:00.000Z", "endAt": None, "outcome": "fail", "error": error}
        for number, error in ((1, {"kind": "OSError", "message": "x"}), (2, masked))
    ]
    read = Bundle.of(bundle(job={"attemptsMade": 2, "error": masked, "history": attempts}, fingerprint=whole))
    assert past(read, attempt=2).fingerprint == past(read).fingerprint == whole
    assert past(read, attempt=1).fingerprint not in {whole, None}
