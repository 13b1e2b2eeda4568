"""A navigation that is made quickly: it shows titles of pages only, so it needs no headings within pages.

Without this each page costs a copy of all headings of the manual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def use_titles(app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: nodes.document) -> None:
    """Give the theme the titles of pages for its navigation."""
    environment = app.env
    make = context["toctree"]
    if not hasattr(app, "jobqueue_titles"):
        app.jobqueue_titles = {name: _titles(toc) for name, toc in environment.tocs.items()}  # type: ignore[attr-defined]

    def toctree(**options: Any) -> str:
        whole = environment.tocs
        environment.tocs = app.jobqueue_titles  # type: ignore[attr-defined]
        try:
            made: str = make(**options)
            return made
        finally:
            environment.tocs = whole

    context["toctree"] = toctree


def _titles(toc: nodes.bullet_list) -> nodes.bullet_list:
    """Return the contents of a page without headings, except for its title and the pages below it."""
    kept: nodes.bullet_list = toc.deepcopy()
    if kept.children:
        page = kept.children[0]
        below = list(kept.findall(addnodes.toctree))
        page.children = page.children[:1]
        if below:
            page += nodes.bullet_list("", *below)
    return kept
