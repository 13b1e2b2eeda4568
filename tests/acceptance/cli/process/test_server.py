"""Which server or database a command is for, and what it says when that does not answer."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.process import session
from tests.acceptance.cli.conftest import ADMIN, Here, serving
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue.settings import Settings

ID = "f" * 24


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run commands of an environment that names nothing, which lose their patience at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    monkeypatch.setattr(session.Told, "patience", 0.5)
    return Here("server", monkeypatch, capsys)


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    with serving(settings) as url:
        yield url


@contextmanager
def answering(status: int, body: bytes, kind: str, **headers: str) -> Iterator[str]:
    """Give the URL of a server that is none of jobqueue, and gives every request the same reply."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (200, b"<html>", "text/html", "the reply is no JSON: <html>"),
        (200, b'{"items": []}', "application/json", "the reply is none of a jobqueue server: check the URL"),
        (404, b"<html>", "text/html", "the server answers with no problem of the API, status 404: <html>"),
        (301, b"", "text/html", "the server redirects, status 301"),
    ],
)
def test_a_server_that_is_no_jobqueue_is_one_line(alone: Here, status: int, body: bytes, kind: str, told: str) -> None:
    with answering(status, body, kind) as url:
        ran = alone("list", "--server", url)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (3, "", 1)
    assert ran.err.startswith(f"error: GET {url}")
    assert told in ran.err


@pytest.mark.parametrize("body", [b"{}", b"[1, 2]", b"null", b'{"items": [{}]}'])
@pytest.mark.parametrize("command", [["list"], ["status"], ["workers"], ["failures"]], ids=" ".join)
def test_json_of_another_server_is_one_line(alone: Here, command: list[str], body: bytes) -> None:
    # Many gateways number requests, too.
    with answering(200, body, "application/json", X_Request_Id="1", Date="rubbish") as url:
        ran = alone(*command, "--server", url)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (3, "", 1)
    assert "the reply is none of a jobqueue server: check the URL" in ran.err or "another form" in ran.err


def test_a_server_without_its_database_is_tried_again(alone: Here) -> None:
    detail = "MongoDB cannot be reached or cannot answer now; try again"
    problem = {"type": "/problems/database-unavailable", "title": "", "status": 503, "detail": detail}
    with answering(503, json.dumps(problem).encode(), "application/problem+json") as url:
        ran = alone("list", "--server", url)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines() == [f"{detail}: trying for 0.5 seconds", f"error: {detail}"]


def test_a_refused_connection_is_told_at_once_and_in_the_end(alone: Here) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ran = alone("list", "--server", url)
    note, error = ran.err.splitlines()
    assert (ran.code, ran.out) == (3, "")
    assert note.startswith(f"GET {url}/v1/jobs: no answer: ")
    assert note.endswith(": trying for 0.5 seconds")
    assert error.startswith(f"error: GET {url}/v1/jobs: no answer: ")
    as_json = json.loads(alone("list", "--server", url, "--json").err)["error"]
    assert (as_json["type"], as_json["exitCode"]) == ("/problems/server-unreachable", 3)


def test_silence_is_told_within_a_second(alone: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.cli.process.api._TRY_SECONDS", 1.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ran = alone("list", "--server", url)
    assert ran.code == 3
    assert ran.err.splitlines()[0] == f"no answer yet from {url}: trying for 0.5 seconds"


def test_a_server_without_tls_is_told_apart(alone: Here, server: str) -> None:
    ran = alone("list", "--server", server.replace("http:", "https:"))
    assert (ran.code, len(ran.err.splitlines())) == (3, 1)
    assert "ssl" in ran.err.lower(), ssl.OPENSSL_VERSION


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "http://me:secret@localhost"])
def test_a_wrong_url_is_wrong_usage(alone: Here, url: str) -> None:
    ran = alone("list", "--server", url)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert ran.err.startswith("error: --server, or JOBQUEUE_URL: must ")
    assert "secret" not in ran.err


def test_tokens_come_from_the_environment_a_file_or_the_command_line(
    alone: Here, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert alone("list", "--server", server, "--token", ADMIN).code == 0
    missing = alone("list", "--server", server)
    assert (missing.code, len(missing.err.splitlines())) == (1, 1)
    assert missing.err.startswith(f"error: {server} takes no call without a token: set JOBQUEUE_API_TOKEN")
    wrong = alone("list", "--server", server, "--token", ADMIN[:-1])
    assert (wrong.code, wrong.err) == (1, f"error: {server} refuses the token: it is wrong, expired or revoked\n")
    monkeypatch.setenv("JOBQUEUE_URL", server)
    (tmp_path / "token").write_text(f"{ADMIN}\n")
    monkeypatch.setenv("JOBQUEUE_API_TOKEN_FILE", "token")
    assert alone("list").code == 0
    monkeypatch.setenv("JOBQUEUE_API_TOKEN", ADMIN)
    assert alone("list").err == (
        "error: JOBQUEUE_API_TOKEN (environment): is set together with JOBQUEUE_API_TOKEN_FILE; unset one of them\n"
    )
    assert alone("list", "--token", ADMIN).code == 0


def test_flags_win_over_the_environment_and_exclude_each_other(
    alone: Here, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(settings.mongo_url)
    both = alone("list", "--server", "http://localhost:1", "--mongo-url", url)
    assert both.code == 2
    assert both.err.startswith("error: --server and --mongo-url exclude each other: say either which server or which")
    assert alone("list", "--server", "http://localhost:1", "--db", "x", "--json").code == 2
    lonely = alone("list", "--token", "x")
    assert lonely.code == 2
    assert lonely.err.startswith("error: --token is for a server: name it by --server or JOBQUEUE_URL")
    monkeypatch.setenv("JOBQUEUE_URL", "http://localhost:1")
    assert alone("list", "--mongo-url", url, "--db", settings.db).code == 0
    monkeypatch.setenv("JOBQUEUE_MONGO_URL", url)
    monkeypatch.setenv("JOBQUEUE_DB", settings.db)
    assert alone("list").code == 3


def test_a_script_of_a_job_works_on_the_server_of_the_job(
    alone: Here, server: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"URL": server, "JOB_ID": ID, "TOKEN": "claim", "ATTEMPT": "1", "STEPS": "/x"}.items():
        monkeypatch.setenv(f"JOBQUEUE_{name}", value)
    refused = alone("add", "a")
    assert refused.code == 1
    assert "the JOBQUEUE_TOKEN of a job's script is for its steps only" in refused.err
    monkeypatch.setenv("JOBQUEUE_API_TOKEN", ADMIN)
    assert alone("add", "a").code == 0
    monkeypatch.setenv("JOBQUEUE_URL", "http://localhost:1")
    monkeypatch.setenv("JOBQUEUE_MONGO_URL", str(settings.mongo_url))
    monkeypatch.setenv("JOBQUEUE_DB", settings.db)
    assert len(alone("list", "--json").json()["items"]) == 1


def test_errors_are_json_on_stderr(here: Here) -> None:
    def error(*words: str) -> dict[str, Any]:
        ran = here(*words, "--json")
        problem: dict[str, Any] = json.loads(ran.err)["error"]
        assert (ran.out, problem["exitCode"]) == ("", ran.code)
        return problem

    assert error("show", ID) == {
        "type": "/problems/not-found",
        "title": "Not found",
        "status": 404,
        "detail": f"there is no job {ID}",
        "kind": "job",
        "name": ID,
        "exitCode": 4,
    }
    assert error("queue", "set", "media", "attempts=0")["errors"] == {"attempts": ["must be from 1 to 10000"]}
    key = here("add", "a", "--key", "k").out.strip()
    clash = error("add", "a", "--key", "k")
    assert (clash["type"], clash["jobId"], clash["exitCode"]) == ("/problems/key-conflict", key, 5)
    usage = error("list", "--nonsense")
    assert (usage["type"], usage["exitCode"]) == ("/problems/usage", 2)
    killed = here("kill", ID, key, "--json")
    assert [job["id"] for job in json.loads(killed.out)["items"]] == [key]
    assert json.loads(killed.err)["error"]["name"] == ID
