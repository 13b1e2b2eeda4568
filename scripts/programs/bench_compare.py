"""Measure how long it takes to compare the failed jobs of a group with jobs that succeeded, on a long history.

In one type jobs fail where ``data.country`` is ``DE``, and that since version 2.4.1. In another they fail by chance.
Each job has thirty fields besides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import generate

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.services.application import Runtime
from jobqueue.settings import Settings
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

TYPES = generate.TYPES
PLANTED, BY_CHANCE = TYPES[0], TYPES[1]
FIELDS = 30
KINDS = (2, 5, 20, 100, 10_000)
"""The numbers of values of fields."""
COUNTRIES = ("FR", "IT", "ES", "PL", "AT")
GROUPS = {kind: fingerprint(kind, JobError(kind="PriceError", message="no price")) for kind in (PLANTED, BY_CHANCE)}
TURNS = 7


def job(number: int, count: int, now: datetime) -> dict[str, Any]:
    """Return one document; number 0 is the oldest."""
    draw = random.Random(number)  # noqa: S311 - no secret
    made = generate.job(number, count, now)
    is_new = number >= count * 4 // 5
    is_german = draw.random() < 0.04  # noqa: PLR2004
    values = {f"f{place}": draw.randrange(KINDS[place % len(KINDS)]) for place in range(FIELDS)}
    texts = {name: f"v{value}" if place % 3 else value for place, (name, value) in enumerate(values.items())}
    chance = {PLANTED: (0.9 if is_german else 0.001) * is_new, BY_CHANCE: 0.02}.get(made["type"], 0)
    has_failed = draw.random() < chance
    made["data"] |= {"country": "DE" if is_german else draw.choice(COUNTRIES), "currency": "EUR"} | texts
    made["history"][0] |= {
        "version": "2.4.1" if is_new else "2.4.0",
        "worker": f"node{draw.randrange(8)}:{draw.randrange(100)}:{draw.randrange(16**6):06x}",
        "endAt": made["startAt"] + timedelta(seconds=5),
    }
    if made["type"] in GROUPS:
        error = {"kind": "PriceError", "message": "no price"} if has_failed else None
        made |= {"state": "failed" if has_failed else "success", "error": error}
        made["history"][0]["error"] = error
        if has_failed:
            made["fingerprint"] = GROUPS[made["type"]]
    return made


async def measure(url: str, name: str) -> list[dict[str, Any]]:
    """Return the answer about each group, and its seconds."""
    settings = Settings.load({"mongo_url": url, "db": name}, environ={}, cwd=Path.cwd())
    runtime = await Runtime.open(settings)
    try:
        lines = []
        for kind, group in GROUPS.items():
            seconds = []
            for _ in range(TURNS):
                began = time.perf_counter()
                found = await runtime.failures.compare(group)
                seconds.append(time.perf_counter() - began)
            lines.append(
                {
                    "type": kind,
                    "message": found.message,
                    "failed": found.failed.count,
                    "succeeded": found.succeeded.count,
                    "first_s": round(seconds[0], 3),
                    "s": round(statistics.median(seconds), 3),
                }
            )
        return lines
    finally:
        await runtime.close()


def main() -> None:
    """Fill a database, and print a line for each group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mongo-url", help="a MongoDB to use; without it an embedded MongoDB of its own")
    parser.add_argument("--db", default="bench_compare", help="the database; an existing one is taken as it is")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs in the history; 0 generates none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-", ignore_cleanup_errors=True) as directory:
        embedded = None if options.mongo_url else EmbeddedMongo.acquire(Path(directory))
        try:
            url = options.mongo_url or (embedded.url if embedded else "")
            if options.jobs:
                print(json.dumps(generate.generate(url, options.db, options.jobs, job)), file=sys.stderr)
            for line in asyncio.run(measure(url, options.db)):
                print(json.dumps(line))
        finally:
            if embedded is not None:
                embedded.release()


if __name__ == "__main__":
    main()
