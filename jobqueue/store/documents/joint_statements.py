"""One update for attempts that begin together or end alike, as named pure functions; ``now`` as in `statements`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.domain.attempts.crash import SUSPECT_FROM
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.transitions import UNSET, Transition
from jobqueue.store.documents import statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now


_LIMIT: Final = "startBefore"


def stands_alone(document: Mapping[str, Any]) -> bool:
    """Return True for a waiting job that only a claim of its own may take: it may expire, or has to run alone."""
    crashes = document.get("crashes")
    return document.get(_LIMIT) is not None or (isinstance(crashes, int | float) and crashes >= SUSPECT_FROM)


def with_tokens(begin: Sequence[Document], tokens: Mapping[ObjectId, str]) -> list[Document]:
    """Return the update of a claim for several jobs, each with the token of its id."""
    ids, known = {"$literal": list(tokens)}, {"$literal": list(tokens.values())}
    token = {"$arrayElemAt": [known, {"$indexOfArray": [ids, "$_id"]}]}
    changed = dict(begin[0]["$set"])
    before, (entry,) = changed["history"]["$concatArrays"]
    changed["history"] = {"$concatArrays": [before, [entry | {"token": token}]]}
    changed["claim"] = {"$mergeObjects": [changed["claim"], {"token": token}]}
    return [{"$set": changed}, *begin[1:]]


def likeness(queue: str, transition: Transition) -> object | None:
    """Return a key that equal ends of attempts of a queue share; ``None`` for a change that stands alone.

    Only a plain success may share its update: a success with a token, a result and a code, and nothing else. Its guard
    then names nothing but the state, the token and the absence of dependents.
    """
    if transition.token is None or transition.target is not State.SUCCESS or transition.result is UNSET:
        return None
    plain = Transition(
        token=transition.token, target=State.SUCCESS, outcome=transition.outcome, code=transition.code, result=None
    )
    if replace(transition, result=None) != plain:
        return None
    # Equal bytes are equal values, types included: 1, 1.0 and true are equal in Python.
    return queue, transition.outcome, transition.code, bson.encode({"result": transition.result})


def guard(job_ids: Sequence[str], queue: str, ends: Sequence[Transition], now: Now) -> Document:
    """Match the jobs whose attempts may end so, each under its own token.

    No two claims have the same token. So a job that holds one of the tokens holds its own.
    """
    tokens = [end.token for end in ends]
    one = statements.guard(job_ids[0], queue, ends[0], now)
    several: Document = {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}}
    return one | several | {name: {"$in": tokens} for name in ("claim.token", "history.token")}


def update(ends: Sequence[Transition], now: Now) -> Document:
    """Return the update of all of them; the entry of each history is found by the token of the job."""
    changed: Any = statements.applied(ends[0], now)
    if not isinstance(changed, dict):
        raise TypeError("the end of a plain success is no pipeline")
    return changed
