"""Expiry of documents that other tools have put in: they neither expire nor keep the loop awake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.store.pulse import PulseStore
from tests.support.data.factories import LONG_AGO, add, document

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    "odd",
    [
        {"run": None, "startBefore": LONG_AGO},
        {"startBefore": [LONG_AGO, LATER]},
        {"startBefore": "yesterday"},
        {"startBefore": 0},
        {"startBefore": {"$date": 0}},
        {"startBefore": LONG_AGO, "state": "success"},
    ],
)
async def test_odd_limits_hold_up_no_other_job(idle_runtime: Runtime, odd: dict[str, Any]) -> None:
    shape = await document(idle_runtime, (await add(idle_runtime, delay=100, start_before=LATER)).id)
    jobs = idle_runtime.jobs.collection
    await jobs.insert_one({**shape, "_id": ObjectId(), "delayTil": LATER, **odd})
    left = await idle_runtime.expiry.run_once()
    assert left is not None
    assert left > 100
    assert (await PulseStore(idle_runtime.database).look(["expired"])).due == set()
    assert await jobs.count_documents({"state": "killed"}) == 0
