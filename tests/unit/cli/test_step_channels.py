"""Steps of a script that reaches its job over HTTP, against a server that records requests."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.main import main
from jobqueue.cli.steps.channels import channel
from jobqueue.domain.errors import DatabaseError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = "65e5c0a1b2c3d4e5f6a7b8c9"
Replies = dict[str, tuple[int, Any]]


class Api(ThreadingHTTPServer):
    """Answers as told by method and path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: Replies = {}
        self.requests: list[tuple[str, Any]] = []
        self.authorizations: set[str] = set()
        self.keys: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, method: str) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{method} {self.path.removeprefix(f'/base/v1/jobs/{JOB}')}"
        self.server.requests.append((request, json.loads(text) if text else None))
        self.server.authorizations.add(self.headers["Authorization"])
        self.server.keys.append(self.headers["Idempotency-Key"])
        status, body = self.server.replies.get(request, (404, {"title": "Not Found"}))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.delenv("JOBQUEUE_STEPS", raising=False)
        monkeypatch.setenv("JOBQUEUE_URL", f"http://127.0.0.1:{server.server_port}/base/")
        monkeypatch.setenv("JOBQUEUE_JOB_ID", JOB)
        monkeypatch.setenv("JOBQUEUE_TOKEN", "t0k3n")
        yield server
        server.shutdown()
        thread.join()


def test_a_step_is_recorded_under_the_token_of_the_claim(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    api.replies["POST /steps"] = (200, {"result": {"rows": 3}, "existed": False})
    assert main(["step", "fetch all", "--", "echo", '{"rows": 3}']) == 0
    assert capfd.readouterr().out == '{"rows": 3}\n'
    recorded = {"token": "t0k3n", "name": "fetch all", "result": {"rows": 3}}
    expected: list[tuple[str, Any]] = [("GET /steps/fetch%20all", None), ("POST /steps", recorded)]
    assert api.requests == expected
    assert api.authorizations == {"Claim t0k3n"}


def test_a_finished_step_is_not_run(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    api.replies["GET /steps/fetch"] = (200, {"name": "fetch", "result": "kept"})
    assert main(["step", "fetch", "--", "echo", "anew"]) == 0
    assert capfd.readouterr().out == "kept\n"


def test_a_sleep_suspends_once(api: Api) -> None:
    api.replies["POST /suspend"] = (200, {"state": "delayed"})
    assert main(["sleep", "rest", "60"]) == 75
    path, body = api.requests[-1]
    assert (path, body) == ("POST /suspend", {"token": "t0k3n", "name": "rest", "delay": 60})
    api.replies["GET /steps/rest"] = (200, {"name": "rest", "kind": "sleep", "result": None})
    assert main(["sleep", "rest", "60"]) == 0
    assert api.requests[-1][0] == "GET /steps/rest"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        ((409, {"title": "Conflict", "detail": "the token is not the current claim"}), 5, "not the current claim"),
        ((422, {"title": "Invalid", "errors": {"result": ["is a set"]}}), 2, "result: is a set"),
        ((503, {"title": "Not Ready"}), 1, "503: Not Ready"),
        ((200, ["no object"]), 1, "200: no reason"),
    ],
)
def test_a_refusal_is_one_line_and_an_exit_code(
    api: Api, capfd: pytest.CaptureFixture[str], reply: tuple[int, Any], code: int, words: str
) -> None:
    api.replies["POST /steps"] = reply
    assert main(["step", "fetch", "--", "true"]) == code
    printed = capfd.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert words in printed.err


def test_a_script_without_a_job_or_a_server_says_so() -> None:
    with pytest.raises(SettingsError, match="no command of a job"):
        channel({"JOBQUEUE_URL": "http://127.0.0.1:1", "JOBQUEUE_JOB_ID": JOB})
    with pytest.raises(SettingsError, match="must be a URL"):
        channel({"JOBQUEUE_URL": "localhost:8080", "JOBQUEUE_JOB_ID": JOB, "JOBQUEUE_TOKEN": "t"})
    with pytest.raises(DatabaseError, match="cannot be reached"):
        channel({"JOBQUEUE_STEPS": "/no/such/socket"})
    way = channel({"JOBQUEUE_URL": "http://127.0.0.1:1", "JOBQUEUE_JOB_ID": JOB, "JOBQUEUE_TOKEN": "t"})
    with pytest.raises(DatabaseError, match="cannot be reached"):
        way.begin("fetch")


@pytest.mark.parametrize(("command", "last"), [("exit 3", "doubt"), ("exit 75", "notDone"), ("echo paid", "result")])
def test_a_step_that_never_runs_twice_suspends_the_job_when_it_fails(api: Api, command: str, last: str) -> None:
    api.replies = {
        "POST /steps": (200, {"result": None, "existed": False}),
        "POST /suspend": (200, {"id": JOB, "state": "delayed"}),
    }
    main(["step", "--once", "charge", "--", "sh", "-c", command])
    (first, _), (path, body) = api.requests
    assert first == "POST /steps"
    assert path == ("POST /suspend" if last == "doubt" else "POST /steps")
    assert last in body


def test_each_process_begins_a_step_that_never_runs_twice_under_a_key_of_its_own(api: Api) -> None:
    api.replies = {"POST /steps": (200, {"result": None, "existed": False})}
    for _ in range(2):
        assert main(["step", "--once", "charge", "--", "echo", "paid"]) == 0
    first, recorded, second, _ = api.keys
    assert recorded is None
    assert first
    assert second
    assert first != second


def test_a_step_that_never_runs_twice_suspends_the_job_when_its_result_is_refused(api: Api) -> None:
    api.replies = {
        "POST /steps": (200, {"result": None, "existed": False}),
        "POST /suspend": (200, {"id": JOB, "state": "delayed"}),
    }
    assert main(["step", "--once", "charge", "--", "head", "-c", "5000000", "/dev/zero"]) != 0
    assert api.requests[-1][0] == "POST /suspend"
