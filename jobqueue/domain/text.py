"""Text of bounded size in UTF-8."""

from __future__ import annotations

from typing import Final

_MARK: Final = " … (cut short)"
_GAP: Final = "\n… (cut short) …\n"
_LONGEST_TOLD: Final = 16 * 1024
_LONGEST_NAME: Final = 200
_LONGEST_WORDS: Final = 1000


def clean(text: str) -> str:
    """Return the text as valid Unicode: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def cut(text: str, most: int) -> str:
    """Return the text, or its beginning and a mark, in at most ``most`` bytes."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most:
        return encoded.decode()
    return encoded[: most - len(_MARK.encode())].decode("utf-8", "ignore") + _MARK


def split(text: str, most: int) -> list[str]:
    """Return the text in parts of at most ``most`` bytes; together they are the text."""
    encoded = text.encode("utf-8", "replace")
    parts = []
    while len(encoded) > most:
        end = most
        while encoded[end] & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
            end -= 1
        parts.append(encoded[:end].decode())
        encoded = encoded[end:]
    return [*parts, encoded.decode()]


def cut_middle(text: str, most: int) -> str:
    """Return the text, or its beginning, a mark and its end, in at most ``most`` bytes."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most:
        return encoded.decode()
    room = most - len(_GAP.encode())
    head, tail = encoded[: room // 2], encoded[len(encoded) - room // 2 :]
    return head.decode("utf-8", "ignore") + _GAP + tail.decode("utf-8", "ignore")


def type_name(value: object) -> str:
    """Return the qualified name of the value's type, without asking its metaclass."""
    return cut(str(type.__dict__["__qualname__"].__get__(type(value))), _LONGEST_NAME)


def told(value: object) -> str:
    """Return the text of any object, at most 16 Ki characters; an error of its ``__str__`` becomes the text."""
    try:
        return _text(value)
    except BaseException as error:  # noqa: BLE001 - the code of other people may raise anything
        try:
            why = f"{type_name(error)}: {_text(error)}"
        except BaseException:  # noqa: BLE001 - as above
            why = type_name(error)
        return f"{type_name(value)}, whose __str__ raised {why}"


def _text(value: object) -> str:
    # A subclass of str may have an `encode` of its own; the slice is a plain str.
    return clean(str.__getitem__(str(value), slice(_LONGEST_TOLD)))


def words(error: BaseException) -> str:
    """Return the kind and the text of an error, in at most 1,000 bytes."""
    said, kind = told(error), type_name(error)
    return cut(f"{kind}: {said}" if said else kind, _LONGEST_WORDS)
