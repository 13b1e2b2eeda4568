"""Queues and schedules as files say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.cli.conftest import Here

FILE = """
[queues.media]
concurrency = 5
processors."*" = { kind = "webhook", url = "https://example.com/hook" }

[schedules.nightly]
every = 3600
job = { type = "report", data = { at = 2030-01-01T00:00:00Z } }
"""


def shown(here: Here, *words: str) -> Any:
    return json.loads(here(*words, "--json").out)


def test_files_are_applied_with_a_difference(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text(FILE)
    planned = here("apply", "all.toml", "--dry-run")
    assert (planned.code, planned.out) == (0, "queue media: would be created\nschedule nightly: would be created\n")
    assert shown(here, "queues")["items"] == []

    first = here("apply", "all.toml")
    assert (first.code, first.err) == (0, "")
    secret = first.out.split("shown only now: ")[1].splitlines()[0]
    assert secret.startswith("whsec_")
    assert shown(here, "schedule", "show", "nightly")["job"]["data"] == {"at": "2030-01-01T00:00:00+00:00"}
    assert here("apply", "all.toml").out == "queue media: unchanged\nschedule nightly: unchanged\n"

    file.write_text(FILE.replace("concurrency = 5", "concurrency = 6").replace("3600", "60"))
    difference = "queue media: would be changed\n  concurrency: 5 -> 6\n"
    planned = here("apply", "all.toml", "--dry-run")
    assert planned.out == f"{difference}schedule nightly: would be changed\n  every: 3600 -> 60\n"
    [queue, schedule] = shown(here, "apply", "all.toml")["items"]
    assert queue["changes"] == [{"field": "concurrency", "before": 5, "after": 6}]
    assert (queue["secrets"], schedule["action"]) == ({}, "changed")
    assert shown(here, "queue", "show", "media")["concurrency"] == 6


@pytest.mark.parametrize("over", ["database"], indirect=True)
def test_the_query_of_a_url_is_not_printed(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    for number, told in ((1, "created"), (2, "(a masked part differs)"), (2, "unchanged")):
        file.write_text(FILE.replace("/hook", f"/hook?key=secret-{number}"))
        for words in (("--dry-run",), ("--dry-run", "--json"), ()):
            ran = here("apply", "all.toml", *words)
            assert (ran.code, "secret-" in ran.out) == (0, False), ran.out
            assert told in ran.out or "--json" in words
    assert "key=secret-2" in here("queue", "show", "media").out, "the whole URL, to an administrator who asks for it"


@pytest.mark.parametrize("over", ["database"], indirect=True)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("queues = 3", "bad.toml: queues: is none of the tables [queues.NAME] and [schedules.NAME]"),
        ("[queue.media]", "bad.toml: queue: is none of the tables"),
        ("[queues.mail]\nconcurency = 5", "queues.mail.concurency: is not a known field"),
        ("[queues.'a b']\n", "queues.a b.name: "),
        ("[queues]\nmail = 3", "bad.toml: queues.mail: must be a table"),
        ("[schedules.s]\nevery = 5", "schedules.s.job: "),
        ("x = ", "bad.toml: is not TOML: "),
        pytest.param(f"x = {'[' * 3000}", "bad.toml: is nested too deeply", id="deep"),
        pytest.param(f"{'.'.join('a' * 1500)} = 1", "bad.toml: is nested too deeply", id="dots"),
        pytest.param(f"x = {'9' * 5000}", "bad.toml: is not TOML: ", id="digits"),
    ],
)
def test_a_mistake_changes_nothing(here: Here, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "all.toml").write_text(FILE)
    (tmp_path / "bad.toml").write_text(text)
    ran = here("apply", "all.toml", "bad.toml")
    assert ran.code == 2
    assert ran.err.startswith(f"error: {told}")
    assert shown(here, "queues")["items"] == []


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_job_that_no_worker_takes_changes_nothing_either(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    async def refuse(*_: Any) -> None:
        raise InvalidInputError({"job.data.n": ["must be of type integer"]})

    monkeypatch.setattr("jobqueue.services.schedules.schedules.Schedules.check", refuse)
    (tmp_path / "all.toml").write_text(FILE)
    ran = here("apply", "all.toml", *options)
    assert (ran.code, ran.err) == (2, "error: schedules.nightly.job.data.n: must be of type integer\n")
    assert shown(here, "queues")["items"] == []


def test_a_name_in_two_files_is_a_mistake(here: Here, tmp_path: Path) -> None:
    for name in ("all.toml", "again.toml"):
        (tmp_path / name).write_text(FILE)
    ran = here("apply", "all.toml", "again.toml")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)
    assert "error: again.toml: queues.media: is in an earlier file, too" in ran.err
    assert here("apply", "missing.toml").code == 2
