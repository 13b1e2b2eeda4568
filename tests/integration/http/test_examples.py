"""The examples of the document are answers of this server; the manual knows each field that the answers store."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from jobqueue.services.application import Runtime
from tests.support.docs.readme import names, table
from tests.support.http import answers

if TYPE_CHECKING:
    from jobqueue.settings import Settings


async def test_the_examples_of_answers_are_those_that_a_server_gives_today(settings: Settings) -> None:
    kept = json.loads(answers.EXAMPLES.read_bytes())
    given = await answers.answers(replace(settings, admin_token=answers.TOKEN))
    assert given.keys() == kept.keys(), "run scripts/examples"
    for operation, by_status in given.items():
        assert answers.shape(by_status) == answers.shape(kept[operation]), f"{operation}: run scripts/examples"
    assert await _unknown_fields(settings) == set()


async def _unknown_fields(settings: Settings) -> set[str]:
    """Return the stored fields that the reference lacks."""
    runtime = await Runtime.open(settings)
    try:
        raw = runtime.database.raw
        found = set()
        for collection in await raw.list_collection_names():
            known = {name for row in table(f"documents {collection}") for name in names(row[0])}
            async for document in raw[collection].find():
                found |= {f"{collection}.{name}" for name in document.keys() - known}
        return found
    finally:
        await runtime.close()
