"""The HTTP API by the standard library alone, as a program in any language would call it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the JSON of an answer; ``None`` if it has no body."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Api:
    """The API of one server."""

    url: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        return self.call("POST", path, {} if body is None else body)

    def add(self, batch_id: str | None, token: str, jobs: list[dict[str, Any]]) -> None:
        """Add jobs to the batch of the running job that has this token."""
        answer = self.post(f"/v1/batches/{batch_id}/jobs", {"jobs": jobs, "token": token})
        if answer.status not in {200, 201}:
            raise RuntimeError(answer.body["detail"])

    def results(self, parents: Iterable[dict[str, Any]]) -> list[Any]:
        """Return the results of the parents in a claim, also those without room in it."""
        whole = (self.get(parent["url"]).body if parent.get("omitted") else parent for parent in parents)
        return [parent["result"] for parent in whole]

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the server under test
            f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - as above
                return _answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.read())


def _answer(status: int, body: bytes) -> Answer:
    return Answer(status, json.loads(body) if body else None)
