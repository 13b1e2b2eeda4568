"""Work on the queue ``q`` over HTTP until a signal: ``URL``; prints what it has loaded when it has ended, as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

from jobqueue import Client
from tests.support.http.forking_client import DRIVER

if TYPE_CHECKING:
    from jobqueue import ActiveJob


def main(url: str) -> None:
    worker = Client(url).worker("q", drain=0, poll=0.1)

    @worker.handler("forever")
    async def forever(_job: ActiveJob) -> None:
        await asyncio.Event().wait()

    @worker.task()
    def double(n: int) -> int:
        return 2 * n

    worker.run()
    print(json.dumps([name for name in DRIVER if name in sys.modules]))


if __name__ == "__main__":
    main(sys.argv[1])
