"""Plays jobs by Python functions, an async and a plain one: ``jobqueue worker …callbacks:queue``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from jobqueue import ChildFailedError, Die, JobQueue, Member, NewJob, Retry, SignalTimeoutError
from jobqueue.domain.errors import JobCancelledError
from tests.support.conformance.play import (
    LATE,
    PAUSE,
    AgainError,
    DeadError,
    Ground,
    Seen,
    StoppedError,
    drive,
    drive_async,
    pause,
    play,
)

if TYPE_CHECKING:
    from jobqueue import JobOptions
    from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
    from jobqueue.processors.callbacks.child_calls import Failures

queue = JobQueue()
_ground = Ground.here()


async def _of_steps(job: ActiveJob, verb: str, *words: Any) -> Any:
    if verb == "step":
        name, was, function = words
        return await job.step(name, function, was=was)
    if verb == "sleep":
        await job.sleep(*words)
    if verb == "pause":
        await pause()
    if verb == "signal":
        name, timeout = words
        try:
            return await job.signal(name, timeout=timeout)
        except SignalTimeoutError:
            return LATE
    return await _call(job, *words) if verb == "call" else None


async def _call(job: ActiveJob, name: str, jobs: Any, failures: Failures) -> Any:
    if isinstance(jobs, dict):
        return _json(await job.call(name, "play", jobs["data"], failures=failures, **_fields(jobs)))
    return await job.map(name, "play", [child["data"] for child in jobs], failures=failures, **_fields(jobs[0]))


def _of_steps_in_a_thread(job: BlockingJob, verb: str, *words: Any) -> Any:
    if verb == "step":
        name, was, function = words
        return job.step(name, function, was=was)
    if verb == "sleep":
        job.sleep(*words)
    if verb == "pause":
        _wait(job)
    if verb == "signal":
        name, timeout = words
        try:
            return job.signal(name, timeout=timeout)
        except SignalTimeoutError:
            return LATE
    return _call_in_a_thread(job, *words) if verb == "call" else None


def _call_in_a_thread(job: BlockingJob, name: str, jobs: Any, failures: Failures) -> Any:
    if isinstance(jobs, dict):
        return _json(job.call(name, "play", jobs["data"], failures=failures, **_fields(jobs)))
    return job.map(name, "play", [child["data"] for child in jobs], failures=failures, **_fields(jobs[0]))


def _fields(job: dict[str, Any]) -> JobOptions:
    return {"queue": job["queue"], "attempts": job["attempts"]}


def _json(result: Any) -> Any:
    """Return the result of a call as the ways without Python see it."""
    if not isinstance(result, ChildFailedError):
        return result
    error = {"kind": result.error.kind, "message": result.error.message}
    return {"childFailed": {"id": result.job_id, "state": result.state, "error": error}}


@queue.handler("play", queue="callback")
async def play_async(job: ActiveJob) -> Any:
    async def act(verb: str, *words: Any) -> Any:
        match verb:
            case "log":
                await job.log(*words)
            case "progress":
                await job.progress(*words)
            case "parent":
                parent = await job.parent()
                return None if parent is None else parent.result
            case "results":
                return list((await job.results_of()).values())
            case "add":
                await job.add_all(_members(*words))
            case _:
                return await _of_steps(job, verb, *words)
        return None

    try:
        return await drive_async(play(_seen(job), _ground), act)
    except (asyncio.CancelledError, JobCancelledError):
        _ground.mark(job.id, "stopped")
        raise
    except DeadError as error:
        raise Die(str(error)) from error
    except AgainError as error:
        raise Retry(error.reason, delay=error.delay) from error


@queue.handler("play", queue="thread")
def play_in_a_thread(job: BlockingJob) -> Any:
    def act(verb: str, *words: Any) -> Any:
        match verb:
            case "log":
                job.log(*words)
            case "progress":
                job.progress(*words)
            case "parent":
                parent = job.parent()
                return None if parent is None else parent.result
            case "results":
                return list(job.results.values())
            case "add":
                job.add_all(_members(*words))
            case _:
                return _of_steps_in_a_thread(job, verb, *words)
        return None

    try:
        return drive(play(_seen(job), _ground), act)
    except (StoppedError, JobCancelledError):
        _ground.mark(job.id, "stopped")
        raise
    except DeadError as error:
        raise Die(str(error)) from error
    except AgainError as error:
        raise Retry(error.reason, delay=error.delay) from error


def _wait(job: BlockingJob) -> None:
    if job.cancelled:
        raise StoppedError
    time.sleep(PAUSE)


def _members(jobs: list[dict[str, Any]]) -> list[Member]:
    return [
        Member(
            job=NewJob(type=job["type"], queue=job["queue"], data=job["data"]),
            ref=job["ref"],
            blocks=tuple(job["blocks"]),
        )
        for job in jobs
    ]


def _seen(job: ActiveJob | BlockingJob) -> Seen:
    return Seen(job.id, dict(job.data), dict(job.meta), job.attempt)
