"""A webhook receiver that notes its jobs in a journal: python -m … JOURNAL PORT."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.faults.journals import Journal


def application(journal: Journal) -> web.Application:
    async def receive(request: web.Request) -> web.Response:
        sent: dict[str, Any] = await request.json()
        job_id, token = sent["job"]["id"], sent["token"]
        journal.note("start", job_id, token)
        try:
            await asyncio.sleep(0.02)
        finally:
            journal.note("end", job_id, token)
        return web.json_response({"n": 1})

    app = web.Application()
    app.router.add_post("/", receive)
    return app


if __name__ == "__main__":
    web.run_app(application(Journal(Path(sys.argv[1]))), host="127.0.0.1", port=int(sys.argv[2]), print=None)
