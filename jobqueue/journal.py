"""The log of the program, as structured events on the standard library's logging.

The user's own logging configuration applies; without one, nothing is printed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose calls take an event and named values: ``log.info("job reaped", job_id=…)``."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.filter_by_level, _render],
        cache_logger_on_first_use=True,
    )
    return logger


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """Return the arguments for the standard logger: the text, and the values as ``fields`` for formatters."""
    exc_info = event.pop("exc_info", None)
    name = str(event.pop("event", ""))
    values = " ".join(f"{key}={value!r}" if " " in str(value) else f"{key}={value}" for key, value in event.items())
    return (f"{name} {values}".rstrip(),), {"exc_info": exc_info, "extra": {"event": name, "fields": dict(event)}}
