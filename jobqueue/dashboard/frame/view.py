"""A visit of a page: the visitor, the time, and the replies of the API that the page is made of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from aiohttp import web

from jobqueue.api.http.keys import CALLER, OPEN_TO_ALL, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.http.proxies import is_secure
from jobqueue.dashboard.frame import ask
from jobqueue.dashboard.frame.acts import guard
from jobqueue.dashboard.frame.kept import KEPT
from jobqueue.domain.errors import ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.dashboard.frame.acts.call import Call
    from jobqueue.dashboard.frame.acts.form import Sent
    from jobqueue.dashboard.frame.preferences import Preferences
    from jobqueue.domain.access.access import Caller, Role

_LONGEST_BACK: Final = 1500
_ROLES: Final[dict[Role, str]] = {
    "read": "see jobs",
    "enqueue": "add jobs",
    "decide": "answer questions",
    "work": "run jobs",
    "admin": "change jobs, queues and schedules",
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A part of a page that the visitor may not see; false, so that a template can test it."""

    reason: str

    def __bool__(self) -> Literal[False]:
        return False


class View:
    """A visit of a page.

    Attributes:
        request: of the page.
        now: the time of the database.
        preferences: the visitor's time zone and theme.
        form_token: for the forms of the page; empty where there can be none.
        said: the sentence about what was done just now; empty for none.
        sent: a form of this page that was sent, and is shown again.
    """

    def __init__(
        self, request: web.Request, now: datetime, preferences: Preferences, *, form_token: str = "", said: str = ""
    ) -> None:
        self.request, self.now, self.preferences = request, now, preferences
        self.form_token, self.said = form_token, said
        self.sent: Sent | None = None

    @property
    def caller(self) -> Caller:
        """The visitor."""
        return self.request[CALLER]

    @property
    def is_open(self) -> bool:
        """True if the server needs no tokens."""
        return self.request.app[OPEN_TO_ALL]

    @property
    def here(self) -> str:
        """The path and query of the page."""
        return self.request.path_qs

    @property
    def back(self) -> str:
        """The address of the page as links take it; without its query if that is very long."""
        return self.here if len(self.here) <= _LONGEST_BACK else self.request.path

    @property
    def server(self) -> str:
        """The address of the server as people reach it, without a slash at its end."""
        here = f"{'https' if is_secure(self.request) else 'http'}://{self.request.host}"
        return (self.request.app[RUNTIME].settings.public_url or here).rstrip("/")

    def curl(self, call: Call) -> str:
        """Return the command that makes a call of the API elsewhere."""
        return call.as_curl(self.server, is_open=self.is_open)

    async def form_key(self, *parts: str) -> str:
        """Return a key for a form of this session; the same parts, such as the tag of its subject, give the same."""
        return await guard.form_key(self.request, *parts)

    def query(self, name: str, default: str = "") -> str:
        """Return a parameter of the page's address."""
        return self.request.query.get(name, default)

    def path(self, name: str) -> str:
        """Return a part of the page's path, such as the id of a job."""
        return self.request.match_info[name]

    def may(self, role: Role) -> bool:
        """Tell whether the visitor has a role."""
        return self.caller.may(role)

    def why_not(self, role: Role) -> str:
        """Return a sentence about a role that the visitor has not; empty if the visitor has it."""
        return "" if self.may(role) else f"needs a token with the role {role}, which may {_ROLES[role]}"

    async def ask(self, path: str, query: Mapping[str, str] | None = None, *, body: Any = None) -> dict[str, Any]:
        """Return a reply of the API as `ask.ask`, which also says what this raises."""
        return await ask.ask(self.request, path, query, body=body)

    async def ask_tagged(self, path: str, query: Mapping[str, str] | None = None) -> tuple[dict[str, Any], str]:
        """Return a reply of the API, and its entity tag for ``If-Match``; raises as `ask`."""
        return await ask.ask_tagged(self.request, path, query)

    async def try_ask(
        self, path: str, query: Mapping[str, str] | None = None, *, body: Any = None
    ) -> dict[str, Any] | Refused:
        """Return a reply of the API, or the reason why this visitor may not have it; raises else as `ask`."""
        try:
            return await self.ask(path, query, body=body)
        except ForbiddenError as error:
            return Refused(str(error))

    async def ask_kept(self, seconds: float, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return a reply of the API that may be so many seconds old, and is not to be changed; raises as `ask`."""
        key = (self.caller, path, tuple(sorted((query or {}).items())))
        kept: dict[str, Any] = await self.request.app[KEPT].get(key, seconds, lambda: self.ask(path, query))
        return kept

    async def soon_kept(self, seconds: float, path: str, patience: float, oldest: float) -> dict[str, Any] | None:
        """Return a reply as `ask_kept`, or ``None`` if it is not there soon or has failed; arguments as `Kept.soon`."""
        key = (self.caller, path, ())
        kept = self.request.app[KEPT]
        found: dict[str, Any] | None = await kept.soon(key, seconds, lambda: self.ask(path), patience, oldest)
        return found

    async def search_kept(self, seconds: float, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of a search for jobs as `ask_kept`."""
        key = (self.caller, "search", repr(body))
        path = "/v1/jobs/search"
        kept: dict[str, Any] = await self.request.app[KEPT].get(key, seconds, lambda: self.ask(path, body=body))
        return kept

    async def try_kept(
        self, seconds: float, path: str, query: Mapping[str, str] | None = None
    ) -> dict[str, Any] | Refused:
        """Return a reply as `ask_kept`, or the reason why this visitor may not have it."""
        try:
            return await self.ask_kept(seconds, path, query)
        except ForbiddenError as error:
            return Refused(str(error))

    async def find(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """Return a reply of the API, or ``None`` if its subject is not there; raises else as `ask`."""
        try:
            return await self.ask(path, query)
        except NotFoundError:
            return None
        except ProblemError as error:
            if error.problem.status == web.HTTPNotFound.status_code:
                return None
            raise

    async def ask_all(self, **parts: tuple[str, Mapping[str, str]] | str) -> dict[str, Any]:
        """Return several replies at once by name, each as `try_ask`; a part is a path, or a path and its query."""
        asked = [(part, {}) if isinstance(part, str) else part for part in parts.values()]
        replies = await asyncio.gather(*(self.try_ask(path, query) for path, query in asked))
        return dict(zip(parts, replies, strict=True))


def quoted(part: str) -> str:
    """Return a name as one part of a path."""
    return quote(part, safe="")
