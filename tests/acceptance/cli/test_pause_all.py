"""All queues and all schedules are paused by one command, and those that it has paused are resumed by another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.cli.conftest import Here


def test_all_queues_are_paused_and_only_those_resumed(here: Here) -> None:
    assert here.run("queue", "pause", "--all").err == "there is nothing to pause\n"
    here.run("queue", "pause", "by-hand", "--reason", "disk full")
    here.run("queue", "set", "configured", "concurrency=2")
    here.run("add", "work", "--queue", "with-jobs")
    assert here.run("queue", "pause", "--all", "--reason", "restored").out == "configured paused\nwith-jobs paused\n"
    queues = {
        view["name"]: (view["paused"], view["pauseReason"]) for view in here.run("queues", "--json").json()["items"]
    }
    assert queues == {
        "by-hand": (True, "disk full"),
        "configured": (True, "restored"),
        "with-jobs": (True, "restored"),
    }
    resumed = here.run("queue", "resume", "--all", "--reason", "restored", "--json").json()["items"]
    assert [(view["name"], view["paused"]) for view in resumed] == [("configured", False), ("with-jobs", False)]
    assert here.run("queue", "resume", "--all").out == "by-hand resumed\n"


def test_all_schedules_are_paused(here: Here) -> None:
    for name in ("a", "b"):
        here.run("schedule", "set", name, json.dumps({"every": 3600, "job": {"type": "work"}}))
    here.run("schedule", "pause", "a")
    assert here.run("schedule", "pause", "--all").out == "b paused\n"
    assert here.run("schedule", "pause", "--all").out == ""


@pytest.mark.parametrize("words", [["queue", "pause"], ["queue", "resume"], ["schedule", "pause"]])
def test_a_name_or_all_is_needed(here: Here, words: list[str]) -> None:
    for more in ([], ["media", "--all"]):
        ran = here.run(*words, *more)
        assert (ran.code, ran.out) == (2, "")
        assert "give either the NAME of a" in ran.err
