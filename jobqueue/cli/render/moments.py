"""Dates of documents as spans of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.cli.render.output import duration
from jobqueue.domain.values import iso8601

if TYPE_CHECKING:
    from datetime import datetime


def span(start: str, end: str) -> float:
    """Return the seconds between two dates of a document."""
    return (iso8601.moment(end) - iso8601.moment(start)).total_seconds()


def ago(date: str | None, now: datetime) -> str:
    """Return the time since a date of a document, such as ``3h``; nothing without a date."""
    return "" if date is None else duration((now - iso8601.moment(date)).total_seconds())


def ahead(date: str, now: datetime) -> str:
    """Return the time until a date of a document."""
    return duration((iso8601.moment(date) - now).total_seconds())


def exact(seconds: float) -> str:
    """Return a time span in the largest unit of which it is a whole number, such as ``90m``."""
    return next(
        (f"{seconds // size:g}{unit}" for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)) if not seconds % size),
        f"{seconds:g}s",
    )
