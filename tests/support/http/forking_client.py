"""Add jobs from threads and from forked processes by one client: ``URL``; prints what was added, as JSON."""

from __future__ import annotations

import json
import os
import sys
import threading

from jobqueue import Client

THREADS = 4
EACH = 5
DRIVER = ("motor", "pymongo", "bson", "jobqueue.store", "jobqueue.services")


def add(client: Client, name: str, ids: list[str]) -> None:
    ids += [client.add("a", {"by": name}).id for _ in range(EACH)]


def in_threads(client: Client, name: str) -> list[str]:
    ids: list[str] = []
    threads = [threading.Thread(target=add, args=(client, f"{name}{n}", ids)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ids


def main(url: str) -> None:
    client = Client(url)
    ids = in_threads(client, "before")
    reader, writer = os.pipe()
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            os.write(writer, json.dumps(in_threads(client, f"child{number}")).encode() + b"\n")
            os._exit(0)
        children.append(child)
    os.close(writer)
    ids += in_threads(client, "parent")
    codes = [os.waitpid(child, 0)[1] for child in children]
    with os.fdopen(reader) as lines:
        ids += [job_id for line in lines for job_id in json.loads(line)]
    found = sorted(job.id for job in client.jobs(type="a"))
    loaded = [name for name in DRIVER if name in sys.modules]
    print(json.dumps({"ids": sorted(ids), "found": found, "codes": codes, "loaded": loaded}))


if __name__ == "__main__":
    main(sys.argv[1])
