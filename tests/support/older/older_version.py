"""Version 0.3.0, which knows no steps: as it was where git has it, and its statements word for word."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any, Final

_SUBJECT: Final = "^Be 0[.]3[.]0"
"""Of the commit that is version 0.3.0; a shallow clone lacks it."""
_NEEDED: Final = ("environs",)
"""Dependencies of version 0.3.0 that this version does not have."""
_HOME: Final = Path(__file__).parents[3]
Document = dict[str, Any]


def archive() -> bytes | None:
    """Return the package of version 0.3.0 as a tar file; ``None`` where git, or what it depends on, is not there."""
    if not all(importlib.util.find_spec(name) for name in _NEEDED):
        return None
    commit = _git("rev-list", "--max-count=1", f"--grep={_SUBJECT}", "HEAD").decode().strip()
    return _git("archive", "--format=tar", commit, "jobqueue") if commit else None


def _git(*words: str) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=_HOME, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


def unpack(packed: bytes, directory: Path) -> Path:
    """Write the package into a directory, for ``PYTHONPATH``."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(directory, filter="data")
    return directory


def is_paused(config: Document | None, queue: str) -> bool:
    """Tell whether it claims nothing from a queue: it reads ``paused`` like this before each claim."""
    queues = (config or {}).get("queues")
    known = queues if isinstance(queues, dict) else {}
    return bool(known.get(queue, {}).get("paused"))


def promotion() -> Document:
    """Return its update of due jobs."""
    return {"$set": {"state": "pending"}}


def claimable(queue: str) -> Document:
    """Return its filter of a claim."""
    return {"queue": queue, "state": "pending"}
