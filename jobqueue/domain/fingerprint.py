"""What went wrong, told so that the same mistake looks the same: without the ids, numbers and names of each case."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jobqueue.domain.job import JobError

LENGTH: Final = 16
"""Hex digits of a fingerprint."""
_LOOKED_AT: Final = 1000
_LONGEST: Final = 300
# No part can be tried at many places of one run of characters: the time is in proportion to the length.
_VARIES: Final = re.compile(
    r"""
    (?P<url> \b [a-z][a-z0-9+.-]{1,20} :// [^\s'"<>]++ )
  | (?P<email> (?<![\w.+-]) [\w.+-]{1,64} @ [\w-]{1,63} (?: \. [\w-]{1,63} ){1,8} )
  | (?P<text> "[^"\n]*+" | `[^`\n]*+` | (?<!\w)'[^'\n]*+'(?!\w) | «[^»\n]*+» | “[^”\n]*+” )
  | (?P<path> (?<![\w.<\\/]) (?: ~ | \.{1,2} | [A-Za-z]: )?+ (?: [\\/] [\w.@+=~%,-]++ )++ [\\/]?+ )
  | (?P<time> \d{4}-\d\d-\d\d (?: [T\ ] \d\d:\d\d (?: :\d\d (?: [.,]\d{1,9} )? )? (?: Z | [+-]\d\d:?\d\d )? )? )
  | (?P<id> \b [0-9a-fA-F]{8} (?: -[0-9a-fA-F]{4} ){3} -[0-9a-fA-F]{12} \b
          | \b 0[xX][0-9a-fA-F]++ \b
          | \b (?= [a-fA-F]*+ \d ) [0-9a-fA-F]{8,}+ \b
          | \b (?= [^\W\d]*+ \d ) \w{20,}+ \b )
  | (?P<n> \d++ (?: [.,:] \d++ )*+ )
    """,
    re.VERBOSE,
)
_SPACE: Final = re.compile(r"\s++")


def template(message: str) -> str:
    """Return a message with what differs from case to case left out: ``user <n> has no file <path>``."""
    plain = _VARIES.sub(lambda found: f"<{found.lastgroup}>", message[:_LOOKED_AT])
    return _SPACE.sub(" ", plain).strip()[:_LONGEST].rstrip()


def fingerprint(kind: str, error: JobError | None) -> str:
    """Return the same text for jobs of one type that ended in the same way.

    Args:
        kind: the type of the job.
        error: why it ended.
    """
    why = ["", ""] if error is None else [error.kind, template(error.message)]
    # A lone surrogate may come from another program.
    said = json.dumps([kind, *why]).encode()
    return hashlib.sha256(said).hexdigest()[:LENGTH]
