"""The examples of pipelines in Python, as a user runs them: with a server, workers, and kill -9."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tests.acceptance.examples.place import LEASE, Server, trying
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]


def received(home: Path) -> int:
    with closing(sqlite3.connect(home / "shop.db")) as shop:
        try:
            [(rows,)] = shop.execute("SELECT count(*) FROM received")
        except sqlite3.OperationalError:
            return 0
    return int(rows)


async def test_an_import_counts_each_row_once(server: Server, tmp_path: Path) -> None:
    async with trying(server, tmp_path, "csv_import") as place:
        await place.apply(**{"csv-parts": {"lease": LEASE, "rate": {"limit": 4, "per": 600}}, "csv": {"lease": LEASE}})
        with place.program("shop", "sample", "a.csv", "600"):
            pass
        with (tmp_path / "a.csv").open(newline="") as file:
            good = [int(row[2]) for row in [*csv.reader(file)][1:] if row[2] != "many"]
        assert len(good) == 594

        job = await place.add("csv.import", {"path": "a.csv", "rows": 30}, queue="csv")
        with place.worker("importer:queue") as worker:
            await eventually(lambda: received(tmp_path) > 4 * 28)
            with closing(sqlite3.connect(tmp_path / "shop.db", timeout=30)) as shop:
                shop.execute("BEGIN IMMEDIATE")
                await place.served.call("PATCH", "/v1/queues/csv-parts", {"rate": {"limit": 6, "per": 600}})

                async def writing() -> bool:
                    return any(part.get("steps") for part in await place.jobs(parentId=job, state="processing"))

                # Two parts have read their rows, wait for the database, and die with their worker.
                await eventually(writing)
                worker.process.kill()
                worker.process.wait()
        await place.served.call("PATCH", "/v1/queues/csv-parts", {"rate": None})
        with place.worker("importer:queue"):
            ended = await place.ended(job)
            assert ended["state"] == "success", ended["error"]
            assert (ended["result"]["imported"], ended["result"]["bad"]) == (594, 6)
            assert ended["result"]["first_reasons"][0].startswith("row 7: ")
            again = await place.ended(await place.add("csv.import", {"path": "a.csv"}, queue="csv"))
            assert again["result"] == ended["result"]
            wrong = tmp_path / "wrong.csv"
            wrong.write_text("number,category\n1,books\n")
            refused = await place.ended(await place.add("csv.import", {"path": "wrong.csv"}, queue="csv"))
            assert (refused["state"], refused["attemptsMade"]) == ("killed", 1)
        with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
            assert shop.execute("SELECT sum(quantity) FROM stock").fetchone() == (sum(good),)
            assert shop.execute("SELECT count(*) FROM received").fetchone() == (594,)
        with (tmp_path / "a.csv.bad.csv").open(newline="") as file:
            assert [row[0] for row in csv.reader(file)] == ["7", "107", "207", "307", "407", "507"]
        # The import began its steps once, although its worker died.
        steps = {step["name"]: step["attempt"] for step in ended["steps"]}
        assert (steps["validate"], steps["split"]) == (1, 1)


async def test_parts_that_failed_go_on_from_their_step(server: Server, tmp_path: Path) -> None:
    async with trying(server, tmp_path, "csv_import") as place:
        await place.apply(**{"csv-parts": {"attempts": 1}})
        with place.program("shop", "sample", "b.csv", "90", "garden"):
            pass
        with place.worker("importer:queue"):
            job = await place.add("csv.import", {"path": "b.csv", "rows": 30}, queue="csv")

            async def failed() -> bool:
                jobs = await place.jobs(parentId=job, state="failed")
                return len(jobs) == 3

            await eventually(failed)
            why = place.run("why", job).out
            assert "3 of 3 children of map parts" in why
            with place.program("shop", "category", "garden"):
                pass
            chosen = '{"type": "csv.part", "state": "failed"}'
            ran = place.run("requeue", "--filter", chosen, "--from-step", "write", "--yes")
            assert ran.code == 0, ran.err
            ended = await place.ended(job)
        assert ended["state"] == "success", ended["error"]
        assert ended["result"]["imported"] == 89
        parts = [await place.served.get(part["id"]) for part in await place.jobs(parentId=job)]
        for part in parts:
            assert "the shop has no category 'garden'" in part["history"][0]["error"]["message"]
            assert [entry["outcome"] for entry in part["history"]] == ["fail", "requeue", "success"]
            assert part["history"][2]["steps"] == ["write"]
    assert received(tmp_path) == 89
