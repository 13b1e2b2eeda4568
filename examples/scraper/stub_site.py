"""Web sites to try the scraper on, one for each port: python stub_site.py [PORT…] (8201 8202; 0 takes a free one).

Each has some pages that link to each other, one that robots.txt forbids, and one that is busy at first.
"""

import asyncio
import sys
import time
from collections import Counter

from aiohttp import web

PAGES = 4
DELAY = 1


class Site:
    """A site that notes how it was asked."""

    def __init__(self, others: list[str]) -> None:
        self.others = others
        self.asked: Counter[str] = Counter()
        self.running = self.most_at_a_time = 0
        self.ended_at: float | None = None
        self.shortest_gap: float | None = None

    async def page(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        self.running += 1
        self.most_at_a_time = max(self.most_at_a_time, self.running)
        if self.ended_at is not None:
            gap = time.monotonic() - self.ended_at
            self.shortest_gap = gap if self.shortest_gap is None else min(gap, self.shortest_gap)
        await asyncio.sleep(0.05)
        self.running -= 1
        self.ended_at = time.monotonic()
        number = int(request.match_info.get("number", "0"))
        if number == 2 and self.asked[request.path] == 1:
            return web.Response(status=503, headers={"Retry-After": "1"})
        targets = [f"/page/{(number + 1) % PAGES}", f"/page/{number * 2 % PAGES}#top", "/private", *self.others]
        links = " ".join(f'<a href="{target}">go on</a>' for target in targets)
        return web.Response(text=f"<title>Page {number}</title>{links}", content_type="text/html")

    async def robots(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"User-agent: *\nDisallow: /private\nCrawl-delay: {DELAY}\n")

    async def seen(self, _request: web.Request) -> web.Response:
        shown = {"most_at_a_time": self.most_at_a_time, "shortest_gap": self.shortest_gap}
        return web.json_response({"asked": dict(self.asked), **shown})


async def main(ports: list[int]) -> None:
    urls: list[str] = []
    for port in ports:
        site = Site(urls)
        app = web.Application()
        app.add_routes([web.get("/", site.page), web.get("/page/{number}", site.page), web.get("/private", site.page)])
        app.add_routes([web.get("/robots.txt", site.robots), web.get("/seen", site.seen)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    print(*urls, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]] or [8201, 8202]))
