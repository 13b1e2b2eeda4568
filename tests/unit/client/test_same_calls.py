"""The four ways to reach a queue have the same calls, with the same parameters."""

from __future__ import annotations

import inspect
from typing import Any, Final

from jobqueue import AsyncClient, Client, JobQueue, SyncJobQueue

OF_THE_DATABASE: Final = {"cron", "handler", "task", "config", "list"}
"""Calls of queue objects only: they define handlers, or return objects of the database."""
OF_PROCESSES: Final = {
    *("declarations", "declare", "lanes", "lifespan", "open", "send_all_to", "send_to", "settle_for", "working")
}
"""Calls of `JobQueue` only, for programs that run its handlers."""
OF_HTTP: Final = {
    *("alert", "alerts", "delete_alert", "mute_alert", "put_alert", "test_alert"),
    *("audit", "bundle", "changes", "create_token", "graph", "operations", "preview_many", "queue", "queue_groups"),
    *("queues", "replace_queue", "requeue_failures", "result", "revoke_token", "rotate_secret", "rows", "status"),
    *("step_result", "steps", "suggestions", "test_webhook", "tokens", "try_failure", "url", "worker"),
}
"""Calls of clients only; `operations` and the `operation` of a queue object are about different processes."""
OF_LOOPS: Final = {"calls", "iterate", "run"}
OTHER_PARAMETERS: Final = {
    "add": "a queue object takes a session of the caller's transaction",
    "failures": "a client filters by more",
    "kill": "the default reason of a client is that of the server",
    "kill_batch": "as kill",
    "logs": "a client follows lines, a queue object returns them with their numbers",
}
LISTS: Final = {"logs", "types", "workers"}
"""Calls of which a queue object returns lists, where a client yields pages."""


def calls(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(kind: type, name: str) -> list[tuple[str, Any, Any]]:
    method = inspect.getattr_static(kind, name)
    signature = inspect.signature(getattr(method, "_method", method))
    return [(each.name, each.kind, each.default) for each in list(signature.parameters.values())[1:]]


def test_all_ways_have_the_same_calls() -> None:
    assert calls(JobQueue) - calls(SyncJobQueue) == OF_PROCESSES
    assert calls(SyncJobQueue) - calls(JobQueue) == OF_LOOPS
    assert calls(AsyncClient) - calls(Client) == {"page", "transport"}
    assert calls(Client) - calls(AsyncClient) == OF_LOOPS
    assert calls(SyncJobQueue) - calls(Client) == OF_THE_DATABASE
    assert calls(Client) - calls(SyncJobQueue) == OF_HTTP


def test_all_ways_take_the_same_parameters() -> None:
    shared = calls(JobQueue) & calls(AsyncClient) & calls(Client) & calls(SyncJobQueue)
    assert len(shared) > 45
    for one, other in ((JobQueue, SyncJobQueue), (AsyncClient, Client)):
        assert [name for name in shared if parameters(one, name) != parameters(other, name)] == []
    differing = {name for name in shared if parameters(JobQueue, name) != parameters(AsyncClient, name)}
    assert differing == set(OTHER_PARAMETERS)
    awaited = {kind: {name for name in shared if _is_awaited(kind, name)} for kind in (JobQueue, AsyncClient)}
    assert awaited[JobQueue] ^ awaited[AsyncClient] == LISTS


def _is_awaited(kind: type, name: str) -> bool:
    return inspect.iscoroutinefunction(getattr(kind, name))
