"""The jobs of one request to a batch: ids, blocked jobs, and the places that problems name."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values.checks import check_id
from jobqueue.domain.workflow.batch import MOST_MEMBERS, AddedMember
from jobqueue.services.jobs.producer import check_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobqueue.domain.workflow.batch import Member

_PLACE: Final = re.compile(r"^jobs\.(\d+)")


def to_check(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ids of new jobs whose dependencies may have ended already."""
    return [str(document["_id"]) for document in documents if "outbox" in document]


def check_count(members: Sequence[Member]) -> None:
    """Make sure that a request has not too many jobs, and no key twice.

    Raises:
        InvalidInputError: naming each mistake.
    """
    if len(members) > MOST_MEMBERS:
        raise InvalidInputError({"jobs": [f"takes at most {MOST_MEMBERS:,} jobs"]})
    check_keys([member.job for member in members])


def added_jobs(
    members: Sequence[Member], ids: Sequence[str], known: Mapping[str, str] | None = None
) -> list[AddedMember]:
    """Return the jobs of a request; jobs that the batch had already have their own ids."""
    there = known or {}
    return [
        AddedMember(id=there[member.ref], ref=member.ref, existed=True)
        if member.ref is not None and member.ref in there
        else AddedMember(id=job_id, ref=member.ref)
        for member, job_id in zip(members, ids, strict=True)
    ]


def blocked_jobs(members: Sequence[Member], ids: Sequence[str], known: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the new jobs that each blocked job waits for, by the id of the blocked job.

    Raises:
        InvalidInputError: naming each text that is neither a ref of the batch nor an id.
    """
    blocked: dict[str, list[str]] = {}
    problems: Problems = {}
    for place, (member, job_id) in enumerate(zip(members, ids, strict=True)):
        for index, name in enumerate(member.blocks):
            try:
                other = known.get(name) or check_id(name)
            except InvalidInputError:
                problems[f"jobs.{place}.blocks.{index}"] = [f"{name!r} is neither a ref of this batch nor an id"]
            else:
                blocked.setdefault(other, []).append(job_id)
    if problems:
        raise InvalidInputError(problems)
    return blocked


@contextmanager
def placed(places: Sequence[int]) -> Iterator[None]:
    """Translate places in problems to places in the request, which also has jobs that the batch had already."""
    try:
        yield
    except InvalidInputError as error:

        def place(match: re.Match[str]) -> str:
            return f"jobs.{places[int(match[1])]}"

        problems = {_PLACE.sub(place, path): messages for path, messages in error.problems.items()}
        raise InvalidInputError(problems) from None
