"""A comparison of failed jobs in a terminal: the traits, and what was looked at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from jobqueue.cli.bulk import comparing, failures

if TYPE_CHECKING:
    import pytest

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TRAIT = {"text": 'data.country = "DE"', "failed": 97, "failedOf": 100, "succeeded": 0, "succeededOf": 90}
FOUND: dict[str, Any] = {
    "message": 'In 97 % of the failed jobs data.country = "DE" (in 0 % of those that succeeded).',
    "traits": [TRAIT | {"alike": [{"text": 'data.currency = "EUR"'}, {"text": "data.vat\x1b is missing"}]}],
    "steps": [{"value": "charge", "count": 1200}],
    "attemptsMade": [{"value": 3, "count": 90}, {"value": 1, "count": 10}],
    "failed": {
        "count": 100,
        "how": "all of them",
        "firstAt": "2026-01-01T10:00:00.000Z",
        "lastAt": "2026-01-01T11:59:00.000Z",
    },
    "succeeded": {"count": 0, "how": "the newest ones", "firstAt": None, "lastAt": None},
    "comparisons": 1234,
    "fields": 30,
    "unread": 2,
    "isComplete": False,
}


def test_traits_and_samples_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "with_api", lambda *_: (FOUND, NOW))
    ran = CliRunner().invoke(failures.failures, ["compare", "0" * 16])
    assert ran.exit_code == 0, ran.output
    assert [" ".join(line.split()) for line in ran.output.splitlines()] == [
        FOUND["message"],
        "",
        "FAILED SUCCEEDED TRAIT THE SAME JOBS",
        '97 % 0 % data.country = "DE" data.currency = "EUR"; data.vat\\x1b is missing',
        "",
        "steps charge (1,200)",
        "attempts 3 (90), 1 (10)",
        "failed 100, all of them; added 2h to 1m ago",
        "succeeded 0",
        (
            "compared 1,234 comparisons of 30 fields; data or meta of 2 jobs was too large; "
            "there was no time to read more jobs"
        ),
    ]
