"""Scrape web sites with a limit for each host. See README.md.

jobqueue worker scraper:queue    runs the jobs
python scraper.py URL…           starts a crawl, and prints the id of its batch
"""

import asyncio
import hashlib
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from aiohttp import ClientSession, ClientTimeout

from jobqueue import ActiveJob, JobQueue, KeyConflictError, Member, NewBatch, Retry

queue = JobQueue()  # JOBQUEUE_MONGO_URL, or the embedded MongoDB
AGENT = "example-scraper"
MOST_BYTES = 1024 * 1024
DEPTH = 5


@dataclass
class Page:
    url: str
    status: int
    title: str
    links: list[str]


@dataclass
class Report:
    fetched: int
    forbidden: int
    failed: list[str]


@queue.task("scrape.page", queue="pages")
async def fetch(job: ActiveJob, url: str, depth: int) -> Page:
    page = await job.step("fetch", get, url)
    for link in page.links if depth else ():
        data, host = {"url": link, "depth": depth - 1}, urlsplit(link).netloc
        try:
            # A ref that the crawl has already adds nothing, so each page is fetched once.
            await job.add("scrape.page", data, queue="pages", meta={"host": host}, key=link, ref=ref(link))
        except KeyConflictError:
            await job.log(f"another crawl is at {link}")
    return page


@queue.task("scrape.report", queue="reports")
async def report(job: ActiveJob) -> Report:
    """Add up the pages of the crawl, which is the batch that this job is a callback of."""
    made = Report(0, 0, [])
    cursor: str | None = None
    while True:
        part = await job.batch_jobs(cursor)
        for each in part.items:
            if each.result is None:
                made.failed.append(each.data["url"])
            elif fetch.decode(each.result).status == 0:
                made.forbidden += 1
            else:
                made.fetched += 1
        cursor = part.next
        if cursor is None:
            return made


async def get(url: str) -> Page:
    """Fetch a page as robots.txt allows; its delay passes while this job holds the place of its host."""
    async with ClientSession(headers={"User-Agent": AGENT}, timeout=ClientTimeout(total=60)) as session:
        rules = await robots(session, url)
        if not rules.can_fetch(AGENT, url):
            return Page(url, 0, "", [])
        async with session.get(url, allow_redirects=False) as reply:
            status = reply.status
            body = await reply.content.read(MOST_BYTES)
            retry_after = float(reply.headers.get("Retry-After", "30"))
        await asyncio.sleep(float(rules.crawl_delay(AGENT) or 0))
    if status in {429, 503}:
        raise Retry(f"{status} of {url}", delay=retry_after)
    if status >= 500:
        raise ConnectionError(f"{status} of {url}")
    reading = Reading(url)
    reading.feed(body.decode("utf-8", "replace"))
    return Page(url, status, reading.title, sorted(reading.links))


async def robots(session: ClientSession, url: str) -> RobotFileParser:
    """Return the rules of the site. A site without rules allows everything."""
    rules = RobotFileParser()
    async with session.get(urljoin(url, "/robots.txt")) as reply:
        rules.parse((await reply.text()).splitlines() if reply.status == 200 else [])
    return rules


class Reading(HTMLParser):
    """Finds the title and the links of a page."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.title = ""
        self.links: set[str] = set()
        self._url = url
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        target = dict(attrs).get("href") if tag == "a" else None
        if target is not None:
            link = urldefrag(urljoin(self._url, target)).url
            if urlsplit(link).scheme in {"http", "https"}:
                self.links.add(link)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data


def ref(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


async def start(urls: list[str]) -> str:
    """Start a crawl; return the id of its batch."""
    members = [
        Member(job=fetch.options(meta={"host": urlsplit(url).netloc}, key=url).new(url=url, depth=DEPTH), ref=ref(url))
        for url in urls
    ]
    async with queue:
        view, _ = await queue.add_batch(NewBatch(members=members, on_complete=report.new()))
    return view.batch.id


if __name__ == "__main__":
    print(asyncio.run(start(sys.argv[1:])))
