"""Orders over HTTP with FastAPI, each packed by a job that may fail and is tried again.

uvicorn fastapi_app:app
jobqueue worker fastapi_app:queue
"""

from typing import Any

from fastapi import FastAPI, HTTPException

from jobqueue import InvalidInputError, JobQueue, NotFoundError

queue = JobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB
app = FastAPI(lifespan=queue.lifespan)


@queue.task(queue="orders", attempts=5)
async def pack(order: str) -> str:
    return f"packed {order}"


@app.post("/orders/{order}", status_code=202)
async def place(order: str) -> dict[str, str]:
    ref = await pack.options(meta={"order": order}).add(order)
    return {"job": ref.id}


@app.get("/jobs/{job_id}")
async def show(job_id: str) -> dict[str, Any]:
    try:
        job = await queue.get(job_id)
    except (InvalidInputError, NotFoundError) as error:
        raise HTTPException(404, str(error)) from error
    return {"state": job.state, "result": job.result}
