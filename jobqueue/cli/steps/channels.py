"""Ways from a script to the steps of its job: the socket of the process that runs the script, or the HTTP API."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlsplit

from jobqueue.domain.errors import (
    CallFailedError,
    ConflictError,
    DatabaseError,
    InvalidInputError,
    JobQueueError,
    SettingsError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET: Final = "JOBQUEUE_STEPS"
_API: Final = ("JOBQUEUE_URL", "JOBQUEUE_JOB_ID", "JOBQUEUE_TOKEN")
_HTTP_SECONDS: Final = 60.0
_CHUNK: Final = 64 * 1024
_OK: Final = 200
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_UNUSABLE: Final = frozenset({400, 413, 422})


class LateSignalError(JobQueueError):
    """Report that a signal has not come in time."""


class InDoubtError(JobQueueError):
    """Report that nobody knows whether a step has happened; the job waits for a person."""

    def __init__(self, name: str) -> None:
        super().__init__(f"in doubt: did {name} happen? The job waits until a person says so")


class Channel(Protocol):
    """A way to keep one step of the job."""

    def begin(self, name: str, *, once: bool = False) -> tuple[bool, Any]:
        """Return true if a step has finished, and its result.

        Args:
            name: of the step.
            once: mark the step as begun, so that it never runs twice.

        Raises:
            InDoubtError: nobody knows whether the step has happened; the job is suspended.
            JobQueueError: the server does not answer, or the name is not acceptable.
        """

    def record(self, result: Any, seconds: float) -> Any:
        """Keep the result of the step of `begin`; return the result that is kept.

        Raises:
            JobQueueError: the result cannot be kept.
        """

    def not_done(self) -> None:
        """Take back the mark of the step of `begin`: nothing has happened.

        Raises:
            JobQueueError: the server does not answer.
        """

    def leave_doubt(self) -> None:
        """Leave the step of `begin` in doubt, which was marked: it must not run again, in this start neither.

        Raises:
            JobQueueError: the server does not answer.
        """

    def sleep(self, name: str, seconds: float) -> bool:
        """Suspend the job unless a sleep is over; return true if the sleep is over.

        Raises:
            JobQueueError: the sleep cannot begin.
        """

    def signal(self, name: str, seconds: float | None) -> tuple[bool, Any]:
        """Return true if a signal is there, and its value; suspend the job until it comes if it is not.

        Raises:
            LateSignalError: the time is over.
            JobQueueError: the wait cannot begin.
        """

    def call(self, name: str, jobs: Any) -> tuple[bool, Any]:
        """Return true if all children of a step have ended, and their results; suspend the job until then otherwise.

        Args:
            name: of the step.
            jobs: a job, a list of jobs, or an object with ``jobs`` and ``failures``.

        Raises:
            CallFailedError: a child has failed.
            JobQueueError: the children cannot be created.
        """

    def wait_for_end(self) -> None:
        """Wait for the end of this process, where the server ends the commands of a suspended job."""


def channel(environ: Mapping[str, str] = os.environ) -> Channel:
    """Return the way to the steps of the job that this process works for.

    Raises:
        SettingsError: this process does not work for a job.
        DatabaseError: the server cannot be reached.
    """
    if path := environ.get(SOCKET):
        return SocketChannel(path)
    address = [environ.get(name, "") for name in _API]
    if all(address):
        return HttpChannel(*address)
    raise SettingsError(
        [f"this is no command of a job: neither {SOCKET} nor {', '.join(_API[:-1])} and {_API[-1]} are set"]
    )


class SocketChannel:
    """The socket of the process that runs the script.

    Args:
        path: of the socket.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise DatabaseError(f"the server cannot be reached at {path}: {error.strerror}") from error

    def begin(self, name: str, *, once: bool = False) -> tuple[bool, Any]:
        """Implement `Channel`."""
        reply = self._ask({"begin": name} | ({"once": True} if once else {}))
        if reply.get("doubt"):
            raise InDoubtError(name)
        return reply["finished"], reply.get("result")

    def not_done(self) -> None:
        """Implement `Channel`."""
        self._ask({"notDone": True})

    def leave_doubt(self) -> None:
        """Implement `Channel`: the server remembers the steps that this start of the job has begun."""

    def record(self, result: Any, seconds: float) -> Any:
        """Implement `Channel`."""
        return self._ask({"record": result, "seconds": seconds})["result"]

    def sleep(self, name: str, seconds: float) -> bool:
        """Implement `Channel`."""
        return self._ask({"sleep": name, "seconds": seconds})["until"] is None

    def signal(self, name: str, seconds: float | None) -> tuple[bool, Any]:
        """Implement `Channel`."""
        reply = self._ask({"wait": name, "seconds": seconds})
        if "late" in reply:
            raise LateSignalError(reply["late"])
        return reply["finished"], reply.get("result")

    def call(self, name: str, jobs: Any) -> tuple[bool, Any]:
        """Implement `Channel`."""
        reply = self._ask({"call": name, "jobs": jobs})
        if "failed" in reply:
            raise CallFailedError(reply["failed"])
        return reply["finished"], reply.get("result")

    def wait_for_end(self) -> None:
        """Implement `Channel`."""
        while self._receive():
            pass

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = b""
        try:
            self._socket.sendall(json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
            while not answer.endswith(b"\n"):
                part = self._socket.recv(_CHUNK)
                if not part:
                    raise ConnectionError
                answer += part
        except OSError as error:
            raise DatabaseError("the server broke off the connection") from error
        reply: dict[str, Any] = json.loads(answer)
        if "error" in reply:
            raise JobQueueError(reply["error"])
        return reply

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_CHUNK)
        except OSError:
            return b""


class HttpChannel:
    """The HTTP API, with the token of the claim alone.

    Args:
        url: of the server.
        job_id: of the job.
        token: of the claim.
    """

    def __init__(self, url: str, job_id: str, token: str) -> None:
        self._url = urlsplit(url)
        if self._url.scheme not in {"http", "https"} or self._url.hostname is None:
            raise SettingsError(["JOBQUEUE_URL must be a URL such as http://localhost:8080"])
        self._job = f"{self._url.path.rstrip('/')}/v1/jobs/{quote(job_id, safe='')}"
        self._token = token
        self._name = ""

    def begin(self, name: str, *, once: bool = False) -> tuple[bool, Any]:
        """Implement `Channel`."""
        self._name = name
        if once:
            return self._begin_once(name)
        status, body = self._call("GET", f"/steps/{quote(name, safe='')}")
        if status == _NOT_FOUND:
            return False, None
        return True, self._checked(status, body)["result"]

    def _begin_once(self, name: str) -> tuple[bool, Any]:
        body = {"token": self._token, "name": name, "once": True}
        # A process of its own key: it cannot know whether one before it, under the same claim, has run the step.
        answer = self._checked(*self._call("POST", "/steps", body, {"Idempotency-Key": secrets.token_hex(16)}))
        if answer.get("doubt"):
            self._checked(*self._call("POST", "/suspend", {"token": self._token, "doubt": name}))
            raise InDoubtError(name)
        return answer["existed"], answer["result"]

    def not_done(self) -> None:
        """Implement `Channel`."""
        self._checked(*self._call("POST", "/steps", {"token": self._token, "name": self._name, "notDone": True}))

    def leave_doubt(self) -> None:
        """Implement `Channel`: suspend the job at once, as nothing else ends the script."""
        self._checked(*self._call("POST", "/suspend", {"token": self._token, "doubt": self._name}))

    def record(self, result: Any, seconds: float) -> Any:
        """Implement `Channel`."""
        del seconds
        answer = self._call("POST", "/steps", {"token": self._token, "name": self._name, "result": result})
        return self._checked(*answer)["result"]

    def sleep(self, name: str, seconds: float) -> bool:
        """Implement `Channel`."""
        is_over, _ = self.begin(name)
        if not is_over:
            self._checked(*self._call("POST", "/suspend", {"token": self._token, "name": name, "delay": seconds}))
        return is_over

    def signal(self, name: str, seconds: float | None) -> tuple[bool, Any]:
        """Implement `Channel`."""
        status, body = self._call("GET", f"/steps/{quote(name, safe='')}")
        if status != _NOT_FOUND:
            step = self._checked(status, body)
            if "error" in step:
                raise LateSignalError(step["error"]["message"])
            return True, step["result"]
        self._checked(*self._call("POST", "/suspend", {"token": self._token, "signal": name, "timeout": seconds}))
        return False, None

    def call(self, name: str, jobs: Any) -> tuple[bool, Any]:
        """Implement `Channel`."""
        asked = jobs if isinstance(jobs, dict) and "jobs" in jobs else {"jobs": jobs}
        status, body = self._call("POST", "/calls", {**asked, "token": self._token, "name": name})
        if not self._checked(status, body)["finished"]:
            self._checked(*self._call("POST", "/suspend", {"token": self._token}))
            return False, None
        step = self._checked(*self._call("GET", f"/steps/{quote(name, safe='')}"))
        return True, self._results(name) if step["kind"] == "map" else step["result"]

    def wait_for_end(self) -> None:
        """Implement `Channel`."""

    def _results(self, name: str) -> list[Any]:
        """Return the results of children, which may be too large for one reply."""
        items: list[Any] = []
        path = f"/steps/{quote(name, safe='')}/results"
        page = self._checked(*self._call("GET", path))
        items += page["items"]
        while page["next"] is not None:
            page = self._checked(*self._call("GET", f"{path}?cursor={quote(page['next'])}"))
            items += page["items"]
        return items

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, more: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(self._url.hostname), self._url.port, timeout=_HTTP_SECONDS)
        headers = {"Authorization": f"Claim {self._token}", "Content-Type": "application/json", **(more or {})}
        try:
            connection.request(method, self._job + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise DatabaseError(f"the server cannot be reached at {self._url.geturl()}: {error}") from error
        finally:
            connection.close()

    def _checked(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            answer: Any = json.loads(body)
        except ValueError:
            answer = None
        if status // 100 == _OK // 100 and isinstance(answer, dict):
            return answer
        told = answer if isinstance(answer, dict) else {}
        if status in _UNUSABLE and isinstance(told.get("errors"), dict):
            raise InvalidInputError(told["errors"])
        if told.get("type") == f"/problems/{CallFailedError.slug}":
            raise CallFailedError(str(told.get("detail")))
        message = f"the server answered {status}: {told.get('detail') or told.get('title') or 'no reason'}"
        raise ConflictError(message) if status == _CONFLICT else JobQueueError(message)
