"""Tables that narrow screens show as a list: each cell knows the heading of its column."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.writers.html5 import HTML5Translator

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def label(_app: Sphinx, doctree: nodes.document) -> None:
    """Note in each cell of a table the heading of its column."""
    for group in doctree.findall(nodes.tgroup):
        heads = [head for head in group.children if isinstance(head, nodes.thead)]
        titles = [cell.astext() for head in heads for row in head.children[-1:] for cell in row.children]
        for row in (row for body in group.children if isinstance(body, nodes.tbody) for row in body.children):
            for cell, title in zip(row.children, titles, strict=False):
                cell["heading"] = title


def opening(tag: str, cell: nodes.Element) -> str:
    """Return the tag that opens a cell, with the heading of its column."""
    heading = cell.get("heading")
    return tag.replace("<td", f'<td data-heading="{html.escape(heading)}"', 1) if heading else tag


class Translator(HTML5Translator):
    """A writer of pages whose cells have ``data-heading``."""

    def visit_entry(self, node: Any) -> None:
        """Open a cell."""
        super().visit_entry(node)
        self.body[-1] = opening(self.body[-1], node)
