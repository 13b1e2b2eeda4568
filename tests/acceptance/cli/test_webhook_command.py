"""A webhook is tested by a command, over the database and over a server."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.acceptance.cli.conftest import Here


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.headers["webhook-id"].startswith("msg_ping_") else 500)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"pong")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _receiver() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_ping_shows_the_answer_and_its_exit_code_tells_whether_it_is_good(
    here: Here, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The addresses that may be reached are those of the process that sends: this one, or the server.
    monkeypatch.setenv("JOBQUEUE_WEBHOOK_ALLOW", "127.0.0.0/8")
    with _receiver() as url:
        assert here.run("queue", "set", "media", "processors.a.kind=webhook", f"processors.a.url={url}").code == 0
        ran = here.run("queue", "test-webhook", "media", "a")
    first, *rest = ran.out.splitlines()
    if over == "database":
        assert (ran.code, first[:7], first[-3:], rest) == (0, "200 in ", " ms", ["pong"])
    else:
        assert (ran.code, rest) == (1, [])
        assert first.startswith("127.0.0.1 has no public address")
        assert first.endswith(" ms)")
    entries = here.run("audit", "--json").json()["items"]
    assert [entry["action"] for entry in entries] == ["test", "patch"]
