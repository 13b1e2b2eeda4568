"""Addresses of all pages, with what is there in a played night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.table import TABLE

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.page import Page
    from tests.support.browser.night import Night

_QUERIES: Final = {"/failures/{fp}": "?compare=yes"}
"""Queries that make pages wait for parts which else come later."""


def addresses(night: Night) -> dict[str, Page]:
    """Return an address of every page, with its page; several for those that have parameters."""
    found: dict[str, Page] = {}
    for page in TABLE:
        if "{" not in page.path:
            found[page.path] = page
            continue
        names = _names(page.path, night) if page.act is None else _subjects(page.path, night)
        assert names, f"nothing in the night is shown by {page.path}: say here what it shows"
        path = page.path + _QUERIES.get(page.path, "")
        found |= {path.replace("{id}", name).replace("{fp}", name).replace("{name}", name): page for name in names}
    return found


def _names(path: str, night: Night) -> list[str]:
    kinds = {
        "/jobs/": list(night.jobs.values()),
        "/batches/": list(night.batches.values()),
        "/operations/": list(night.operations.values()),
        "/failures/": night.failures,
        "/queues/": ["imports", "billing", "media"],
        "/schedules/": ["prices"],
        "/workers/": list(night.workers.values()),
        "/tokens/": list(night.tokens.values()),
    }
    return next((names for prefix, names in kinds.items() if path.startswith(prefix)), [])


def _subjects(path: str, night: Night) -> list[str]:
    """Return what a page of an action is about: what it can be done to, and texts that a browser would run."""
    if path.startswith("/jobs/"):
        name = {"kill": "running", "answer": "question"}.get(path.rpartition("/")[2])
        return [night.jobs["hostile"], *([night.jobs[name]] if name else [])]
    if path.startswith("/queues/"):
        return ["media" if path.endswith("resume") else "imports"]
    if path.startswith("/workers/"):
        return [night.workers["drained" if path.endswith("resume") else "polling"]]
    return _names(path, night)[:1]
