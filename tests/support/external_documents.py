"""Documents as other tools put them into the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.jobs.states import State
from tests.support.factories import add, claim, succeed

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime


async def insert(runtime: Runtime, document: dict[str, Any]) -> Any:
    """Put a document there as it is; return its ``_id``."""
    return (await runtime.jobs.collection.insert_one(dict(document))).inserted_id


async def adopt_all(runtime: Runtime) -> None:
    """Look for foreign documents until there are none left to look at."""
    while await runtime.adopter.run_once() is not None:
        pass


async def taken(runtime: Runtime, document: dict[str, Any]) -> Job:
    """Put a document there and have it looked at; return the job that it has become."""
    made = await insert(runtime, document)
    await adopt_all(runtime)
    found = await runtime.jobs.collection.find_one({"_id": {"$eq": made}})
    assert found is not None
    return await runtime.jobs.get(str(found.get("movedTo", made)))


async def others_go_on(runtime: Runtime) -> None:
    """Make sure that a job added now is run, listed and looked up like ever."""
    job = await add(runtime, queue="elsewhere")
    claimed = await claim(runtime, "elsewhere")
    assert claimed.job.id == job.id
    assert (await succeed(runtime, claimed)).state is State.SUCCESS
