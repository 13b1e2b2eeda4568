"""Memory of bounded size."""

from __future__ import annotations

import pytest

from jobqueue.lru_cache import LruCache


def test_the_value_that_was_used_longest_ago_is_forgotten_first() -> None:
    recent: LruCache[str, int] = LruCache(2)
    assert recent.keep("a", 1) is None
    assert recent.keep("b", 2) is None
    assert recent.get("a") == 1
    assert recent.keep("c", 3) == "b"
    assert recent.keep("c", 4) is None
    assert (list(recent), len(recent), recent.get("b")) == (["a", "c"], 2, None)


def test_a_mere_look_is_no_use() -> None:
    recent: LruCache[str, int] = LruCache(2)
    recent.keep("a", 1)
    recent.keep("b", 2)
    assert recent.peek("a") == 1
    assert recent.keep("c", 3) == "a"
    with pytest.raises(KeyError):
        recent.peek("a")


def test_a_value_can_be_forgotten_at_will() -> None:
    recent: LruCache[str, int] = LruCache(2)
    recent.keep("a", 1)
    assert (recent.forget("a"), recent.forget("a"), len(recent)) == (1, None, 0)
