"""Requests for log lines, and their replies."""

from __future__ import annotations

from typing import Any

from jobqueue.api.schemas.fields import Described, Flag, Inner, Items, Response, Text
from jobqueue.api.schemas.queries import (
    ChoiceText,
    LimitText,
    LineCursor,
    Query,
    SecondsText,
    Several,
    absent,
    whole,
)
from jobqueue.api.schemas.requests import LONGEST_WAIT
from jobqueue.api.schemas.responses import LogLineResponse
from jobqueue.domain.work.logs import LONGEST_LEVEL, MOST_LINES


class LevelsText(Several):
    """One or more levels of log lines, with commas between them."""

    def __init__(self, **options: Any) -> None:
        form = {"type": "string", "pattern": f"^[^,]{{1,{LONGEST_LEVEL}}}(,[^,]{{1,{LONGEST_LEVEL}}})*$"}
        super().__init__(load_default=tuple, spec=form, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value.split(",")))


class NumberText(Described):
    """A whole number."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec={"type": "integer", "minimum": 0, "maximum": 999_999_999}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        return whole(value)


class LogsQuery(Query):
    """Which part of a log."""

    limit = LimitText(MOST_LINES, MOST_LINES)
    cursor = LineCursor()
    level = LevelsText()
    attempt = NumberText()
    wait = SecondsText(LONGEST_WAIT)
    format = ChoiceText("json", "text", load_default=absent)


class LogPage(Response):
    """A page of log lines; ``resume`` is the cursor after the last of them, ``ended`` that no more will come."""

    items = Items(Inner(LogLineResponse))
    next = Text(allow_none=True)
    resume = Text()
    ended = Flag()
