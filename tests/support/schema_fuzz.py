"""Try a real server with schemathesis, on the document that it serves itself."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
EXAMPLES: Final = 50
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
    words = [
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
    return subprocess.run(
        words, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )


def main() -> int:
    """Start a server, try it, and stop it."""
    given = sys.argv[1:]
    examples = int(given.pop(0)) if given and given[0].isdigit() else EXAMPLES
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
            done = fuzz(url, token, Path(name), examples=examples, options=given)
            print(done.stdout)
            return done.returncode
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    sys.exit(main())
