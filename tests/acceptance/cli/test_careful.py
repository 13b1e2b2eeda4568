"""The repair of the night on the command line: a trial, then the rest at a pace, and a stop rule."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from tests.acceptance.cli.test_bulk import prepared
from tests.support.data.factories import claimed_job, fail, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.acceptance.cli.cli_process import Cli
    from tests.acceptance.cli.conftest import Here

ERROR = JobError(kind="LookupError", message="no user")
CAREFUL = ("--trial", "1", "--then", "--pace", "3", "--stop-after", "2")


async def failures(runtime: Runtime, count: int = 5) -> str:
    """Fail jobs for one reason; return the fingerprint."""
    for number in range(count):
        claimed = await claimed_job(runtime, attempts=1, data={"country": "DE", "n": number})
        await fail(runtime, claimed, ERROR)
    return fingerprint("work", ERROR)


def test_a_patch_is_shown_before_and_a_trial_waits_for_a_decision(here: Here, settings: Settings) -> None:
    mark = prepared(settings, failures)
    patch = '{"country": "AT"}'
    preview = here("failures", "requeue", mark, "--data-patch", patch, "--dry-run").out
    assert preview.count('  before {"country": "DE"}') == preview.count('  after  {"country": "AT"}') == 3
    begun = here("failures", "requeue", mark, "--data-patch", patch, "--trial", "2")
    operation_id, told = begun.out.split(" ", 1)
    assert (begun.code, told) == (0, "running: 0 requeued\n")
    watched = here("operations", "show", operation_id)
    assert "running" in watched.out
    assert here("operations", "resume", operation_id).code == 5
    assert here("operations", "stop", operation_id).out.startswith(f"{operation_id} stopped: ")
    assert here("operations", "stop", operation_id).code == 5
    (listed,) = here("operations", "list", "--json").json()["items"]
    assert (listed["stopped"]["why"], listed["trial"], listed["dataPatch"]) == ("person", 2, {"country": "AT"})
    resumed = here("operations", "resume", operation_id, "--pace", "20/m", "--json").json()
    assert (resumed["state"], resumed["pace"], resumed["isTrial"]) == ("running", "20/m", False)
    assert here("failures", "requeue", mark, "--trial", "1", "--then", "--yes").code == 0
    for wrong in (["--trial", "0"], ["--pace", "0"], ["--pace", "x"], ["--then"], ["--data-patch", "1"]):
        assert here("failures", "requeue", mark, *wrong).code == 2


async def test_the_repair_is_followed_until_its_rule_stops_it(either_cli: Cli, idle_runtime: Runtime) -> None:
    mark = await failures(idle_runtime, 8)

    async def keep_working() -> None:
        """Run jobs, of which the first one succeeds and the others fail."""
        is_first = True
        while True:
            while claimed := await idle_runtime.work.claim("default", None, worker="w"):
                await (succeed(idle_runtime, claimed) if is_first else fail(idle_runtime, claimed))
                is_first = False
            await asyncio.sleep(0.02)

    working = asyncio.create_task(keep_working())
    with either_cli.start("failures", "requeue", mark, *CAREFUL, "--follow") as following:
        code, told = await asyncio.to_thread(following.ended)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    (stopped,) = await idle_runtime.operations.store.page()
    assert (code, told.split(" ")[:2]) == (6, [stopped.id, "stopped:"])
    # One may have taken the place of the first failure before the second was seen.
    assert (stopped.counts.succeeded, stopped.counts.failed >= 2, stopped.done <= 5) == (1, True, True)
    assert f"to go on: jobqueue operations resume {stopped.id}" in following.log
