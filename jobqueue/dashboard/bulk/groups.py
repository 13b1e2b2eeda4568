"""Groups of failures as tables show them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import parsed
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.dashboard.frame.view import View

_VARYING: Final = re.compile(r"(<(?:text|path|worker|time|id|n|email|host|url(?: [^<>\s]{1,100})?)>)")
_MARKS: Final = {"<n>": "#", "<text>": "…", "<id>": "…"}
_NEW: Final = timedelta(hours=24)
_LONGEST: Final = 300
_KEPT_SECONDS: Final = 0.9


async def shown_groups(view: View, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a page of groups of failures; ``problem`` says why there is none."""
    try:
        page = await view.ask_kept(_KEPT_SECONDS, "/v1/failures", query)
    except InvalidInputError as error:
        texts = [text for texts in error.problems.values() for text in texts]
        return {"items": [], "next": None, "problem": "; ".join(texts)}
    return {"items": [shown(group, view.now) for group in page["items"]], "next": page["next"], "problem": ""}


def shown(group: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a group with its message in parts, and whether it is new."""
    first = parsed(group["firstAt"])
    return {**group, "parts": parts(title(group)), "is_new": first is not None and now - first < _NEW}


def title(group: Mapping[str, Any]) -> str:
    """Return the kind and the message of a group as one text."""
    kind, message = group["kind"], group["message"]
    return message if not kind or message.startswith(kind) else f"{kind}: {message}" if message else kind


def parts(text: str) -> list[tuple[str, bool]]:
    """Return the parts of a message, each with whether it differs from job to job."""
    line = " ".join(text.split())
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
    split = _VARYING.split(line)
    return [
        (_MARKS.get(part, part.strip("<>")) if place % 2 else part, bool(place % 2))
        for place, part in enumerate(split)
        if part
    ]
