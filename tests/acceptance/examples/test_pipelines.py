"""The examples of pipelines in Python, as a user runs them: with a server, workers, and kill -9."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tests.acceptance.examples.place import LEASE, Place, Server, beside, trying
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
        changes: dict[str, Json] = {
            "csv-parts": {"lease": LEASE, "rate": {"limit": 4, "per": 600}},
            "csv": {"lease": LEASE},
        }
        await place.apply(**changes)
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


def mails(home: Path) -> dict[str, list[str]]:
    """Return the mails by person."""
    path = home / "mail.txt"
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        person, _, text = line.partition(": ")
        found.setdefault(person, []).append(text)
    return found


async def answer(place: Place, person: str, label: str) -> None:
    """Open the link that a person has got, and press a button."""

    def link() -> str:
        return next((words.split()[-1] for words in mails(place.home).get(person, ()) if "http" in words), "")

    url = await eventually(link)
    async with place.served.session.get(url) as page:
        text = await page.text()
        assert page.status == 200, text
    assert f'name="choice" value="{label}"' in text
    async with place.served.session.post(url, data={"choice": label}) as page:
        assert page.status == 200, await page.text()


async def an_invoice_is_paid_once_although_the_worker_dies_in_the_payment(server: Server, tmp_path: Path) -> None:
    async with trying(server, tmp_path, "approval") as place:
        await place.apply(approvals={"lease": LEASE})
        bank = tmp_path / "bank.jsonl"
        asked = {"cents": 9900, "approver": "ann", "manager": "max"}
        job = await place.add("invoice.pay", {"number": "7", **asked}, queue="approvals")
        public = {"JOBQUEUE_PUBLIC_URL": server.url}
        with place.worker("approval:queue", BANK_SECONDS="600", **public) as worker:
            await place.until(job, '"signals": ."approval"')
            await answer(place, "ann", "Pay")
            await eventually(lambda: bank.exists() and bank.read_text())
            worker.process.kill()
            worker.process.wait()
        with place.worker("approval:queue", **public):
            late = {**asked, "approver": "bob", "patience": 1}
            escalated = await place.add("invoice.pay", {"number": "8", **late}, queue="approvals")
            silent = await place.add(
                "invoice.pay", {"number": "9", **late, "manager": "eve", "last": 1}, queue="approvals"
            )
            await answer(place, "max", "Refuse")
            assert (await place.ended(escalated))["result"] == "refused"
            assert (await place.ended(silent))["result"] == "nobody has answered"
            await place.until(job, '"doubt": "pay"')
            assert "in doubt" in place.run("why", job).out
            ran = place.run("decide", job, "pay", "--happened", '"receipt-7"')
            assert ran.code == 0, ran.err
            paid = await place.ended(job)

            (tmp_path / "bank-closed").touch()
            closed = await place.add("invoice.pay", {"number": "10", **asked, "approver": "cy"}, queue="approvals")
            await answer(place, "cy", "Pay")
            await place.until(closed, '"message": "the bank is closed')
            (tmp_path / "bank-closed").unlink()
            assert (await place.ended(closed))["result"] == "receipt-10"
    assert (paid["state"], paid["result"]) == ("success", "receipt-7")
    assert [json.loads(line)["number"] for line in bank.read_text().splitlines()] == ["7", "10"]
    assert len(mails(tmp_path)["ann"]) == 2
    assert mails(tmp_path)["ann"][1] == "Invoice 7 is paid: receipt-7."
    assert [signal["by"] for signal in paid["signals"]] == ["ann"]


async def a_summary_stays_within_its_budget_and_rate(server: Server, tmp_path: Path) -> None:
    document = tmp_path / "document.txt"
    document.write_text("\n\n".join(" ".join(f"word{n}-{m}" for m in range(10)) for n in range(12)))
    async with trying(server, tmp_path, "llm_pipeline") as place:
        await place.apply(llm={"rate": {"limit": 2, "per": 600}, "backoff": 1})
        with place.program("model", "0") as ready:
            model = {"MODEL_URL": ready.removeprefix("listening on ")}
            whole = await place.add("document.summarise", {"path": str(document), "budget": 5000}, queue="documents")
            with place.worker("summary:queue", **model) as first, place.worker("summary:queue", **model) as second:
                first.ready(), second.ready()

                async def held_back() -> bool:
                    waiting = "rate" in place.run("why", "--queue", "llm").out
                    return waiting and not await place.jobs(queue="llm", state="processing")

                # Two have started, in whatever worker, and no other one.
                await eventually(held_back, every=0.2)
                asked = await place.jobs(queue="llm")
                assert (len(asked), sum(bool(job["history"]) for job in asked)) == (4, 2)
                first.process.kill()
                await place.served.call("PATCH", "/v1/queues/llm", {"rate": None})
                jobs = {"whole": whole}
                for name, budget in {"small": 1000, "tiny": 700}.items():
                    data = {"path": str(document), "budget": budget}
                    jobs[name] = await place.add("document.summarise", data, queue="documents")
                ended = {name: await place.ended(job) for name, job in jobs.items()}
            async with place.served.session.get(f"{model['MODEL_URL']}/spent") as reply:
                spent = await reply.json()
    assert ended["whole"]["result"]["left_out"] == 0
    # In the worst case five sections would cost more than the budget; each cost less than that.
    assert ended["small"]["result"]["left_out"] == 8
    assert ended["small"]["result"]["spent"] <= 1000
    assert (ended["tiny"]["state"], ended["tiny"]["error"]["message"]) == (
        "killed",
        "a budget of 700 does not pay for one section",
    )
    assert spent["spent"] == ended["whole"]["result"]["spent"] + ended["small"]["result"]["spent"]
    assert spent["answers"] == 12 + 4 + 2


async def test_an_invoice_is_paid_once_and_a_summary_stays_within_its_budget(server: Server, tmp_path: Path) -> None:
    # Both wait most of the time.
    await beside(
        server,
        tmp_path,
        an_invoice_is_paid_once_although_the_worker_dies_in_the_payment,
        a_summary_stays_within_its_budget_and_rate,
    )
