"""Orders over HTTP with Flask, each packed by a job that may fail and is tried again.

gunicorn --workers 2 --threads 4 flask_app:app
jobqueue worker flask_app:queue
"""

from typing import Any

from flask import Flask, abort

from jobqueue import InvalidInputError, NotFoundError, SyncJobQueue

queue = SyncJobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB
app = Flask(__name__)


@queue.task(queue="orders", attempts=5)
def pack(order: str) -> str:
    return f"packed {order}"


@app.post("/orders/<order>")
def place(order: str) -> tuple[dict[str, str], int]:
    ref = pack.options(meta={"order": order}).using(queue).add(order)
    return {"job": ref.id}, 202


@app.get("/jobs/<job_id>")
def show(job_id: str) -> dict[str, Any]:
    try:
        job = queue.get(job_id)
    except (InvalidInputError, NotFoundError) as error:
        abort(404, str(error))
    return {"state": job.state, "result": job.result}
