"""Handlers for the worker of compose.yaml, to be replaced by your own."""

from __future__ import annotations

from jobqueue import ActiveJob, JobQueue

queue = JobQueue()


@queue.handler("greet")
async def greet(job: ActiveJob) -> str:
    """Return a greeting for the name in the data."""
    await job.log("greeting")
    return f"Hello, {job.data['name']}!"
