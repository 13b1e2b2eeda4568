"""The examples that ask other hosts or wait for times, as a user runs them."""

from __future__ import annotations

import importlib
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tests.acceptance.cli.cli_process import eventually
from tests.acceptance.examples.place import EXAMPLES, Server, beside, trying
from tests.acceptance.steps.served import receiving
from tests.support import waiting
from tests.support.zygote.process import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from jobqueue.testing import QueueForTests


async def a_crawl_fetches_each_page_once_and_one_of_a_host_at_a_time(server: Server, tmp_path: Path) -> None:
    async with trying(server, tmp_path, "scraper") as place:
        await place.apply()
        with place.program("stub_site", "0", "0") as ready:
            urls = ready.split()
            with place.worker("scraper:queue"), place.worker("scraper:queue"):
                code, batch, err = run("scraper", urls[0], cwd=tmp_path, env=place.cli.environ(), timeout=60)
                assert code == 0, err

                async def reports() -> list[object]:
                    return [job["result"] for job in await place.jobs(type="scrape.report", state="success")]

                # Four pages and the start of each site; each link to what is forbidden was looked at once.
                assert await eventually(reports, bool) == [{"fetched": 10, "forbidden": 2, "failed": []}]
                assert (await place.served.call("GET", f"/v1/batches/{batch.strip()}"))["state"] == "finished"
            for url in urls:
                seen = await place.served.session.get(f"{url}seen")
                notes = await seen.json()
                once = {"/", "/page/0", "/page/1", "/page/3"}
                assert {path: number for path, number in notes["asked"].items() if path in once} == dict.fromkeys(
                    once, 1
                )
                # The busy page was asked again after a while.
                assert notes["asked"].keys() - once == {"/page/2"}
                assert notes["asked"]["/page/2"] == 2
                assert notes["most_at_a_time"] == 1
                assert notes["shortest_gap"] >= 1


async def a_late_report_is_told_of_and_mended(server: Server, tmp_path: Path) -> None:
    async with (
        trying(server, tmp_path, "nightly_report") as place,
        receiving(lambda _: (200, {})) as (url, messages),
    ):
        await place.apply(figures={"attempts": 1})
        with place.program("nightly", "sales"):
            pass
        north, reports = tmp_path / "sales" / "north", tmp_path / "reports"
        north.rename(tmp_path / "later")
        alert = {"url": url, "kinds": ["failures"], "queues": ["reports"]}
        await place.served.call("PUT", "/v1/alerts/reports", alert)
        with place.worker("nightly:queue") as worker:
            worker.ready()

            async def stored() -> list[str]:
                schedules = (await place.served.call("GET", "/v1/schedules"))["items"]
                return [one["timezone"] for one in schedules if one["name"] in {"report-nightly", "report-watch"}]

            assert await eventually(stored, lambda zones: len(zones) == 2) == ["Europe/Berlin"] * 2
            made = [place.run("schedule", "run", f"report-{name}").out.strip() for name in ("watch", "nightly")]
            watched, started = [await place.ended(job) for job in made]
            assert watched["error"]["message"].endswith(f"the report of {started['result']} is late")

            async def failed() -> list[str]:
                return [job["id"] for job in await place.jobs(type="report.figures", state="failed")]

            [figures] = await eventually(failed, bool)
            await waiting.eventually((tmp_path / "support.txt").exists)
            (tmp_path / "later").rename(north)
            await place.served.call("POST", f"/v1/jobs/{figures}/requeue", {})
            [report] = await waiting.eventually(lambda: [*reports.glob("*.csv")])
            assert report.read_text() == "region,cents\nnorth,55\nsouth,110\nwest,165\n"

            async def alerts() -> list[object]:
                return [body["text"] for _, body in messages]

            [text] = await eventually(alerts, bool)
            assert "is late" in str(text)


async def test_a_crawl_is_polite_and_a_late_report_is_told_of(server: Server, tmp_path: Path) -> None:
    # Both wait most of the time.
    await beside(
        server,
        tmp_path,
        a_crawl_fetches_each_page_once_and_one_of_a_host_at_a_time,
        a_late_report_is_told_of_and_mended,
    )


async def test_the_report_is_due_at_half_past_two_in_berlin(
    jobqueue_test: QueueForTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "nightly_report"))
    monkeypatch.chdir(tmp_path)
    nightly = importlib.import_module("nightly")
    nightly.make_sales()
    jobqueue_test.use(nightly.queue)
    ended = await jobqueue_test.drain(until=timedelta(days=2), raises=False)
    nights = [job for job in ended if job.type == "report.nightly"]
    berlin = ZoneInfo("Europe/Berlin")
    times = {job.scheduled_at.astimezone(berlin).strftime("%H:%M") for job in nights if job.scheduled_at}
    # One of two nights may be the one in spring that has no such time.
    assert len(nights) == 2
    assert "02:30" in times
    assert [job.result for job in ended if job.type == "report.write"] == [330, 330]
