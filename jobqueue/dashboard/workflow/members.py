"""The jobs of a batch: what failed, what it holds up, and the parts of the graph that a page shows."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.workflow.layout import FAILURES, MOST_BOXES, Graph, Vertex, depths, followers, group, kinds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobqueue.dashboard.workflow.layout import Box

PAGE: Final = 20
"""Members of an opened box that are shown at a time, as boxes and in the table: with 50 a page would have 77 KB."""
_MOST_NEAR: Final = 8
"""Kinds of neighbours of opened members."""
MOST_LISTED: Final = 10
"""Kinds in the table."""
_FIRST: Final = ("failed", "killed", "processing", "pending", "delayed", "success")
_WAITING: Final = frozenset({"pending", "delayed"})
_MOST_FOLLOWED: Final = 1_000
_LONGEST_TYPE: Final = 24
_LONGEST_NAME: Final = 40


class Members:
    """The jobs of a batch and how they depend on each other.

    Attributes:
        jobs: all jobs, as far as the API gives them.
        depth: as `layout.depths` returns it.
        stuck: ids of jobs that wait for one that failed or was killed, or that fell with it.
        kind_of: the kind of each job, as `layout.kinds`.
        by_kind: the graph with a box for each kind.
    """

    def __init__(self, nodes: Iterable[dict[str, Any]]) -> None:
        self.jobs = [
            Vertex(node["id"], node["type"], node["state"], node["dependsOn"], node.get("ref") or "") for node in nodes
        ]
        self._below = followers(self.jobs)
        self.depth = depths(self._below)
        self._by_id = {job.id: job for job in self.jobs}
        self.stuck = self._held_by([job.id for job in self.jobs if job.state in FAILURES], len(self.jobs))
        self.kind_of = kinds(self.jobs, self.depth)
        self.by_kind = group(self.jobs, self.depth, self.kind_of)

    def kinds(self) -> list[Box]:
        """Return boxes of kinds of jobs, in the order of their depth; of many those with failures, then large ones."""
        first = sorted(self.by_kind.boxes, key=lambda box: (not box.is_bad, -box.total))[:MOST_LISTED]
        return sorted(first, key=lambda box: (box.depth, box.type))

    @property
    def unlisted(self) -> int:
        """The number of kinds that `kinds` leaves out."""
        return max(0, len(self.by_kind.boxes) - MOST_LISTED)

    def failed_or_stuck(self) -> list[Vertex]:
        """Return the jobs that failed or were killed, and those that wait for them."""
        return [job for job in self.jobs if job.state in FAILURES or job.id in self.stuck]

    def of_kind(self, kind: str) -> list[Vertex]:
        """Return the jobs of a kind, which is named as `kind_name` does, or the one of this id; failed ones first."""
        keys = {box.key for box in self.by_kind.boxes if kind_name(box.key) == kind}
        found = [job for job in self.jobs if self.kind_of[job.id] in keys or job.id == kind]
        return sorted(found, key=lambda job: _rank(job.state))

    def failures(self) -> list[Vertex]:
        """Return the jobs that failed, then those that were killed."""
        return sorted((job for job in self.jobs if job.state in FAILURES), key=lambda job: _rank(job.state))

    def opened(self, notes: Mapping[str, str]) -> Graph:
        """Return the graph of some jobs and their neighbours; many neighbours are folded by kind.

        Args:
            notes: by the id of each of these jobs a word, so that one can tell them apart.
        """
        near = {
            other
            for job_id in notes
            if job_id in self._by_id
            for other in (*self._by_id[job_id].above, *self._below[job_id])
        }
        jobs = [
            job._replace(note=notes.get(job.id, job.note)) for job in self.jobs if job.id in notes or job.id in near
        ]
        each = len(jobs) <= MOST_BOXES - PAGE
        key_of = {job.id: job.id if each or job.id in notes else self.kind_of[job.id] for job in jobs}
        near_kinds = Counter(key for job_id, key in key_of.items() if job_id != key)
        shown = {key for key, _ in near_kinds.most_common(_MOST_NEAR)}
        key_of = {job_id: key for job_id, key in key_of.items() if job_id == key or key in shown}
        return group([job for job in jobs if job.id in key_of], self.depth, key_of)

    def holds_up(self, job: Vertex) -> str:
        """Return by type the jobs that wait for a failed one or fell with it, such as ``12 thumbnail, 1 report``."""
        held = self._held_by([job.id], _MOST_FOLLOWED) if job.state in FAILURES else set()
        counts = Counter(self._by_id[job_id].type for job_id in held)
        few = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
        text = ", ".join(f"{number:,} {shorten(job_type, _LONGEST_TYPE)}" for job_type, number in few)
        return f"{text} and others" if len(counts) > 3 or len(held) >= _MOST_FOLLOWED else text  # noqa: PLR2004

    def _held_by(self, failed: Sequence[str], most: int) -> set[str]:
        held: set[str] = set()
        todo = list(failed)
        while todo and len(held) < most:
            for other in self._below[todo.pop()]:
                state = self._by_id[other].state
                if other not in held and (state in _WAITING or state == FAILURES[1]):
                    held.add(other)
                    todo.append(other)
        return held


def kind_name(key: str) -> str:
    """Return a short text for the key of a box in addresses; it names no other box."""
    if len(key) <= _LONGEST_NAME and key.isascii():
        return key
    return f"~{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _rank(state: str) -> int:
    return _FIRST.index(state) if state in _FIRST else len(_FIRST)
