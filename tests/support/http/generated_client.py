"""The worker of the README by a client that was generated from the API's document: ``DIRECTORY URL TOKEN FILE…``."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any


def main(directory: str, url: str, token: str, *files: str) -> None:
    sys.path.insert(0, directory)
    models: Any = importlib.import_module("generated.models")
    client = importlib.import_module("generated").AuthenticatedClient(base_url=url, token=token)

    def call(name: str, *path: str, **options: Any) -> Any:
        """Call an operation by its name in the document."""
        return importlib.import_module(f"generated.api.{name}").sync(*path, client=client, **options)

    for file in files:
        data, meta = models.NewJobData.from_dict({"file": file}), models.NewJobMeta.from_dict({"user_id": 42})
        new = models.NewJob(type_="checksum", queue="files", data=data, meta=meta, attempts=1)
        call("jobs.create_job", body=new)
    body = models.ClaimInput(worker="generated", types=["checksum"])
    while claimed := call("work.claim_job", "files", body=body):
        job = claimed.job
        beat = models.HeartbeatInput(token=claimed.token, progress=10, logs=["reading"])
        assert not call("work.heartbeat_job", job.id, body=beat).cancelled
        try:
            result = hashlib.sha256(Path(job.data["file"]).read_bytes()).hexdigest()
        except OSError as error:
            call("work.fail_job", job.id, body=models.FailInput(token=claimed.token, reason=str(error)))
        else:
            call("work.succeed_job", job.id, body=models.SucceedInput(token=claimed.token, result=result))
    ended = {}
    for state in ("success", "failed"):
        page = call(
            "jobs.list_jobs", queue="files", state=state, meta=models.ListJobsMeta.from_dict({"meta.user_id": "42"})
        )
        ended[state] = [job.result or call("jobs.get_job", job.id).error.message for job in page.items]
    other = call("jobs.list_jobs", meta=models.ListJobsMeta.from_dict({"meta.user_id": "43"}))
    wrong = call("jobs.create_job", body=models.NewJob(type_=""))
    print(json.dumps({**ended, "other": len(other.items), "problem": wrong.errors.to_dict()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
