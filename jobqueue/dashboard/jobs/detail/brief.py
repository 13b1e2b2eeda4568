"""A job without its large fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.values.checks import check_id

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_FIELDS: Final = ("type", "queue", "state", "attemptsMade", "attempts", "insertAt", "startAt", "endAt")
_WHOLE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def whole(text: str) -> int:
    """Return the whole number in a part of an address, or 0 for another text."""
    return int(text) if _WHOLE.fullmatch(text) else 0


async def brief(view: View, job_id: str) -> dict[str, Any]:
    """Return a few fields of a job.

    Raises:
        NotFoundError: there is no such job for the visitor.
    """
    body = {"filter": {"id": check_id(job_id)}, "fields": list(_FIELDS), "limit": 1}
    items = (await view.ask("/v1/jobs/search", body=body))["items"]
    if not items:
        raise NotFoundError("job", job_id)
    job: dict[str, Any] = items[0]
    return job
