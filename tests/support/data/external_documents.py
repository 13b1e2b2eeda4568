"""External documents, as other tools put them into the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.states import State
from tests.support.data.factories import add, claim, succeed

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime


async def insert(runtime: Runtime, document: dict[str, Any]) -> Any:
    """Insert a document as it is; return its ``_id``."""
    return (await runtime.jobs.collection.insert_one(dict(document))).inserted_id


async def adopt_all(runtime: Runtime) -> None:
    """Adopt external documents until there are none left."""
    while await runtime.adopter.run_once() is not None:
        pass


async def taken(runtime: Runtime, document: dict[str, Any]) -> Job:
    """Insert a document and adopt it; return its job."""
    made = await insert(runtime, document)
    await adopt_all(runtime)
    stored = await runtime.jobs.collection.find_one({"_id": {"$eq": made}})
    assert stored is not None
    return await runtime.jobs.get(str(stored.get("movedTo", made)))


async def others_go_on(runtime: Runtime) -> None:
    """Check that a job added now is run, listed and looked up as ever."""
    job = await add(runtime, queue="elsewhere")
    claimed = await claim(runtime, "elsewhere")
    assert claimed.job.id == job.id
    assert (await succeed(runtime, claimed)).state is State.SUCCESS
