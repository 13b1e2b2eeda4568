"""Words that lead straight to a job: its id, the last digits of its id, its key or its ref."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http.problems import ProblemError
from jobqueue.domain.attempts.states import UNFINISHED
from jobqueue.domain.errors import BusyError, InvalidInputError, NotFoundError
from jobqueue.domain.values.checks import is_id

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View
    from jobqueue.domain.search.terms import Query

_SHORT: Final = re.compile(r"(?:…|\.\.\.)?[0-9a-fA-F]{6,24}|[0-9a-fA-F]{6,24}(?:…|\.\.\.)")
_MOST: Final = 50
_MOST_QUEUES: Final = 30


async def meant(view: View, query: Query) -> tuple[str | None, dict[str, Any] | None]:
    """Return the path of the job or batch that a query means, or else a filter for the jobs that it may mean."""
    if len(query.terms) != 1 or not query.terms[0].is_word or len(query.words.split()) != 1:
        return None, None
    word = query.words
    ids = await _by_id(view, word) if _SHORT.fullmatch(word) else []
    if not ids:
        ids, others = await asyncio.gather(_by_name(view, word), _search(view, {"q": word}, 2))
        # A key or ref that is also a type, or a part of an error, is more likely meant as a text.
        if set(others) - set(ids):
            return None, None
    if len(ids) == 1:
        return f"/jobs/{ids[0]}", None
    if not ids and is_id(word) and await view.find(f"/v1/batches/{word}"):
        return f"/batches/{word}", None
    return None, {"id": {"$in": ids}} if ids else None


async def _by_id(view: View, word: str) -> list[str]:
    if is_id(word):
        return await _search(view, {"filter": {"id": word}})
    try:
        page = await view.ask("/v1/jobs", {"id": word, "fields": "id", "limit": str(_MOST)})
    except InvalidInputError:
        return []
    return [job["id"] for job in page["items"]]


async def _by_name(view: View, word: str) -> list[str]:
    """Return the ids of jobs whose key or ref is a word."""
    ids = await _search(view, {"filter": {"$or": [{"key": word}, {"ref": word}]}})
    if ids:
        return ids
    # With very many jobs no index finds this. One finds the key of an unfinished job, if its queue is known.
    try:
        known = await view.ask("/v1/jobs/suggestions", {"field": "queue", "limit": str(_MOST_QUEUES)})
    except (InvalidInputError, NotFoundError, ProblemError):
        return []
    queues = [item["value"] for item in known["items"]]
    query = {"queue": {"$in": queues}, "key": word, "state": {"$in": [state.value for state in UNFINISHED]}}
    return await _search(view, {"filter": query}) if queues else []


async def _search(view: View, what: dict[str, Any], limit: int = _MOST) -> list[str]:
    try:
        page = await view.ask("/v1/jobs/search", body={**what, "fields": ["id"], "limit": limit})
    except (InvalidInputError, BusyError):
        # With very many jobs no index finds a key without its queue; the list that follows says so.
        return []
    return [job["id"] for job in page["items"]]
