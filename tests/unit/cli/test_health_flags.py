"""A health check takes the flags of the server that is process 1 of its container."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobqueue.cli.checks.checking import serve_flags

WANTED = dict.fromkeys(("host", "port", "tls_cert", "tls_key"))
DOCKERFILE = Path(__file__).parents[3] / "Dockerfile"


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("/opt/jobqueue/bin/python /opt/jobqueue/bin/jobqueue serve --host 0.0.0.0", {"host": "0.0.0.0"}),  # noqa: S104 - a flag
        ("/sbin/docker-init -- jobqueue serve --port 9000 --concurrency 3", {"port": "9000"}),
        ("python -m jobqueue serve --port=9000 --tls-cert a.pem --tls-key b.pem", {
            "port": "9000",
            "tls_cert": "a.pem",
            "tls_key": "b.pem",
        }),
        ("jobqueue serve", {}),
        ("jobqueue worker app:queue", {}),
        ("/sbin/init splash", {}),
        ("jobqueue", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_flags_of_process_1_are_those_of_its_serve(command: str, flags: dict[str, str], tmp_path: Path) -> None:
    first = tmp_path / "cmdline"
    first.write_bytes(command.replace(" ", "\0").encode() + b"\0")
    assert serve_flags(first, WANTED) == flags


def test_a_system_that_does_not_tell_gives_no_flags(tmp_path: Path) -> None:
    assert serve_flags(tmp_path / "nowhere", WANTED) == {}


def test_the_image_checks_its_health_by_the_settings_of_its_server() -> None:
    text = DOCKERFILE.read_text()
    check = re.search(r"^HEALTHCHECK .*?\\\n\s+CMD (.*)$", text, re.MULTILINE)
    assert check is not None
    assert check[1] == '["jobqueue", "health"]'
    assert re.search(r"--timeout=5s", text), "longer than the command waits"
