"""The address of the list of jobs: all that it shows follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jobqueue.domain.search.fields import SORTS
from jobqueue.domain.search.terms import LONGEST_QUERY

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH: Final = "/jobs"
NEWEST: Final = "-insertAt"
_LONGEST: Final = 4000
_LONGEST_LINK: Final = 5500
_FLAGS: Final = ("tall", "count", "slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parameters of the list's address.

    Attributes:
        q: the query.
        cols: names of columns, with commas between them; empty for the usual ones.
        sort: a field to sort by, with ``-`` before it for the highest first; empty for the newest first.
        cursor: of a further page.
        tall: set for rows of 40 px.
        count: set to count up to 10,000 jobs.
        slow: set for a search that insists.
    """

    q: str = ""
    cols: str = ""
    sort: str = ""
    cursor: str = ""
    tall: str = ""
    count: str = ""
    slow: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Address:
        """Return the address of a request; a sort that does not exist counts as none."""
        values = {name: query.get(name, "")[:_LONGEST] for name in _NAMES}
        values |= {name: "1" if values[name] else "" for name in _FLAGS}
        is_known = values["sort"].removeprefix("-") in SORTS and values["sort"] != NEWEST
        return cls(
            **values | {"q": values["q"].strip()[: LONGEST_QUERY + 1], "sort": values["sort"] if is_known else ""}
        )

    @property
    def order(self) -> tuple[str, bool]:
        """The field to sort by, and True for the highest first."""
        sort = self.sort or NEWEST
        return sort.removeprefix("-"), sort.startswith("-")

    def link(self, path: str = PATH, **changes: str) -> str:
        """Return the address with some parameters changed; another query or order begins at its first page."""
        others = {name: value for name, value in changes.items() if name not in _NAMES}
        known: dict[str, Any] = {name: value for name, value in changes.items() if name in _NAMES}
        if {"q", "sort"} & set(known):
            known = {"cursor": "", "count": "", "slow": ""} | known
        query = urlencode({name: value for name, value in asdict(replace(self, **known)).items() if value} | others)
        return f"{path}?{query}" if query else path

    def in_links(self) -> Address:
        """Return the address for the links of the page: a very long one would make the page many times as long.

        It lacks its columns then, or else its query and its place in the list.
        """
        shorter = (self, replace(self, cols=""), replace(self, q="", cursor=""))
        return next((one for one in shorter if len(one.link()) <= _LONGEST_LINK), Address())

    @property
    def back(self) -> str:
        """The list's query string as a parameter of links to jobs, which lead back to it; empty for the whole list."""
        string = self.link(count="", slow="").removeprefix(PATH).removeprefix("?")
        return urlencode({"back": string}) if string else ""


_NAMES: Final = tuple(field.name for field in fields(Address))
