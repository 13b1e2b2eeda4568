"""Cells of the manual know the heading of their column, for screens on which a table is a list."""

from __future__ import annotations

from docutils import nodes  # type: ignore[import-untyped]
from docutils.core import publish_doctree  # type: ignore[import-untyped]

from docs.extension import tables
from tests.support.docs.readme import ROOT

TABLE = """\
======= =======
setting default
======= =======
port    8080
db      jobs
======= =======
"""


def test_each_cell_has_the_heading_of_its_column_and_is_written_with_it() -> None:
    page = publish_doctree(TABLE)
    tables.label(None, page)  # type: ignore[arg-type]
    cells = [cell for body in page.findall(nodes.tbody) for cell in body.findall(nodes.entry)]
    assert [cell["heading"] for cell in cells] == ["setting", "default"] * 2
    cells[0]["heading"] = 'a "b"'
    assert "data-heading" in (ROOT / "docs" / "static" / "manual.css").read_text(encoding="utf-8")
    assert tables.opening("<td>", cells[0]) == '<td data-heading="a &quot;b&quot;">'
    assert tables.opening("<td>", nodes.entry()) == "<td>"
