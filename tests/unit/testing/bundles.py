"""Bundles for tests, as a server writes them."""

from __future__ import annotations

from typing import Any

AT = "2030-01-31T12:00:0{}.000Z"


def step(name: str, at: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a finished step; with ``endAt=None`` one that has begun."""
    made = {"name": name, "kind": "step", "startAt": AT.format(at), "endAt": AT.format(at), "attempt": 1, "tries": 1}
    return {**made, "size": 0, **fields}


def bundle(*, job: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """Return a bundle of a failed job."""
    error = {"kind": "ValueError", "message": "no", "step": "pay"}
    shown = {
        "id": "a" * 24,
        "queue": "default",
        "type": "order",
        "data": {"price": 7},
        "meta": {},
        "priority": 0,
        "attempts": 2,
        "attemptsMade": 1,
        "backoff": 10,
        "delay": 0,
        "lease": 60,
        "timeout": None,
        "progress": 0,
        **dict.fromkeys(("delayTil", "resetAt", "batchId", "parentId", "onComplete", "onSuccess", "onFailure")),
        "insertAt": AT.format(0),
        "startAt": AT.format(0),
        "endAt": AT.format(9),
        "dependsOn": [],
        "logs": [],
        "result": None,
        "error": error,
        "state": "failed",
        "onSuccessDelete": False,
        "key": None,
        "claim": None,
        "history": [{"attempt": 1, "startAt": AT.format(0), "endAt": AT.format(9), "outcome": "fail", "error": error}],
        **(job or {}),
    }
    return {
        "bundle": 1,
        "version": "0.3.0",
        "madeAt": AT.format(9),
        "fingerprint": None,
        "job": shown,
        "results": {},
        "doubts": [],
        "childFailures": {},
        "logs": [],
        "parent": None,
        "children": [],
        "relatives": [],
        "queue": {"name": "default"},
        "redacted": [],
        "unused": [],
        "cut": [],
        **parts,
    }
