"""Add jobs from threads and from forked processes by one `SyncJobQueue`: ``URL DB``; prints what was added, as JSON."""

from __future__ import annotations

import json
import os
import sys
import threading

from jobqueue import SyncJobQueue

THREADS = 3
EACH = 5


def add(queue: SyncJobQueue, name: str, ids: list[str]) -> None:
    ids += [queue.add("a", {"by": name}).id for _ in range(EACH)]


def in_threads(queue: SyncJobQueue, name: str) -> list[str]:
    ids: list[str] = []
    threads = [threading.Thread(target=add, args=(queue, f"{name}{n}", ids)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ids


def main(url: str, db: str) -> None:
    queue = SyncJobQueue(mongo_url=url, db=db)
    ids = in_threads(queue, "before")
    reader, writer = os.pipe()
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            os.write(writer, json.dumps(in_threads(queue, f"child{number}")).encode() + b"\n")
            os._exit(0)
        children.append(child)
    os.close(writer)
    ids += in_threads(queue, "parent")
    codes = [os.waitpid(child, 0)[1] for child in children]
    with os.fdopen(reader) as lines:
        ids += [job_id for line in lines for job_id in json.loads(line)]
    found = sorted(job.id for job in queue.jobs(type="a"))
    queue.close()
    print(json.dumps({"ids": sorted(ids), "found": found, "codes": codes}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
