"""Facts about a job in a few words, and texts to copy that fetch it elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.texts import span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_MOST_META: Final = 4
_PLAIN: Final = re.compile(r"[\w.@+-]{1,80}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fact:
    """A value of ``meta``, and the address of the jobs that have it; empty where a search cannot name it."""

    name: str
    text: str
    href: str


def backoff(value: Any) -> str:
    """Return a backoff for people."""
    if isinstance(value, list):
        return ", ".join(span(seconds) for seconds in value[:8])
    if isinstance(value, dict):
        return f"{span(value.get('base'))}, times {value.get('factor', 2)}, to {span(value.get('max'))}"
    return span(value)


def meta_facts(meta: Mapping[str, Any]) -> list[Fact]:
    """Return the first simple values of ``meta``."""
    facts: list[Fact] = []
    for name, value in meta.items():
        if isinstance(value, str | int | float) and len(facts) < _MOST_META:
            text = value if isinstance(value, str) else json.dumps(value)
            is_plain = bool(_PLAIN.fullmatch(name) and _PLAIN.fullmatch(text))
            facts.append(Fact(name[:60], text[:80], link("/jobs", q=f"meta.{name}={text}") if is_plain else ""))
    return facts


def copies(view: View, job_id: str) -> dict[str, str]:
    """Return texts that show the job elsewhere."""
    server = view.server
    token = "" if view.is_open else ' -H "Authorization: Bearer $JOBQUEUE_API_TOKEN"'
    return {
        "curl": f"curl{token} {server}/v1/jobs/{job_id}",
        "Python": f'Client("{server}").get("{job_id}")',
        "mongosh": f'db.jobs.findOne({{_id: ObjectId("{job_id}")}})',
    }
