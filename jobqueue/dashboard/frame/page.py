"""A page of the dashboard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.dashboard.frame.acts.form import Deed, Preview, Sent
from jobqueue.dashboard.frame.view import View

if TYPE_CHECKING:
    from jobqueue.domain.access.access import Role

Load = Callable[[View], Awaitable[dict[str, Any]]]
Act = Callable[[View, Sent], Awaitable[Deed | Preview]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page.

    Attributes:
        path: as in the application's router.
        template: below ``templates``; it extends ``layout`` and fills the blocks ``title`` and ``main``.
        load: returns the variables of the template.
        nav: the entry of the rail that is shown as the present one.
        events: the query of the event stream after which the page is fetched again, such as ``queue=mail``; ``None``
            for a page that follows no jobs. It may name parts of the path in braces.
        role: that a visitor needs.
        act: carries out the form of the page, which then takes ``POST`` too, as ``frame/acting.py`` says.
        act_role: that the sender of the form needs, if it is another one.
    """

    path: str
    template: str
    load: Load
    nav: str = ""
    events: str | None = ""
    role: Role = "read"
    act: Act | None = None
    act_role: Role | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of the rail.

    Attributes:
        key: that opens the page after ``g``.
        icon: a symbol of the sprite, without its ``i-``.
        is_minor: on a narrow screen the entry is in the menu behind *More*.
        starts_group: a gap is above the entry.
        is_counted: a number is beside the entry.
    """

    name: str
    path: str
    key: str
    icon: str
    short: str = ""
    is_minor: bool = False
    starts_group: bool = False
    is_counted: bool = False


RAIL = (
    Entry(name="Overview", path="/", key="o", icon="overview"),
    Entry(name="Jobs", path="/jobs", key="j", icon="jobs"),
    Entry(name="Failures", path="/failures", key="f", icon="failures", is_counted=True),
    Entry(name="Batches", path="/batches", key="b", icon="batches", is_minor=True, starts_group=True),
    Entry(name="Waiting for you", path="/inbox", key="i", icon="inbox", short="Waiting", is_counted=True),
    Entry(name="Queues", path="/queues", key="q", icon="queues", is_minor=True, starts_group=True),
    Entry(name="Schedules", path="/schedules", key="s", icon="schedules", is_minor=True),
    Entry(name="Workers", path="/workers", key="w", icon="workers", is_minor=True),
    Entry(
        name="Operations",
        path="/operations",
        key="p",
        icon="operations",
        is_minor=True,
        starts_group=True,
        is_counted=True,
    ),
    Entry(name="Alerts", path="/alerts", key="l", icon="alerts", is_minor=True),
    Entry(name="Audit", path="/audit", key="a", icon="audit", is_minor=True),
    Entry(name="Tokens", path="/tokens", key="k", icon="tokens", is_minor=True),
)
"""The entries of the rail, in their order."""
