from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.processors.commands.lines import LONGEST, Lines


def cut(*chunks: bytes, lines: Lines | None = None) -> list[bytes]:
    lines = lines or Lines()
    return [line for chunk in chunks for line in lines.feed(chunk)] + lines.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"\n\na\n", [b"", b"", b"a"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"10%\r20%\r\n", [b"10%", b"20%"]),
        (b"\r10%\r20%\n", [b"10%", b"20%"]),
        (b"start\n\r10%", [b"start", b"10%"]),
        (b"a\r\r\nb", [b"a", b"b"]),
        (b"\xff\xfe\n", [b"\xff\xfe"]),
    ],
)
def test_a_line_ends_with_any_of_the_three_line_ends(text: bytes, expected: list[bytes]) -> None:
    assert cut(text) == expected


def test_a_progress_bar_is_seen_as_it_is_drawn() -> None:
    lines = Lines()

    assert lines.feed(b"10%\r") == [b"10%"]
    assert lines.feed(b"20%\r") == [b"20%"]
    assert lines.feed(b"\n") == []
    assert lines.feed(b"done\n") == [b"done"]


@given(st.lists(st.text(alphabet="ab:\r\n").map(str.encode)))
def test_how_the_stream_is_chopped_makes_no_difference(chunks: list[bytes]) -> None:
    assert cut(*chunks) == cut(b"".join(chunks))


@given(st.lists(st.text(alphabet="ab: \n").map(str.encode)))
def test_skipping_loses_no_line_with_a_meaning(chunks: list[bytes]) -> None:
    lines = Lines()
    found = [line for chunk in chunks for line in lines.skip(chunk)] + lines.finish()

    def meaningful(among: list[bytes]) -> list[bytes]:
        return [line for line in among if line.startswith(b"::")]

    assert meaningful(found) == meaningful(cut(b"".join(chunks)))


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
def test_a_line_without_end_comes_in_parts_that_tear_no_character(character: str) -> None:
    text = "y" + character * LONGEST
    encoded = text.encode()

    parts = cut(*(encoded[start : start + 1000] for start in range(0, len(encoded), 1000)))

    assert b"".join(parts) == encoded
    assert "".join(part.decode() for part in parts) == text
    assert all(LONGEST - 4 < len(part) <= LONGEST for part in parts[:-1])


def test_what_is_not_text_is_cut_all_the_same() -> None:
    noise = b"\x80" * (2 * LONGEST + 5)

    assert [len(part) for part in cut(noise)] == [LONGEST, LONGEST, 5]


def test_a_line_that_must_be_whole_is_whole_and_otherwise_ends_at_its_limit() -> None:
    def fresh() -> Lines:
        return Lines((b"::result",), 3 * LONGEST)

    whole = b"::result " + b"x" * 2 * LONGEST
    assert cut(whole[:50_000], whole[50_000:], b"\nnext\n", lines=fresh()) == [whole, b"next"]

    endless = [b"::result ", *[b"x" * 1000] * 1000, b"\n", b"next\n"]
    assert [len(line) for line in cut(*endless, lines=fresh())] == [3 * LONGEST + 1, 4]


def test_skipping_through_a_line_that_is_dropped_leaves_the_next_one_alone() -> None:
    lines = Lines((b"::result",), 10)

    assert len(lines.feed(b"::result " + b"x" * 100)) == 1
    assert lines.skip(b"more of it") == []
    assert lines.skip(b"still\n") == []
    assert lines.feed(b"next\n") == [b"next"]
