"""Insert jobs by the caller's own client of PyMongo, within the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import InvalidInputError, KeyConflictError
from jobqueue.domain.text import type_name
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import DUPLICATE_KEY, translated
from jobqueue.store.mongo.driver import BlockingSession, DuplicateKeyError

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document


def insert_by(session: Any, database: str, document: Document) -> Job:
    """Insert a job, and return it.

    Args:
        session: of PyMongo; its client has to reach the same cluster.
        database: the name of the database.
        document: of the job.

    Raises:
        InvalidInputError: this is no session of PyMongo's synchronous client.
        KeyConflictError: an unfinished job of the queue has the key; the transaction is over.
    """
    if not isinstance(session, BlockingSession):
        raise InvalidInputError({"session": [f"must be a session of PyMongo's MongoClient, not {type_name(session)}"]})
    try:
        with translated():
            session.client[database]["jobs"].insert_one(document, session=session)
    except DuplicateKeyError as error:
        if document.get("key") is None or error.code != DUPLICATE_KEY:
            raise
        raise KeyConflictError(document["queue"], document["key"], "") from None
    return documents.job(document)
