from __future__ import annotations

from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.attempt import LONGEST_KIND, LONGEST_MESSAGE, LONGEST_TRACE, JobError
from jobqueue.domain.text import clean, cut, split, told, words
from tests.unit.jobs.domain_strategies import modest

texts = st.text(max_size=60) | st.text("aé€😀", max_size=60)
broken = st.text(st.characters(), max_size=30) | st.text("a\ud800\udfff😀", max_size=30)


@modest
@given(texts, st.integers(4, 80))
def test_the_parts_of_a_text_are_short_enough_and_together_the_text(text: str, most: int) -> None:
    parts = split(text, most)
    assert "".join(parts) == text
    assert all(len(part.encode()) <= most for part in parts)


@modest
@given(texts, st.integers(4, 80))
def test_no_part_is_empty_but_that_of_an_empty_text(text: str, most: int) -> None:
    assert all(split(text, most)) or text == ""
    assert len(split(text, most)) >= 1


@modest
@given(broken, st.integers(4, 80))
def test_lone_surrogates_become_question_marks_in_every_part(text: str, most: int) -> None:
    assert "".join(split(text, most)) == clean(text)


@modest
@given(broken)
def test_a_clean_text_can_be_encoded_and_stays_as_it_is(text: str) -> None:
    once = clean(text)
    assert clean(once.encode().decode()) == once
    assert len(once) == len(text)


@modest
@given(texts, st.integers(20, 80))
def test_a_cut_text_is_short_enough_and_begins_as_the_text_does(text: str, most: int) -> None:
    shown = cut(text, most)
    assert len(shown.encode()) <= most
    assert shown == text or text.startswith(shown.removesuffix(" … (cut short)"))


@modest
@given(texts, st.integers(20, 80))
def test_only_a_text_that_is_too_long_is_cut(text: str, most: int) -> None:
    assert (cut(text, most) == text) == (len(text.encode()) <= most)


@pytest.mark.parametrize("character", ["a", "é", "€", "😀", "\ud800"])
def test_the_message_and_the_trace_of_an_error_are_bounded_by_bytes(character: str) -> None:
    error = JobError(kind="x", message=character * 20_000, trace=character * 20_000)
    assert LONGEST_MESSAGE - 4 <= len(error.message.encode()) <= LONGEST_MESSAGE
    assert LONGEST_TRACE - 4 <= len((error.trace or "").encode()) <= LONGEST_TRACE


class Mute:
    def __str__(self) -> str:
        raise SystemExit(3)


class Named(str):  # noqa: SLOT000 - as careless as others' types are
    """Text that is more than text."""

    def encode(self, *_: Any) -> bytes:
        raise UnicodeError("never asked")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("a", "a"), (Named("a"), "a"), (5, "5"), (None, "None"), (["a"], "['a']"), (ValueError("bad"), "bad")),
        *((Mute(), "Mute, whose __str__ raised SystemExit: 3"), (b"a", "b'a'")),
    ],
    ids=lambda part: type(part).__name__,
)
def test_anything_can_be_the_reason_of_an_outcome(value: Any, text: str) -> None:
    assert told(value) == text
    error = JobError(kind=value, message=value, trace=value)
    assert (error.kind, error.message) == (text, text)
    assert type(error.message) is str
    assert bson.encode({"kind": error.kind, "message": error.message, "trace": error.trace})


def test_the_kind_of_an_error_is_bounded_and_valid_unicode() -> None:
    error = JobError(kind="\ud800" + "K" * 10_000, message="")
    assert len(error.kind.encode()) <= LONGEST_KIND
    assert error.kind.startswith("?KKK")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (ValueError(Mute()), "ValueError: ValueError, whose __str__ raised SystemExit: 3"),
    ],
)
def test_an_error_is_told_by_its_kind_and_its_text(error: BaseException, said: str) -> None:
    assert words(error) == said
