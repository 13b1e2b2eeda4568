"""The templates, and the values that all of them know."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined

from jobqueue.dashboard.frame import texts
from jobqueue.dashboard.frame.around import NOTHING
from jobqueue.dashboard.frame.page import RAIL
from jobqueue.dashboard.frame.static_files import address
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.attempts.states import State

if TYPE_CHECKING:
    from jinja2.bccache import Bucket

    from jobqueue.dashboard.frame.around import Around
    from jobqueue.dashboard.frame.view import View


class CompiledTemplates(FileSystemBytecodeCache):
    """Compiled templates, kept between processes in a temporary directory that only this user may write to.

    Compiling takes a third of a second for the first pages of each process. Where nothing can be stored, each process
    compiles its own.
    """

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load what is stored, if it can be read."""
        with suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store a compiled template, if there is room."""
        with suppress(OSError):
            super().dump_bytecode(bucket)


def compiled_templates() -> CompiledTemplates | None:
    """Return the store of compiled templates; ``None`` where there is no safe temporary directory."""
    try:
        return CompiledTemplates(pattern="jobqueue-%s.cache")
    except (OSError, RuntimeError):
        return None


ENVIRONMENT: Final = Environment(
    loader=PackageLoader("jobqueue.dashboard", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    bytecode_cache=compiled_templates(),
)
"""Every value is escaped, and an unknown name is an error."""
ENVIRONMENT.filters.update(
    number=texts.number,
    count=texts.count,
    span=texts.span,
    about=texts.about,
    clock=texts.clock,
    size=texts.size,
    tail=texts.short,
    sentence=texts.sentence,
    shorten=texts.shorten,
    part=quoted,
    coarse=texts.coarse,
    combined=lambda fields, **more: {**fields, **more},
)


def link(path: str, **query: Any) -> str:
    """Return a path with a query; parameters that are ``None`` are left out."""
    given = {name.rstrip("_"): value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, safe=':,')}" if given else path


ENVIRONMENT.globals.update(
    link=link, rail=RAIL, address=address, between=texts.between, STATES=[state.value for state in State]
)


def rendered(
    template: str,
    view: View,
    *,
    nav: str,
    fragment: bool,
    events: str | None,
    around: Around = NOTHING,
    **values: Any,
) -> str:
    """Return a page, or its inner part only.

    Args:
        template: of the page.
        view: the visit.
        nav: the present entry of the rail.
        fragment: only the inner part, which replaces that of a page that is shown already.
        events: the address of the event stream that the page follows.
        around: the counts in the rail, and the operations that run.
        values: variables of the template.
    """
    times = texts.Times(view.now, view.preferences)
    return ENVIRONMENT.get_template(template).render(
        view=view,
        layout="frame/fragment.html" if fragment else "frame/layout.html",
        nav=nav,
        events=events,
        around=around,
        ago=times.relative,
        since=times.since,
        at=times.absolute,
        told=times.told,
        **values,
    )
