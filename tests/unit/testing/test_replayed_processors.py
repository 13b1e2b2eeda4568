"""Replays of jobs that commands and webhooks run."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.main import main
from tests.unit.testing.bundles import bundle, step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = {"steps": [step("fetch")], "error": {"kind": "exit", "message": "exit code 3: no money"}}
COMMAND = {"name": "default", "processors": {"order": {"kind": "command", "name": "pay"}}}
WEBHOOK = {"kind": "webhook", "url": "https://example.com/?********", "timeout": 7, "headers": {"X-Key": "********"}}


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    monkeypatch.setenv("PLANTED", "not for commands")


def write(queue: dict[str, Any], **job: Any) -> str:
    form = bundle(job={**JOB, **job}, results={"fetch": {"rows": 3}}, queue=queue, fingerprint="0123456789abcdef")
    with open("a.json", "w", encoding="utf-8") as file:  # noqa: PTH123 - the name alone is what the command gets
        json.dump(form, file)
    return "a.json"


def test_a_command_runs_with_its_environment_and_the_kept_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "pay.sh"
    script.write_text("#!/bin/sh\ncat\necho\nenv\necho '::step pay {\"paid\": 7}'\necho no money >&2\nexit 3\n")
    script.chmod(0o755)
    (tmp_path / "commands.toml").write_text(f'[commands.pay]\nargv = ["{script}"]\nenv = {{ QUALITY = "80" }}\n')
    assert main(["replay", write(COMMAND), "--commands", "commands.toml", "--json"]) == 7
    end = json.loads(capsys.readouterr().out)
    assert (end["outcome"], end["error"]["message"], end["same"]) == ("fail", "exit code 3: no money", False)
    told = [(each["kind"], each["text"]) for each in end["happenings"]]
    body = json.loads(next(text for kind, text in told if kind == "log"))
    assert (body["job"]["steps"], body["attempt"]) == ({"fetch": {"rows": 3}}, 1)
    assert ("log", "QUALITY=80") in told
    assert ("log", f"JOBQUEUE_JOB_ID={'a' * 24}") in told
    assert not [text for _, text in told if "PLANTED" in text or "JOBQUEUE_URL" in text]
    assert [each["name"] for each in end["happenings"] if each["kind"] == "ran"] == ["pay"]

    for words, said in (
        ([], "a command runs the jobs of type order: name its file by --commands FILE"),
        (["--commands", "none.toml"], "none.toml: cannot be read"),
        (["--commands", "commands.toml", "--url", "http://h"], "--commands and --url do not go together"),
    ):
        assert main(["replay", "a.json", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    (tmp_path / "commands.toml").write_text(f'[commands.other]\nargv = ["{script}"]\n')
    assert main(["replay", "a.json", "--commands", "commands.toml"]) == 2
    assert "has no command pay; it has other" in capsys.readouterr().err
    write({"name": "default"})
    assert main(["replay", "a.json"]) == 2
    assert "name the program that runs the job: MODULE:QUEUE" in capsys.readouterr().err


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], Any]]]]:
    """Give the URL of a receiver that pays, and the requests that it has got."""
    requests: list[tuple[dict[str, str], Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(({name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"outcome": "fail", "reason": "no money", "steps": {"pay": 7}}')

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_is_sent_to_the_receiver_that_the_person_names(
    receiver: tuple[str, list[tuple[dict[str, str], Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, requests = receiver
    file = write({"name": "default", "processors": {"*": WEBHOOK}})
    assert main(["replay", file]) == 2
    assert "a webhook runs the jobs of type order" in capsys.readouterr().err
    assert main(["replay", file, "--url", url]) == 7
    printed = capsys.readouterr()
    assert "without the headers X-Key" in printed.err
    assert "step      pay finished after" in printed.out
    assert "outcome   fails: fail: no money" in printed.out
    ((headers, body),) = requests
    assert "x-key" not in headers
    assert headers["webhook-signature"].startswith("v1,")
    assert (body["token"], body["job"]["steps"]) == ("replay", {"fetch": {"rows": 3}})
    assert main(["replay", file, "--url", "ftp://h"]) == 2
    assert "must be an absolute http or https URL" in capsys.readouterr().err
