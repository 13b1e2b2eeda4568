"""Measure the pages of the dashboard on a long history: the time of a first view, and its size.

Each page is compared with a bare page of the same size from the same server, in one run. Absolute figures mean little
on shared machines: read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import generate
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame.answer import page_reply
from jobqueue.dashboard.table import TABLE
from jobqueue.services.application import Runtime
from jobqueue.settings import Settings
from jobqueue.store.bulk.failures import FailureStore
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    Client = TestClient[web.Request, web.Application]

# Each visitor has a zone of its own: pages are kept for a second for each.
ZONES = ("Europe/Berlin", "Europe/Paris", "Asia/Tokyo", "America/Lima", "Africa/Lagos")
PARAMETERS = ("{id}", "{fp}", "{name}")
HISTORY = timedelta(days=8)
MARKED_AT_ONCE = 2_000
FIRST_OF = {
    "/jobs/{id}": ("/v1/jobs?state=failed&limit=1", "id"),
    "/failures/{fp}": ("/v1/failures?limit=1", "fingerprint"),
    "/jobs/{id}/log": ("/v1/jobs?state=failed&limit=1", "id"),
    "/queues/{name}": ("/v1/queues?limit=1", "name"),
}


async def measure(url: str, name: str) -> list[dict[str, Any]]:
    """Return the figures of all pages of a database."""
    settings = Settings.load({"mongo_url": url, "db": name}, environ={}, cwd=Path.cwd())
    runtime = await Runtime.open(settings)
    await runtime.start()
    try:
        await caught_up(runtime)
        app = make_app(runtime)
        app.router.add_get("/bare", _bare)
        async with TestClient(TestServer(app)) as client:
            paths = [path for page in TABLE if (path := await address(client, page.path)) is not None]
            return [await figures(client, path) for path in paths]
    finally:
        await runtime.close()


async def caught_up(runtime: Runtime) -> None:
    """Catch up at once with an import: fingerprints and sums of days, which the service makes slowly."""
    failures, since = FailureStore(runtime.database), await runtime.database.clock.now() - HISTORY
    while await failures.mark(MARKED_AT_ONCE):
        pass
    await runtime.roller.catch_up(since, seconds=float("inf"))


async def address(client: Client, path: str) -> str | None:
    """Return an address of a page; ``None`` if the database has nothing to show there."""
    for mark in PARAMETERS:
        if mark in path:
            listing, name = FIRST_OF.get(path, ("", ""))
            items = (await (await client.get(listing)).json())["items"] if listing else []
            return path.replace(mark, items[0][name]) if items else None
    return path


async def figures(client: Client, path: str) -> dict[str, Any]:
    """Return the milliseconds of the first and of later views of a page, its bytes, and its ratio to a bare page."""
    views = [await timed(client, path, zone) for zone in ZONES]
    octets = views[0][1]
    bare = [(await timed(client, f"/bare?size={octets}", zone))[0] for zone in ZONES]
    usual = statistics.median(seconds for seconds, _ in views)
    return {
        "page": path,
        "first_ms": round(views[0][0] * 1000, 1),
        "ms": round(usual * 1000, 1),
        "kb": round(octets / 1024, 1),
        "ratio_to_bare": round(usual / statistics.median(bare), 1),
    }


async def timed(client: Client, path: str, zone: str) -> tuple[float, int]:
    """Return the seconds and the bytes of a reply."""
    began = time.perf_counter()
    reply = await client.get(path, headers={"Accept": "text/html", "Cookie": f"jobqueue_zone={zone}"})
    octets = len(await reply.read())
    if reply.status != web.HTTPOk.status_code:
        sys.exit(f"{path} gives {reply.status}")
    return time.perf_counter() - began, octets


async def _bare(request: web.Request) -> web.Response:
    return page_reply("x" * int(request.query["size"]))


def main() -> None:
    """Fill a database and print the figures of each page on a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mongo-url", help="a MongoDB to use; without it an embedded MongoDB of its own")
    parser.add_argument("--db", default="bench_pages", help="the database; an existing one is taken as it is")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs in the history; 0 generates none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-", ignore_cleanup_errors=True) as directory:
        embedded = None if options.mongo_url else EmbeddedMongo.acquire(Path(directory))
        try:
            url = options.mongo_url or (embedded.url if embedded else "")
            if options.jobs:
                generate.generate(url, options.db, options.jobs)
            for line in asyncio.run(measure(url, options.db)):
                print(json.dumps(line))
        finally:
            if embedded is not None:
                embedded.release()


if __name__ == "__main__":
    main()
