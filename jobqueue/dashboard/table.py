"""The table of all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.jobs.search.page import JOBS
from jobqueue.dashboard.work.workers import WORKERS

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.page import Page

TABLE: Final[tuple[Page, ...]] = (JOBS, WORKERS)
