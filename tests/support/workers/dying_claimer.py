"""A journal worker that is killed at a statement of a claim of several jobs.

python -m … STATEMENT JOURNAL URL DB CONCURRENCY: after its ``look``, its ``update`` or its ``read``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from jobqueue.store.work.several_claims import SeveralClaims
from tests.support.workers.journal_worker import work


def die_after(statement: str) -> None:
    """Make this process end itself when it has carried out a statement, for some jobs.

    An update takes no jobs if it comes so late that the settings of the queue may be others.
    """
    name = f"_{'take' if statement == 'update' else statement}"
    call = getattr(SeveralClaims, name)

    async def last(*arguments: Any) -> Any:
        jobs = await call(*arguments)
        if jobs:
            os.kill(os.getpid(), signal.SIGKILL)
        return jobs

    setattr(SeveralClaims, name, last)


if __name__ == "__main__":
    die_after(sys.argv[1])
    asyncio.run(work(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), None))
