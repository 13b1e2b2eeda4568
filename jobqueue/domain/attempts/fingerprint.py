"""Fingerprints of failures: the same mistake has the same fingerprint, whatever its ids and numbers."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.traceback_text import origin

if TYPE_CHECKING:
    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.traceback_text import Origin

LENGTH: Final = 16
"""Hex digits of a fingerprint."""
_LOOKED_AT: Final = 1000
_LONGEST: Final = 300
_MOST_ID: Final = 128
# No part can be tried at many places of one run of characters: the time is in proportion to the length.
_VARIES: Final = re.compile(
    r"""
    (?P<code> ^ (?: exit\ code\ -?\d{1,10} | the\ webhook\ answered\ \d{3} ) \b )
  | (?P<host> (?<!\w) host= (?: '[\w.:-]++' | "[\w.:-]++" ) )
  | (?P<url> \b [a-z][a-z0-9+.-]{1,20} :// [^\s'"<>]++ )
  | (?P<email> (?<![\w.+-]) [\w.+-]{1,64} @ [\w-]{1,63} (?: \. [\w-]{1,63} ){1,8} )
  | (?P<text> "[^"\n]*+" | `[^`\n]*+` | (?<!\w)'[^'\n]*+'(?!\w) | «[^»\n]*+» | “[^”\n]*+” )
  | (?P<path> (?<![\w.<\\/]) (?: ~ | \.{1,2} | [A-Za-z]: )?+ (?: [\\/] [\w.@+=~%,-]++ )++ [\\/]?+ )
  | (?P<worker> (?<![\w.-]) [\w.-]{1,253}+ : \d{1,10} : [0-9a-f]{6} \b )
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
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]{1,20}://([^\s'\"<>/?#\\]*+)")
_ADDRESS: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_NOT_OF_HOSTS: Final = re.compile(r"[^\w.:-]")
_UUID: Final = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])")
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w.:-]*+(?:\[\])?")
_WORD: Final = re.compile(r"[^\W_]++")
_DIGITS: Final = re.compile(r"\d++")
_HEX_ID: Final = re.compile(r"(?=[a-fA-F]*+\d)[0-9a-fA-F]{8,}+")
_TOKEN: Final = re.compile(r"[^\W_]{8,}+")
_LONGEST_WORD: Final = 20
_SHORT_NUMBER: Final = 3
# Texts in quotes name a part of the code, or a field, in messages of these; in others they are data of a case.
_NAMING: Final = frozenset(
    {
        *("AttributeError", "ImportError", "KeyError", "ModuleNotFoundError", "NameError"),
        *("FrozenInstanceError", "TypeError", "UnboundLocalError"),
        *("UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError"),
    }
)
_NAMED: Final = re.compile(rf"(?<![\w.])(?:\w{{1,50}}\.){{0,5}}({'|'.join(sorted(_NAMING))})(:[ ]|\()")
_QUOTED: Final = re.compile(r"'((?:[^'\\\n]|\\.)*+)'|\"((?:[^\"\\\n]|\\.)*+)\"")


def template(message: str, kind: str = "") -> str:
    """Return a message without its varying parts: ``user <n> has no file <path>``.

    Hosts of URLs stay. Names in quotes stay in messages of Python's own exceptions that name a key or a part of the
    code, such as ``KeyError``.

    Args:
        message: the text.
        kind: the name of the exception, if it is known.
    """
    text = message[:_LOOKED_AT]
    named = _NAMED.search(text)
    if named is not None:
        plain = _reduced(text[: named.start()], names=False) + named[1] + named[2] + _inside(text[named.end() :])
    elif _last(kind) in _NAMING or _QUOTED.fullmatch(text.strip()):
        plain = _inside(text)
    else:
        plain = _reduced(text, names=False)
    return _SPACE.sub(" ", plain).strip()[:_LONGEST].rstrip()


def summary(error: JobError) -> tuple[str, str | None]:
    """Return the template of the message and the place in the code, which the errors of a group share."""
    place = _origin(error)
    return _template(error, place), None if place is None else f"{place.file} in {place.function}"


def fingerprint(kind: str, error: JobError | None) -> str:
    """Return the fingerprint of a job's type and error; it is the same for all jobs with the same mistake."""
    why = ["", ""] if error is None else _why(error)
    # A lone surrogate may come from another program.
    said = json.dumps([kind, *why]).encode()
    return hashlib.sha256(said).hexdigest()[:LENGTH]


def _why(error: JobError) -> list[str]:
    place = _origin(error)
    why = [error.kind, _template(error, place)]
    if place is None:
        return why
    why += [_stable(place.file), place.function]
    # The cause of an error, or an error that a program names only in its trace.
    cause = [place.error, template(place.message, place.error)]
    return why if cause == [_last(error.kind), why[1]] else [*why, *cause]


def _origin(error: JobError) -> Origin | None:
    # A trace that was spoilt after it was made must not keep its outcome from being recorded.
    return origin(error.trace, error.kind) if isinstance(error.trace, str) else None


def _template(error: JobError, place: Origin | None) -> str:
    return template(error.message, error.kind if _last(error.kind) in _NAMING or place is None else place.raised)


def _last(kind: str) -> str:
    return kind.rpartition(".")[2]


def _inside(message: str) -> str:
    """Return the template of a message that names something; a message may be a key, as of a `KeyError`."""
    whole = _QUOTED.fullmatch(message.strip())
    if whole is None:
        return _reduced(message, names=True)
    key = whole[1] if whole[1] is not None else whole[2]
    return f"'{_name(key) or _reduced(key, names=True)}'"


def _reduced(text: str, *, names: bool) -> str:
    return _VARIES.sub(lambda match: _replaced(match, names=names), text)


def _replaced(match: re.Match[str], *, names: bool) -> str:
    group, text = str(match.lastgroup), match[0]
    match group:
        case "code":
            return text
        case "host":
            return f"host={_host(text[6:-1])}"
        case "url":
            return _url(text)
        case "text":
            if urls := [_url(url[0]) for url in _URL.finditer(text)]:
                return " ".join(urls)
            if names and (name := _name(text[1:-1])) is not None:
                return f"'{name}'"
    return f"<{group}>"


def _url(text: str) -> str:
    match = _URL.match(text)
    host = _host(match[1].rpartition("@")[2]) if match else ""
    return f"<url {host}>" if host else "<url>"


def _host(text: str) -> str:
    """Return a host without its port; ids and long numbers in its name are left out."""
    first = text.lower().partition(",")[0]
    if first.startswith("["):
        first = first[1:].partition("]")[0]
    elif first.count(":") == 1:
        first = first.partition(":")[0]
    host = _NOT_OF_HOSTS.sub("", first[:_MOST_ID]).rstrip(".-")
    if _ADDRESS.fullmatch(host) or ":" in host:
        return host
    return _WORD.sub(lambda word: _kept_number(word[0]), _UUID.sub("<id>", host))


def _name(text: str) -> str | None:
    """Return a quoted name without its varying parts; ``None`` for another text."""
    if len(text) > _MOST_ID or not _IDENTIFIER.fullmatch(text):
        return None
    return _WORD.sub(lambda word: _DIGITS.sub("<n>", _id(word[0])), _UUID.sub("<id>", text))


def _stable(file: str) -> str:
    """Return the name of a file without ids."""
    return _WORD.sub(lambda word: _kept_number(word[0]), _UUID.sub("<id>", file[:_MOST_ID]))


def _kept_number(word: str) -> str:
    word = _id(word)
    return _DIGITS.sub(lambda number: number[0] if len(number[0]) <= _SHORT_NUMBER else "<n>", word)


def _id(word: str) -> str:
    """Return ``<id>`` for a word that looks like an id, or else the word."""
    numbers = len(_DIGITS.findall(word))
    is_id = _HEX_ID.fullmatch(word) or (numbers > 1 and _TOKEN.fullmatch(word))
    return "<id>" if is_id or (numbers and len(word) >= _LONGEST_WORD) else word


def check_fingerprint(value: Any, path: str = "fingerprint") -> str:
    """Return a fingerprint, or raise `InvalidInputError`."""
    if isinstance(value, str) and len(value) == LENGTH and not set(value) - set("0123456789abcdef"):
        return value
    raise InvalidInputError({path: [f"must be {LENGTH} hexadecimal digits"]})
