"""Differences of what was before and after a change."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue.dashboard.insight.differences import difference


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"concurrency": 8, "rate": None}, {"concurrency": 4, "rate": {"limit": 5, "per": 60}},
         ["-concurrency 8", "+concurrency 4", "+rate.limit 5", "+rate.per 60"]),
        (None, {"cron": "* * * * *", "every": None, "job": {}}, ["+cron * * * * *"]),
        ({"paused": True}, None, ["-paused true"]),
        ({"n": 1, "list": [1]}, {"n": True, "list": [1]}, ["-n 1", "+n true"]),
        ("a", "b", ["- a", "+ b"]),
        ({"same": 1}, {"same": 1}, []),
    ],
)  # fmt: skip
def test_fields_that_differ_are_named_by_their_paths(before: Any, after: Any, lines: list[str]) -> None:
    assert [f"{line.sign}{line.path} {line.value}" for line in difference(before, after).lines] == lines


def test_long_differences_are_cut() -> None:
    cut = difference({}, {f"f{n}": "x" * 1_000 for n in range(50)})
    assert (len(cut.lines), cut.hidden) == (6, 44)
    assert max(len(line.value) for line in cut.lines) == 100
