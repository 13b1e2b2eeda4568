"""Claims of several jobs at once, for workers with as many free places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.store.documents import documents, joint_statements, statements, suspect_statements
from jobqueue.store.limits import limit_statements
from jobqueue.store.mongo.database import guarded
from jobqueue.store.work import expiry_statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.claim_search import ClaimSearch
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database
    from jobqueue.store.work.claims import ClaimStore

_BY_ID: Final = [("_id", 1)]
_LOOKED_AT: Final[Document] = {"priority": 1, "insertAt": 1, "crashes": 1, expiry_statements.FIELD: 1}


class SeveralClaims:
    """Claims the first jobs in order by a look, one update of all of them, and a read of what it has claimed.

    Other claims may come between the look and the update. They take some of the jobs then, and the others are claimed.
    """

    def __init__(self, database: Database, claims: ClaimStore) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._claims = claims

    @guarded
    async def claim(self, searches: Sequence[ClaimSearch]) -> list[tuple[Job, str]]:
        """Claim at most as many jobs as there are searches, which differ by their tokens only.

        A job that may expire or has to run alone ends the look, so that no other job goes before it.

        Returns:
            The jobs with the tokens of their claims, in order; fewer than wanted say nothing of the jobs that wait.

        Raises:
            DatabaseUnavailableError: the update may have claimed jobs; their tokens find them later.
        """
        search = searches[0]
        parts, looks = await self._claims.parts(search)
        found = await self._look(parts, len(searches))
        tokens = {document["_id"]: one.token for document, one in zip(found, searches, strict=False)}
        if not tokens or not await self._take(search, tokens):
            return []
        claimed = await self._read(tokens)
        self._claims.found(search, [document for document in found if document["_id"] in claimed], looks)
        return [(claimed[job_id], token) for job_id, token in tokens.items() if job_id in claimed]

    async def _look(self, parts: Sequence[tuple[Document, list[tuple[str, int]], str]], most: int) -> list[Document]:
        """Return the first jobs in order that may be claimed together; ``parts`` as of `ClaimStore.parts`."""
        for query, order, index in parts:
            cursor = self._jobs.find(query, _LOOKED_AT, sort=order, hint=index, limit=most)
            found = [dict(document) async for document in cursor]
            if found:
                single = (place for place, document in enumerate(found) if joint_statements.stands_alone(document))
                return found[: next(single, len(found))]
        return []

    async def _take(self, search: ClaimSearch, tokens: dict[Any, str]) -> int:
        """Claim jobs by their ids, as long as they wait; return the number of the claimed ones."""
        base, _ = limit_statements.of_queue(search)
        query = base | suspect_statements.NO_SUSPECT | {"_id": {"$in": list(tokens)}, expiry_statements.FIELD: None}
        if search.until is not None and isinstance(self._clock.present, str):
            query |= limit_statements.before(search.until.at, search.queue, self._clock.present)
        begin = statements.claim(
            "", search.worker, self._clock.present, lease=search.lease, margin=search.margin, version=search.version
        )
        written = await self._jobs.update_many(query, joint_statements.with_tokens(begin, tokens), hint=_BY_ID)
        return int(written.matched_count)

    async def _read(self, tokens: dict[Any, str]) -> dict[Any, Job]:
        """Return the claimed jobs by their ids, whole: what runs is what was claimed."""
        held = {"_id": {"$in": list(tokens)}, "claim.token": {"$in": list(tokens.values())}, "state": "processing"}
        read = self._jobs.find(held, {"logs": 0, "attrs": 0}, hint=_BY_ID)
        return {document["_id"]: documents.job(document) async for document in read}
