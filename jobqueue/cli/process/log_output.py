"""Set up the log of the process: lines on stderr, as text or JSON, without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import stamina

from jobqueue.cli.render.output import plain
from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from typing import TextIO

    from jobqueue.settings import Settings

_SECRETS: Final = (
    (re.compile(r"://[^@/\s\"']*@"), "://***@"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]+"), "whsec_***"),
    (re.compile(r"\bjq_([a-z0-9]{8})_[A-Za-z0-9_-]{20,}"), r"jq_\1_***"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
)
_MARKS: Final = ("://", "whsec_", "jq_", "bearer", "basic")
"""Text without any of these, in lower case, has no secret."""
_AS_JSON: Final = json.JSONEncoder(ensure_ascii=False).encode
_CHATTY: Final = ("pymongo", "asyncio", "aiohttp.access")
"""Loggers that are limited to warnings."""


def configure(settings: Settings, *, service: bool, stream: TextIO | None = None) -> None:
    """Set up the log as the settings say.

    Args:
        settings: ``log_level`` and ``log_format``.
        service: the process is a service. A command logs warnings only, as text, unless the settings differ.
        stream: the output; stderr if not given.
    """
    stream = stream or sys.stderr
    level = settings.log_level
    if not service and settings.sources.get("log_level", "default") == "default":
        level = "warning"
    style = settings.log_format
    if style == "auto":
        style = "text" if stream.isatty() or not service else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if style == "text" else JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(capture=True)
    _record_less()
    # The default hooks print arguments to stdout; callers log their own retries.
    stamina.instrumentation.set_on_retry_hooks([])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


def _record_less() -> None:
    """Leave out of each record what the formatters do not show, as the documentation of logging advises.

    Looking for the place of the call, the thread and the process takes a third of the time of a log line.
    """
    logging._srcfile = None  # noqa: SLF001 - the documented way
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def redact(text: str) -> str:
    """Return text without the credentials of URLs and headers, and without webhook secrets."""
    if text.isascii():
        lower = text.lower()
        if not any(mark in lower for mark in _MARKS):
            return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class TextFormatter(logging.Formatter):
    """Lines for people: time, level, what happened and its values; a traceback on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        line = plain(f"{time} {record.levelname.lower():<8} {record.getMessage()}")
        if record.exc_info and record.exc_info[0] is not None:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line)


class JsonFormatter(logging.Formatter):
    """Lines for programs: one JSON object each."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        entry: dict[str, Any] = {
            "time": json_form.date(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "event", None) or record.getMessage(),
        }
        entry |= {name: json_form.value(value) for name, value in fields.items() if name not in entry}
        if record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = self.formatException(record.exc_info)
        return redact(_AS_JSON(entry))
