"""The time zone and the theme that a visitor prefers, kept in cookies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiohttp import web
from yarl import URL

ZONE_COOKIE: Final = "jobqueue_zone"
"""Set by the page's script from the zone of the browser, unless the visitor has chosen another."""
THEME_COOKIE: Final = "jobqueue_theme"
_THEMES: Final = ("light", "dark")
_YEAR: Final = 365 * 86_400
_HERE: Final = URL("http://here.invalid/")
_ZONE: Final = re.compile(r"[A-Za-z0-9+_/-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """The time zone, and the theme: empty for that of the system."""

    zone_name: str = "UTC"
    theme: str = ""

    @property
    def zone(self) -> tzinfo:
        """The time zone."""
        return zone_of(self.zone_name) or UTC

    @property
    def city(self) -> str:
        """The zone's name for people, such as ``Berlin``."""
        return self.zone_name.rpartition("/")[2].replace("_", " ")

    def local(self, moment: datetime) -> datetime:
        """Return a time in the zone."""
        return in_zone(moment, self.zone)


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return a time in a zone, or in UTC at the ends of the calendar."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)


def zone_of(name: str) -> tzinfo | None:
    """Return a time zone of the IANA database, or ``None`` for an unknown name."""
    if not _ZONE.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def preferences(request: web.Request) -> Preferences:
    """Return the preferences in the cookies of a request; unknown values count as none."""
    zone, theme = request.cookies.get(ZONE_COOKIE, ""), request.cookies.get(THEME_COOKIE, "")
    return Preferences(
        zone_name=zone if zone and zone_of(zone) else "UTC",
        theme=theme if theme in _THEMES else "",
    )


async def choose(request: web.Request) -> web.StreamResponse:
    """Keep the zone or theme of the query string, and go back to the page ``back``."""
    response = web.Response(status=303, headers={"Location": local_path(request.query.get("back", "/"))})
    zone, theme = request.query.get("zone"), request.query.get("theme")
    if zone is not None and zone_of(zone):
        response.set_cookie(ZONE_COOKIE, zone, max_age=_YEAR, path="/", samesite="Lax")
    if theme in _THEMES:
        response.set_cookie(THEME_COOKIE, str(theme), max_age=_YEAR, path="/", samesite="Lax")
    elif theme == "system":
        response.del_cookie(THEME_COOKIE, path="/")
    return response


def local_path(text: str) -> str:
    """Return a path of this server, or ``/`` for a text that leads elsewhere."""
    if not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return "/"
    try:
        # The name in Host may be any text, and no part of an address.
        target = _HERE.join(URL(text))
    except ValueError:
        return "/"
    path = str(target.relative())
    # Browsers take two slashes for the beginning of another host, also those that are left of "/..//host".
    is_local = target.origin() == _HERE.origin() and not path.startswith(("//", "/\\"))
    return path if is_local else "/"
