"""Batches on the command line and in a server, by real processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue, Member, NewBatch, NewJob
from tests.acceptance.cli.cli_process import Cli
from tests.support.waiting import eventually
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue.settings import Settings

WORKER = """
from pathlib import Path
from jobqueue import JobQueue

queue = JobQueue()


@queue.handler("step", queue="work")
def step(job):
    if job.data.get("needs") and not Path(job.data["needs"]).exists():
        raise RuntimeError("something is missing")
    return sum(result or 0 for result in job.results.values()) + 1
"""


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
def worker(tmp_path: Path, cli: Cli) -> Iterator[ModuleProcess]:
    (tmp_path / "steps.py").write_text(WORKER)
    with ModuleProcess(
        "jobqueue", "worker", "steps:queue", cwd=tmp_path, env={**os.environ, **cli.settings}
    ) as process:
        yield process
        process.terminate()
        process.wait(30)


def create(settings: Settings, needs: Path) -> str:
    """Create a graph: one step, three after it of which one needs something, and one after all of them."""

    def job(**data: Any) -> NewJob:
        return NewJob(type="step", queue="work", data=data, attempts=1)

    members = [
        Member(job=job(), ref="first"),
        *(
            Member(job=job(**({"needs": str(needs)} if n == 1 else {})), ref=f"m{n}", after=("first",))
            for n in range(3)
        ),
        Member(job=job(), ref="last", after=("m0", "m1", "m2")),
    ]

    async def add() -> str:
        async with JobQueue(settings) as queue:
            view, _ = await queue.add_batch(NewBatch(members=members))
            return view.batch.id

    return asyncio.run(add())


def test_a_batch_is_waited_for_repaired_and_finished(
    cli: Cli, settings: Settings, worker: ModuleProcess, tmp_path: Path
) -> None:
    batch = create(settings, tmp_path / "needed")
    waited = cli.run("batch", "wait", batch)
    assert waited.code == 6, waited.err
    assert "100 %" in waited.err.splitlines()[-1]
    shown = cli.run("batch", "show", batch)
    culprit, fallen, empty, *fields = shown.out.splitlines()
    assert culprit.endswith(" of type step (m1) failed: RuntimeError: something is missing")
    assert (fallen, empty, fields[0].split()) == ("1 job fell because of it", "", ["id", batch])
    assert cli.run("batch", "list", "--state", "finished", "--failed", "--type", "step").out.split()[5] == batch

    (tmp_path / "needed").touch()
    again = cli.run("batch", "requeue", batch)
    assert again.out == f"{batch} open: 1 pending, 1 delayed, 3 success\n" or "success" in again.out
    done = cli.run("batch", "wait", batch, "--json")
    assert (done.code, done.json()["counts"]["success"], done.json()["generation"]) == (0, 5, 1)
    # On a busy machine the reply comes before the end of the new generation.
    assert cli.run("batch", "requeue", batch, "--callbacks", "--json").json()["generation"] == 2
    well = cli.run("batch", "wait", batch, "--json").json()
    assert (well["state"], well["generation"], well["verdict"]) == ("finished", 2, "success")
    assert "verdict     success\n" in cli.run("batch", "show", batch).out.replace('"', "")
    last = next(job for job in cli.run("list", "--batch", batch, "--json").json()["items"] if job.get("ref") == "last")
    assert last["result"] == 7
    assert worker.poll() is None


def test_a_batch_is_sealed_and_killed_and_what_cannot_be_is_told(
    either_cli: Cli, settings: Settings, tmp_path: Path
) -> None:
    batch = create(settings, tmp_path / "needed")
    sealed = either_cli.run("batch", "seal", batch, "--json")
    assert (sealed.code, sealed.json()["sealed"]) == (0, True)
    killed = either_cli.run("batch", "kill", batch, "--reason", "no longer wanted")
    assert (killed.code, killed.out) == (0, f"{batch} finished: 5 killed\n")
    assert either_cli.run("batch", "wait", batch).code == 6
    assert either_cli.run("batch", "show", "f" * 24).err == f"error: there is no batch {'f' * 24}\n"
    assert either_cli.run("batch", "requeue", "5").err == (
        "error: id: must be 24 hexadecimal digits, or at least the first six or the last six of them\n"
    )


def test_a_large_batch_is_killed_with_its_progress_shown(either_cli: Cli, settings: Settings) -> None:
    async def add() -> str:
        async with JobQueue(settings) as queue:
            members = [Member(job=NewJob(type="none")) for _ in range(120)]
            view, _ = await queue.add_batch(NewBatch(members=members))
            return view.batch.id

    batch = asyncio.run(add())
    killed = either_cli.run("batch", "kill", batch)
    assert killed.code == 0, killed.err
    assert killed.out.endswith(" finished: 120 killed\n")
    assert either_cli.run("batch", "show", batch, "--json").json()["counts"]["killed"] == 120


def test_a_workflow_runs_over_http_alone(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "commands.toml"
    config.write_text(f'[commands.count]\nargv = ["{sys.executable}", "-c", "{PROGRAM}"]\n')
    with ModuleProcess(
        *("jobqueue", "serve", "--port", "0", "--commands", str(config)),
        cwd=tmp_path,
        env={**os.environ, **cli.settings},
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline().decode()
        url = line.split()[-1]
        try:
            _workflow(url)
        finally:
            server.terminate()
            server.wait(30)


PROGRAM = (
    "import json, sys; job = json.load(sys.stdin)['job']; "
    "print('::result', json.dumps(1 + sum(p['result'] for p in job.get('parents', []))))"
)


def _workflow(url: str) -> None:

    def call(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the server under test
            url + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - as above
            return json.load(response)

    call("PUT", "/v1/queues/counts", {"processors": {"*": {"kind": "command", "name": "count"}}})
    jobs = [{"type": "c", "queue": "counts", "ref": f"n{n}", "dependsOn": [f"n{n - 1}"] if n else []} for n in range(4)]
    made = call("POST", "/v1/batches", {"jobs": jobs})

    async def finished() -> bool:
        found = await asyncio.to_thread(call, "GET", f"/v1/batches/{made['id']}")
        return bool(found["state"] == "finished")

    asyncio.run(eventually(finished, within=60, every=0.1))
    last = call("GET", f"/v1/jobs/{made['jobs'][-1]['id']}")
    assert (last["state"], last["result"]) == ("success", 4)
