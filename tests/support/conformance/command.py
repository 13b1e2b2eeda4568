"""Plays one job as a command: JSON on standard input, ``::`` lines on standard output, the end by the exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from jobqueue.cli.steps.channels import LateSignalError, channel
from jobqueue.domain.errors import CallFailedError, JobQueueError
from tests.support.conformance.calls import Api
from tests.support.conformance.play import (
    LATE,
    PAUSE,
    AgainError,
    DeadError,
    FailedError,
    Ground,
    Seen,
    StoppedError,
    drive,
    play,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FAIL, DIE, RETRY = 1, 65, 75
_API = Api(os.environ["JOBQUEUE_URL"])
_JOB = f"/v1/jobs/{os.environ['JOBQUEUE_JOB_ID']}"


def act(job: Seen, verb: str, *words: Any) -> Any:
    match verb:
        case "log":
            line, level = words
            if level is None:
                _print(line)
            else:
                # A line of the output has no level of its own choice; one sent to the API has.
                body = {"token": os.environ["JOBQUEUE_TOKEN"], "logs": [{"m": line, "level": level}]}
                _API.post(f"{_JOB}/heartbeat", body)
        case "progress":
            _print(f"::progress {words[0]}")
        case "parent":
            return _API.get(f"/v1/jobs/{_API.get(_JOB).body['parentId']}").body["result"]
        case "results":
            return _API.results(job.parents)
        case "step" | "sleep" | "signal" | "call" | "next":
            return _of_steps(job, verb, *words)
        case "add":
            _API.add(job.batch_id, os.environ["JOBQUEUE_TOKEN"], *words)
        case _:
            time.sleep(PAUSE)
    return None


def _of_steps(job: Seen, verb: str, *words: Any) -> Any:
    match verb:
        case "step":
            return _step(job, *words)
        case "signal":
            return _signal(*words)
        case "call":
            return _call(*words)
        case "sleep":
            _sleep(*words)
    return None


def _step(job: Seen, name: str, _was: str | None, function: Callable[[], Any]) -> Any:
    """Do a step as ``jobqueue step`` does."""
    if name in job.steps:
        return job.steps[name]
    way = channel()
    is_finished, result = way.begin(name)
    try:
        return result if is_finished else way.record(function(), 0)
    except JobQueueError as error:
        raise FailedError(f"step {name}: {error}") from error


def _sleep(name: str, seconds: float) -> None:
    """Sleep as ``jobqueue sleep`` does: the server ends this process."""
    way = channel()
    if not way.sleep(name, seconds):
        way.wait_for_end()


def _signal(name: str, seconds: float | None) -> Any:
    """Wait as ``jobqueue wait`` does."""
    way = channel()
    try:
        is_there, value = way.signal(name, seconds)
    except LateSignalError:
        return LATE
    if not is_there:
        way.wait_for_end()
    return value


def _call(name: str, jobs: Any, failures: str) -> Any:
    """Await children as ``jobqueue call`` does."""
    way = channel()
    try:
        have_ended, result = way.call(name, {"jobs": jobs, "failures": failures})
    except CallFailedError as error:
        raise FailedError(str(error)) from error
    if not have_ended:
        way.wait_for_end()
    return result


def main() -> int:
    job, ground = Seen.of(json.load(sys.stdin)), Ground.here()
    signal.signal(signal.SIGTERM, _stop)
    try:
        result = drive(play(job, ground), partial(act, job))
    except StoppedError:
        ground.mark(job.id, "stopped")
        return FAIL
    except (FailedError, DeadError, AgainError) as error:
        sys.stderr.write(f"{error}\n")
        return {FailedError: FAIL, DeadError: DIE, AgainError: RETRY}[type(error)]
    _print(f"::result {json.dumps(result)}")
    return 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _stop(*_: object) -> NoReturn:
    raise StoppedError


if __name__ == "__main__":
    sys.exit(main())
