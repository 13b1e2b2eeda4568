"""Logs, failures and many jobs on the command line, by real processes and within this one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.bulk import bulk
from jobqueue.cli.process.own_api import of_runtime
from jobqueue.cli.process.session import Told, operator
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Stage
from tests.support.data.factories import claimed_job, fail, open_runtime, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.acceptance.cli.cli_process import Cli
    from tests.acceptance.cli.conftest import Here


def prepared(settings: Settings, work: Callable[[Runtime], Any]) -> Any:
    """Return what is done with services of their own before or after a command."""

    async def do() -> Any:
        async with open_runtime(settings) as runtime:
            return await work(runtime)

    return asyncio.run(do())


async def some_failures(runtime: Runtime) -> list[str]:
    ids = []
    for number, queue in enumerate(["media", "media", "mail"]):
        claimed = await claimed_job(runtime, queue=queue, attempts=1)
        await fail(runtime, claimed, JobError(kind="LookupError", message=f"no user {number}"))
        ids.append(claimed.job.id)
    return ids


async def a_log(runtime: Runtime) -> str:
    claimed = await claimed_job(runtime)
    lines = [(f"line {number}", "error" if number % 100 == 0 else None) for number in range(1200)]
    for start in (0, 600):
        await runtime.work.report(claimed.job, claimed.token, lines=lines[start : start + 600])
    await succeed(runtime, claimed)
    return claimed.job.id


def test_a_log_is_printed_and_narrowed(here: Here, settings: Settings) -> None:
    job_id = prepared(settings, a_log)
    whole = here("logs", job_id, "-f")
    assert whole.code == 0, whole.err
    shown = [line.split(" ", 1)[1] for line in whole.out.splitlines()]
    assert shown[:2] == ["#1 error line 0", "#1 line 1"]
    assert len(shown) == 1200
    errors = here("logs", job_id, "--level", "error,fatal", "--attempt", "1", "--json")
    assert [json.loads(line)["m"] for line in errors.out.splitlines()] == [
        f"line {number}" for number in range(0, 1200, 100)
    ]
    assert here("logs", job_id, "--attempt", "2").out == ""
    assert (here("logs", "f" * 24).code, here("logs", "x").code, here("logs", job_id, "--level", "").code) == (4, 2, 2)


async def test_a_log_is_followed_until_the_job_has_ended(either_cli: Cli, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[("one", None)])
    with either_cli.start("logs", claimed.job.id, "-f") as following:
        assert (await asyncio.to_thread(following.ready)).endswith("#1 one")
        await idle_runtime.work.report(claimed.job, claimed.token, lines=[("two", "info")])
        assert (await asyncio.to_thread(following.ready)).endswith("#1 info two")
        await succeed(idle_runtime, claimed)
        assert await asyncio.to_thread(following.ended) == (0, "")


def test_failures_are_listed_tried_and_requeued(here: Here, settings: Settings) -> None:
    ids = prepared(settings, some_failures)
    listed = here("failures")
    assert listed.out.splitlines()[0].split() == ["FINGERPRINT", "COUNT", "LAST", "TYPE", "QUEUES", "WHAT", "PLACE"]
    mark, count, _, kind, queues, *what = listed.out.splitlines()[1].split()
    assert (count, kind, queues, what) == ("3", "work", "mail,media", ["LookupError:", "no", "user", "<n>"])
    (group,) = here("failures", "--queue", "media", "--since", "1h", "--sort", "last", "--json").json()["items"]
    assert (group["fingerprint"], group["count"]) == (mark, 2)
    preview = here("failures", "requeue", mark, "--dry-run", "--queue", "media")
    assert preview.out.splitlines()[0] == "would requeue about 2 jobs"
    tried = here("failures", "requeue", mark, "--trial")
    assert (tried.out.split()[0] in ids, tried.out.split()[1]) == (True, "pending")
    rest = here("failures", "requeue", mark)
    assert rest.code == 0
    assert rest.out.split(" ", 1)[1] == "finished: 2 requeued\n"
    assert here("failures", "requeue", mark).code == 4
    assert (here("failures", "requeue", "x").code, here("failures", "--type", "$x").code) == (2, 2)


def test_many_jobs_are_requeued_and_killed_by_a_filter(here: Here, settings: Settings) -> None:
    ids = prepared(settings, some_failures)
    wanted = '{"queue": "media"}'
    preview = here("requeue", "--filter", wanted, "--dry-run", "--json").json()
    assert (preview["action"], preview["matched"], preview["isExact"], len(preview["samples"])) == (
        "requeue",
        2,
        True,
        2,
    )
    done = here("requeue", "--filter", wanted, "--priority", "7", "--json").json()
    assert (done["state"], done["done"], done["by"]["via"]) == (
        "finished",
        2,
        {"database": "cli", "server": "http"}[here.over],
    )
    killed = here("kill", "--all", "--reason", "not wanted", "--yes")
    assert killed.out.split(" ", 1)[1] == "finished: 2 killed\n"
    assert killed.err.splitlines()[-1] == "2 killed of 2"

    async def look(runtime: Runtime) -> list[Any]:
        return [await runtime.jobs.get(one) for one in ids]

    jobs = prepared(settings, look)
    assert [job.state for job in jobs] == [State.KILLED, State.KILLED, State.FAILED]
    assert (jobs[0].priority, jobs[0].error.message) == (7, "not wanted")


@pytest.mark.parametrize(
    "words",
    [
        ["requeue"],
        ["kill", "f" * 24, "--all"],
        ["kill", "f" * 24, "--dry-run"],
        ["requeue", "--filter", "[1]"],
        ["requeue", "--filter", "{}"],
        ["requeue", "--filter", '{"$where": "1"}'],
        ["requeue", "--all", "--filter", '{"queue": "a"}'],
        ["requeue", "--all", "--attempts", "0"],
        ["failures", "requeue", "0" * 16, "--trial", "--dry-run"],
    ],
)
def test_what_is_not_clear_is_refused_in_one_line(here: Here, words: list[str]) -> None:
    here("add", "a")
    refused = here(*words)
    assert (refused.code, refused.out) == (2, "")
    assert len(refused.err.splitlines()) == 1


def test_on_a_terminal_it_asks_first(here: Here, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(settings, some_failures)
    monkeypatch.setattr("jobqueue.cli.bulk.bulk._is_interactive", lambda: True)
    asked: list[str] = []
    monkeypatch.setattr("click.confirm", lambda question, **_: asked.append(question))
    assert here("requeue", "--all").code == 1
    assert asked == ["requeue 3 jobs?"]
    assert here("requeue", "--all", "--yes").code == 0


async def test_an_interrupt_stops_the_operation(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    await some_failures(idle_runtime)

    async def nothing(_operation_id: str) -> bool:
        # Somebody else holds it.
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(idle_runtime.operations, "carry_on", nothing)
    async with of_runtime(idle_runtime, operator(), Told("")) as api:
        ended = await bulk.follow(api, await api.post("jobs", "requeue", body={"all": True}), quiet=True)
    assert (ended["state"], ended["done"]) == (Stage.STOPPED, 0)
