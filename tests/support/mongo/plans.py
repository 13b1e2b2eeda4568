"""Query plans: an index for everything, its order used, and few keys looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.store.search.search import order, statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.domain.search.search import Search
    from jobqueue.store.mongo.database import Database


def stages(plan: Any) -> Iterator[str]:
    """Yield the names of all stages of a plan."""
    if isinstance(plan, dict):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for inner in plan.values():
            yield from stages(inner)
    elif isinstance(plan, list):
        for inner in plan:
            yield from stages(inner)


def listing(search: Search, **more: Any) -> dict[str, Any]:
    """Return the command that reads a page."""
    command: dict[str, Any] = {"find": "jobs", "filter": statement(search, **more), "sort": dict(order(search))}
    return command | {"limit": search.limit + 1}


async def explain(database: Database, command: dict[str, Any], *, keys: int) -> None:
    """Explain a command, and refuse a plan that scans, sorts in memory, or looks at more keys or documents."""
    plan = await database.raw.command("explain", command, verbosity="executionStats")
    used = set(stages(plan["queryPlanner"]["winningPlan"]))
    assert not used & {"COLLSCAN", "SORT"}, plan["queryPlanner"]["winningPlan"]
    examined = plan["executionStats"]
    assert examined["totalKeysExamined"] <= keys, examined["totalKeysExamined"]
    assert examined["totalDocsExamined"] <= keys, examined["totalDocsExamined"]
