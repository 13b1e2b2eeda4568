"""All queues and all schedules are paused by one command, and those that it has paused are resumed by another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.process.api import Api
from jobqueue.client.errors import ServerUnreachableError
from jobqueue.domain.errors import ForbiddenError

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


def test_a_pause_by_hand_meanwhile_stays_and_new_queues_follow(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def between_list_and_change(*calls: tuple[str, str, str, dict[str, Any] | None]) -> None:
        """Make calls of somebody else once the next command has its list."""
        left = list(calls)

        async def items(api: Api, *parts: str) -> list[Any]:
            found = [item async for item in api._pages(dict, *parts)]
            while left:
                method, name, verb, body = left.pop(0)
                await api._send(method, "queues", name, *([verb] if verb else []), body=body)
            return found

        monkeypatch.setattr(Api, "items", items)

    for name in ("a", "b", "c"):
        here.run("queue", "set", name, "attempts=2")
    between_list_and_change(
        ("POST", "b", "pause", {"reason": "disk full"}), ("DELETE", "c", "", None), ("PUT", "d", "", {"attempts": 2})
    )
    paused = here.run("queue", "pause", "--all", "--reason", "restored")
    assert (paused.code, paused.err) == (0, "")
    assert {"a paused", "d paused"} <= set(paused.out.splitlines()) <= {"a paused", "c paused", "d paused"}
    between_list_and_change(("POST", "a", "pause", {"reason": "by hand"}))
    resumed = here.run("queue", "resume", "--all", "--reason", "restored").out.splitlines()
    assert resumed == [line.replace("paused", "resumed") for line in paused.out.splitlines() if line != "a paused"]


def test_an_error_about_one_queue_holds_up_no_other(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        here.run("queue", "set", name, "attempts=2")
    send = Api._send
    lost: list[str] = []

    async def refusing(api: Api, method: str, *parts: str, **call: Any) -> Any:
        if parts == ("queues", "b", "pause"):
            raise ForbiddenError("this token may not change queue b")
        reply = await send(api, method, *parts, **call)
        if parts == ("queues", "c", "pause") and not lost:
            lost.append("c")
            # Its repetition by the transport finds another tag.
            return await send(api, method, *parts, **call)
        if parts == ("queues", "d", "pause"):
            raise ServerUnreachableError("nobody answers")
        return reply

    monkeypatch.setattr(Api, "_send", refusing)
    ran = here.run("queue", "pause", "--all", "--reason", "x")
    assert (ran.code, ran.out, ran.err) == (1, "a paused\nc paused\n", "error: this token may not change queue b\n")
    # Each line tells of a change that was made, also before the end of the command.
    here.run("queue", "resume", "--all")
    here.run("queue", "set", "d", "attempts=2")
    ran = here.run("queue", "pause", "--all")
    assert (ran.code, ran.out, ran.err.splitlines()[-1]) == (3, "a paused\nc paused\n", "error: nobody answers")


def test_a_reason_that_cannot_be_used_is_refused_before_anything_is_paused(here: Here) -> None:
    here.run("queue", "set", "a", "attempts=2")
    for words in (["pause", "a"], ["pause", "--all"], ["resume", "--all"]):
        for reason in ("", "two\nlines", "x" * 501):
            ran = here.run("queue", *words, "--reason", reason)
            assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1), (words, reason[:9], ran)
    reason = "<img src=x onerror=alert(1)> \N{BULLET} --all"
    assert here.run("queue", "pause", "--all", "--reason", reason).out == "a paused\n"
    assert here.run("queue", "resume", "--all", "--reason", reason).out == "a resumed\n"


def test_all_schedules_are_paused(here: Here) -> None:
    for name in ("a", "b"):
        here.run("schedule", "set", name, json.dumps({"every": 3600, "job": {"type": "work"}}))
    here.run("schedule", "pause", "a")
    ran = here.run("schedule", "pause", "--all")
    assert (ran.code, ran.out) == (0, "b paused\n")
    assert here.run("schedule", "pause", "--all").out == ""


@pytest.mark.parametrize("words", [["queue", "pause"], ["queue", "resume"], ["schedule", "pause"]])
def test_a_name_or_all_is_needed(here: Here, words: list[str]) -> None:
    for more in ([], ["media", "--all"]):
        ran = here.run(*words, *more)
        assert (ran.code, ran.out) == (2, "")
        assert "give either the NAME of a" in ran.err
