"""Try a real server with schemathesis, on the document that it serves itself."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

ROOT: Final = Path(__file__).parents[3]
CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
EXAMPLES: Final = 50
_BASE_SECONDS: Final = 1500
"""Seconds for the edges of every field, whatever the number of examples; batches take minutes."""
_EXAMPLE_SECONDS: Final = 30
_END_SECONDS: Final = 120
"""Seconds for the requests under way and the summary."""
_LOOK_SECONDS: Final = 0.5
# A claim may wait for a minute, and often does; the files of the page are no JSON; events never end.
_LEFT_OUT: Final = "/docs|/claim$|/events$"


def fuzz(
    url: str, token: str, directory: Path, *, examples: int, options: list[str]
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis in a directory, which it may fill.

    Args:
        url: of the server.
        token: with every right.
        directory: where it writes.
        examples: how many for an operation.
        options: further ones.
    """
    words = command(url, token, examples=examples, options=options)
    return subprocess.run(
        words, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


def command(url: str, token: str, *, examples: int, options: list[str]) -> list[str]:
    """Return the words that run schemathesis, as `fuzz` does."""
    return [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"),
        # The domain has rules that JSON Schema cannot say: delay or delayTil, cursors, tags, keys that were used.
        # Attempts without a valid token are slowed (429) before it is done; another test has them for every route.
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance,ignored_auth"),
        *("--max-examples", str(examples), "--suppress-health-check", "all", "--no-color"),
        *(
            "--request-timeout",
            "75",
            "--max-response-time",
            "70",
            "--warnings",
            "off",
            "--exclude-path-regex",
            _LEFT_OUT,
            "--no-shrink",
        ),
        *("-H", f"Authorization: Bearer {token}"),
        *options,
    ]


class Watched:
    """Runs schemathesis, prints its progress, and ends it when the time is over.

    Args:
        words: its command.
        directory: where it writes.
        limit: seconds; operations that are not tried by then are left out.
    """

    def __init__(self, words: list[str], directory: Path, *, limit: float) -> None:
        self._events = directory / "events.ndjson"
        self._events.touch()
        self._until = time.monotonic() + limit
        self._process = subprocess.Popen(
            [*words, "--report", "ndjson", "--report-ndjson-path", str(self._events)], cwd=directory
        )
        self._limit = limit
        self._bad = 0

    def run(self) -> int:
        """Return the exit code: not 0 after a failure."""
        cut = False
        with self._events.open(encoding="utf-8") as events:
            while self._process.poll() is None:
                self._tell(events)
                if not cut and time.monotonic() > self._until:
                    cut = True
                    self._process.send_signal(signal.SIGINT)
                    self._until = time.monotonic() + _END_SECONDS
                elif cut and time.monotonic() > self._until:
                    self._process.kill()
                time.sleep(_LOOK_SECONDS)
            self._tell(events)
        if not cut:
            return self._process.returncode
        print(
            f"the limit of {self._limit:.0f} s is over: what was not tried is left out, {self._bad} failed", flush=True
        )
        return 1 if self._bad else 0

    def _tell(self, events: TextIO) -> None:
        """Print a line for each operation that has been tried since."""
        while True:
            at = events.tell()
            line = events.readline()
            if not line.endswith("\n"):
                events.seek(at)
                return
            event = json.loads(line).get("ScenarioFinished")
            if event is not None:
                self._bad += event["status"] in {"failure", "error"}
                label = event["recorder"]["label"]
                print(f"{event['phase']}: {label}: {event['status']} ({event['elapsed_time']:.1f} s)", flush=True)


def main() -> int:
    """Start a server, fuzz it, and stop it."""
    arguments = sys.argv[1:]
    examples = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else EXAMPLES
    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="jobqueue-fuzz-") as name:
        environ = {**os.environ, "JOBQUEUE_ADMIN_TOKEN": token, "JOBQUEUE_LOG_LEVEL": "error", "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(
            [sys.executable, "-m", "jobqueue", "serve", "--port", "0"],
            cwd=name,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            if server.stdout is None:
                return 1
            url = server.stdout.readline().removeprefix("listening on ").strip()
            words = command(url, token, examples=examples, options=arguments)
            limit = _BASE_SECONDS + _EXAMPLE_SECONDS * examples
            print(f"trying {url} for {limit} s at most", flush=True)
            return Watched(words, Path(name), limit=limit).run()
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    sys.exit(main())
