"""The examples that ask other hosts or wait for times, as a user runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.cli.cli_process import eventually
from tests.acceptance.examples.place import Server, trying
from tests.support.zygote.process import run

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_crawl_fetches_each_page_once_and_one_of_a_host_at_a_time(server: Server, tmp_path: Path) -> None:
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
