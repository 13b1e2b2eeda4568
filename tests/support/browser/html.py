"""Pages as trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bs4 import BeautifulSoup

if TYPE_CHECKING:
    from bs4 import Tag


def parsed(text: str) -> BeautifulSoup:
    """Return a page, or a part of a page, as a tree."""
    return BeautifulSoup(text, "html.parser")


def words(node: Tag) -> str:
    """Return the text of a node with single blanks, without that of its scripts."""
    return " ".join(node.get_text(" ").split())


def first(node: Tag, selector: str) -> Tag:
    """Return the first node that a CSS selector finds, of those there must be one."""
    tag = node.select_one(selector)
    assert tag is not None, f"no {selector} in {words(node)[:500]}"
    return tag
