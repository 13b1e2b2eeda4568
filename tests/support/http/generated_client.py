"""Use a client that was generated from the API's document, as its user would: ``DIRECTORY URL TOKEN``."""

from __future__ import annotations

import importlib
import json
import sys


def main(directory: str, url: str, token: str) -> None:
    sys.path.insert(0, directory)
    names = ("jobs.post_jobs", "jobs.get_jobs_id", "jobs.get_jobs")
    reports = ("work.post_queues_queue_claim", "work.post_jobs_id_succeed")
    jobs_create, jobs_show, jobs_list, claim, succeed = (
        importlib.import_module(f"generated.api.{name}") for name in (*names, *reports)
    )
    models = importlib.import_module("generated.models")
    client = importlib.import_module("generated").AuthenticatedClient(base_url=url, token=token)
    data = models.NewJobData.from_dict({"n": 1})
    made = jobs_create.sync(client=client, body=models.NewJob(type_="sum", queue="q", data=data))
    claimed = claim.sync("q", client=client, body=models.ClaimInput(worker="generated"))
    ended = succeed.sync(claimed.job.id, client=client, body=models.SucceedInput(token=claimed.token, result={"n": 2}))
    shown = jobs_show.sync(made.id, client=client)
    page = jobs_list.sync(client=client, queue="q", state="success")
    wrong = jobs_create.sync(client=client, body=models.NewJob(type_=""))
    print(
        json.dumps(
            {
                "ended": ended.state,
                "result": shown.result,
                "listed": [job.id for job in page.items] == [made.id],
                "problem": wrong.errors.to_dict(),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
