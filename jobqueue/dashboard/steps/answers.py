"""Answers that people gave, in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerText:
    """An answer: when, by whom, to what, and what it was."""

    id: str
    at: str
    by: str
    job_id: str
    question: str
    answer: str


def answer_rows(entries: Iterable[Mapping[str, Any]]) -> list[AnswerText]:
    """Return answers from entries of the audit, newest first."""
    return [_answer(entry) for entry in sorted(entries, key=lambda entry: str(entry["at"]), reverse=True)]


def _answer(entry: Mapping[str, Any]) -> AnswerText:
    after = entry["after"] if isinstance(entry["after"], dict) else {}
    if entry["action"] == "decide":
        question, answer = f"step {after.get('step', '')}", "it happened" if after.get("happened") else "it did not"
    else:
        question, answer = str(after.get("signal", "")), _value(after.get("value"))
    return AnswerText(
        id=entry["id"],
        at=entry["at"],
        by=str(entry["by"].get("name", "")),
        job_id=str(entry["target"].get("name", "")),
        question=shorten(question, _LONGEST),
        answer=answer,
    )


def _value(value: Any) -> str:
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST)
