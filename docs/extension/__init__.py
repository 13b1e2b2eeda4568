"""Parts of the manual that are written by programs when it is built: the HTTP API and the command line.

A line ``<!-- generated: NAME ARGUMENTS -->`` of a page stands for such a part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from docs.extension import command_pages, http_pages, navigation, schema_pages, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sphinx.application import Sphinx

_MARK: Final = re.compile(r"^<!-- generated: (\S+)(?: (.*?))? -->$", re.MULTILINE)
PARTS: Final[Mapping[str, Callable[..., str]]] = {
    "commands": command_pages.commands,
    "http": http_pages.routes,
    "schemas": schema_pages.schemas,
}


def filled(text: str) -> str:
    """Return a page with its generated parts."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](*(mark[2] or "").split()), text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Make Sphinx fill pages as it reads them."""
    app.connect("source-read", _read)
    app.connect("doctree-read", tables.label)
    app.set_translator("html", tables.Translator)
    app.connect("html-page-context", navigation.use_titles, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _read(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = filled(source[0])
