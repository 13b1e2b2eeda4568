"""What people do with jobs, by real processes."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from jobqueue.store.embedded.mongod_binary import find_mongod
from tests.acceptance.cli.cli_process import Cli
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.cli.conftest import Here


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


def test_a_job_is_added_listed_and_shown(cli: Cli) -> None:
    added = cli.run("add", "resize", '{"n": 1}', "--meta", "user.id=42", "--meta", "name=ann", "--priority", "3")
    assert added.code == 0, added.err
    job_id = added.out.strip()
    listed = cli.run("list", "--meta", "user.id=42", "--state", "pending", "--since", "1h")
    assert listed.out.splitlines()[0].split() == ["ID", "STATE", "QUEUE", "TYPE", "ATTEMPTS", "AGE", "ABOUT"]
    assert listed.out.splitlines()[1].split()[:5] == [job_id, "pending", "default", "resize", "0/3"]
    assert cli.run("list", "--type", "other", "--json").json() == {"items": [], "next": None}
    shown = cli.run("show", job_id, "--json").json()
    assert (shown["id"], shown["data"], shown["priority"]) == (job_id, {"n": 1}, 3)
    assert shown["meta"] == {"user": {"id": 42}, "name": "ann"}


def test_many_jobs_are_added_from_stdin_all_or_none(here: Here) -> None:
    lines = [{"type": "a", "key": "k"}, {"type": "b", "delayTil": "2199-01-01T00:00:00Z"}]
    added = here.run("add", "--bulk", "-", "--json", stdin="\n".join(map(json.dumps, lines)))
    assert [job["state"] for job in added.json()["items"]] == ["pending", "delayed"]
    clash = here.run("add", "--bulk", "-", stdin='{"type": "c"}\n{"type": "a", "key": "k"}')
    assert (clash.code, clash.out) == (5, "")
    assert "has the key 'k'" in clash.err
    assert len(here.run("list", "--json").json()["items"]) == 2


def test_jobs_are_killed_and_requeued_and_what_cannot_be_is_told(here: Here) -> None:
    first, second = (here.run("add", "resize").out.strip() for _ in range(2))
    killed = here.run("kill", first, "f" * 24, second, "--reason", "no longer needed")
    assert killed.out.splitlines() == [f"{first} killed", f"{second} killed"]
    assert (killed.code, killed.err) == (4, f"error: there is no job {'f' * 24}\n")
    again = here.run("kill", first)
    assert (again.code, again.err) == (5, f"error: job {first} is killed: it cannot be killed\n")
    assert "killed: no longer needed" in here.run("show", first).out
    requeued = here.run("requeue", first, "--priority", "7", "--data", '{"n": 2}', "--json").json()["items"][0]
    assert (requeued["state"], requeued["priority"], requeued["data"]) == ("pending", 7, {"n": 2})
    assert here.run("show", first[-6:], "--json").json()["id"] == first
    assert here.run("requeue", second, "--attempts", "0").err == "error: attempts: must be from 1 to 10000\n"


def test_a_queue_is_configured_and_its_secret_shown_only_once(here: Here) -> None:
    config = {"attempts": 7, "processors": {"*": {"kind": "webhook", "url": "https://example.org/"}}}
    made = here.run("queue", "set", "media", "-", "--json", stdin=json.dumps(config))
    assert made.json()["processors"]["*"]["secret"].startswith("whsec_")
    assert "only this once" in made.err
    assert here.run("queue", "pause", "media").out == "media paused\n"
    shown = here.run("queue", "show", "media", "--json").json()
    assert (shown["attempts"], shown["paused"], shown["processors"]["*"]["secret"]) == (7, True, "********")
    wrong = here.run("queue", "set", "media", '{"attempts": 0, "atempts": 1}')
    assert wrong.code == 2
    assert sorted(wrong.err.splitlines()) == [
        "error: atempts: is not a known field; did you mean attempts?",
        "error: attempts: must be from 1 to 10000",
    ]


@pytest.mark.parametrize("over", ["database"], indirect=True)
def test_the_doctor_finds_nothing_wrong(here: Here) -> None:
    found = here.run("doctor", "--json").json()
    assert {one["verdict"] for one in found} == {"ok"}
    checks = ["settings", "connection", "server", "clock", "majority write", "change stream", "indexes"]
    assert [one["check"] for one in found] == checks
    assert here.run("list", "--json").json()["items"] == []


def test_output_that_nobody_reads_to_its_end_is_no_error_to_tell(cli: Cli) -> None:
    lines = "\n".join(json.dumps({"type": "a", "data": {"text": "x" * 9000}}) for _ in range(100))
    assert cli.run("add", "--bulk", "-", stdin=lines).code == 0
    with cli.start("list", "--json", "--limit", "100") as service:
        assert service.ready() == "{"
        assert service.process.stdout is not None
        service.process.stdout.close()
        assert service.process.wait(timeout=60) == 1
        assert service.log == ""


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[str]:
    """The URL of a mongod that is no replica set."""
    port = str(free_port())
    (tmp_path / "db").mkdir()
    where = ["--dbpath", str(tmp_path / "db"), "--port", port, "--bind_ip", "127.0.0.1"]
    quiet = ["--nounixsocket", "--logpath", str(tmp_path / "mongod.log")]
    with subprocess.Popen([find_mongod(), *where, *quiet], stdout=subprocess.DEVNULL) as server:
        try:
            _await_port(int(port))
            yield f"mongodb://127.0.0.1:{port}"
        finally:
            server.terminate()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("mongod does not listen")


def test_a_standalone_server_is_refused_with_the_fix(tmp_path: Path, standalone: str) -> None:
    cli = Cli(tmp_path, {"JOBQUEUE_MONGO_URL": standalone})
    refused = cli.run("add", "resize")
    assert (refused.code, refused.out) == (3, "")
    assert refused.err.startswith("error: this MongoDB is a standalone server")
    assert "rs.initiate()" in refused.err
    assert len(refused.err.splitlines()) == 1
    examined = cli.run("doctor")
    assert examined.code == 1
    assert examined.out.splitlines()[-1].startswith("FAIL  server: this MongoDB is a standalone server")


def test_a_queue_is_limited_looked_at_and_deleted(here: Here) -> None:
    job_id = here.run("add", "resize", "--queue", "media").out.strip()
    changed = here.run("queue", "set", "media", "concurrency=5", "rate.limit=9", "rate.per=60", "limitBy=meta.user_id")
    assert changed.code == 0, changed.err
    assert "at a time" in here.run("queues").out
    listed = here.run("queues", "--json").json()["items"]
    assert [(one["name"], one["concurrency"], one["counts"]["pending"]) for one in listed] == [("media", 5, 1)]
    assert (
        here.run("queue", "set", "media", "concurrency=null", "rate=null", "--json").json()["limitBy"] == "meta.user_id"
    )

    here.run("queue", "pause", "media")
    assert [line.split()[0] for line in here.run("why", job_id).out.splitlines()] == ["paused", "no-worker"]
    assert here.run("why", job_id, "--json").json()["state"] == "pending"

    refused = here.run("queue", "delete", "media")
    assert (refused.code, refused.err) == (5, "error: queue media has 1 unfinished jobs; force kills them first\n")
    assert here.run("queue", "delete", "media", "--force").out == "media deleted, 1 jobs killed\n"
    told = here.run("queue", "changes", "media", "--json").json()["items"]
    assert [(one["action"], one["by"]["via"]) for one in told] == [
        (action, {"database": "cli", "server": "http"}[here.over]) for action in ("delete", "pause", "patch", "patch")
    ]
    assert "limitBy" in here.run("queue", "changes", "media", "--limit", "1").out


def test_a_schedule_is_set_looked_at_and_deleted(here: Here) -> None:
    definition = {
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "job": {"type": "report", "queue": "q", "data": {"n": 1}},
    }
    made = here.run("schedule", "set", "nightly", "-", "--json", stdin=json.dumps(definition)).json()
    assert (made["job"], len(made["nextRuns"])) == (definition["job"], 5)
    assert here.run("schedule", "set", "nightly", json.dumps(definition), "--json").json() == made
    assert here.run("schedule", "show", "nightly", "--json").json() == made
    assert made["nextAt"] in here.run("schedule", "show", "nightly").out
    assert here.run("schedule", "list").out.splitlines()[1].split()[:2] == ["nightly", "30"]
    assert here.run("schedule", "pause", "nightly").out == "nightly paused\n"
    assert [one["paused"] for one in here.run("schedule", "list", "--json").json()["items"]] == [True]
    assert here.run("schedule", "resume", "nightly", "--json").json()["nextAt"] == made["nextAt"]
    assert here.run("list", "--schedule", "nightly", "--json").json()["items"] == []
    assert here.run("schedule", "delete", "nightly").out == "nightly deleted\n"
    gone = here.run("schedule", "show", "nightly")
    assert (gone.code, gone.err) == (4, "error: there is no schedule nightly\n")


def test_the_next_times_of_an_expression_need_no_database(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"JOBQUEUE_MONGO_URL": "mongodb://127.0.0.1:1"})
    assert len(cli.run("schedule", "next", "*/5 * * * *", "--json").json()["nextRuns"]) == 5
    lines = cli.run("schedule", "next", "30 2 * * *", "--timezone", "Asia/Kathmandu").out.splitlines()
    assert ["02:30:00 +0545" in line for line in lines] == [True] * 5
    wrong = cli.run("schedule", "next", "0 0 30 2 *", "--timezone", "Mars/Base")
    assert (wrong.code, wrong.out) == (2, "")
    assert "timezone: must be the name of an IANA time zone" in wrong.err
    assert "cron: is no cron expression: bad day-of-month" in wrong.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["set", "media", "concurrency"], "config: 'concurrency' is not KEY=VALUE"),
        (["set", "media", "concurrency=0"], "concurrency: must be a whole number from 1 to 10,000"),
        (["set", "media", "rate.limit=5"], "rate.per: is required"),
        (["set", "media", "{"], "config: is not JSON: "),
        (["set", "media", "@absent"], "absent cannot be read: "),
        (["set", "a.b", "concurrency=5"], "queue: must be 1 to 100 letters"),
        (["rotate-secret", "media", "resize"], "there is no webhook for jobs of type resize"),
        (["test-webhook", "media", "resize"], "there is no webhook for jobs of type resize"),
        (["delete", "media"], "there is no configuration of queue media"),
    ],
)
def test_a_wrong_change_of_a_queue_is_told_in_one_line(here: Here, words: list[str], told: str) -> None:
    here.run("add", "resize")
    ran = here.run("queue", *words)
    assert ran.code in {2, 4}
    assert ran.out == ""
    assert ran.err.startswith(f"error: {told}") or told in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err
