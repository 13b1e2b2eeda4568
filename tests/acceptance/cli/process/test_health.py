"""The health of real servers, as a command tells it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.cli.cli_process import Cli, Ran, eventually
from tests.support.faults.replica_set import ReplicaSet
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


def with_settings(cli: Cli, **settings: str) -> Cli:
    return Cli(cli.cwd, {**cli.settings, **{f"JOBQUEUE_{name}": value for name, value in settings.items()}})


def test_health_follows_the_port_and_is_told_when_nobody_is_there(cli: Cli) -> None:
    with cli.start("serve", "--port", "0") as server:
        port = server.ready().rpartition(":")[2]
        by_flag = cli.run("health", "--port", port)
        assert (by_flag.code, by_flag.out, by_flag.err) == (0, "ok\n", "")
        same = with_settings(cli, PORT=port, HOST="0.0.0.0")  # noqa: S104 - as in an image
        assert same.run("health").out == "ok\n"
        assert same.run("health", "--ready").out == "ready\n"
        other = free_port()
        wrong = cli.run("health", "--port", str(other))
        assert (wrong.code, wrong.out) == (1, "")
        assert wrong.err.startswith(f"error: http://127.0.0.1:{other} does not answer: ")
        assert "Connection refused" in wrong.err
        assert len(wrong.err.splitlines()) == 1
        unknown = cli.run("health", "--port", "0")
        assert (unknown.code, unknown.err) == (
            2,
            "error: port: is 0, so that serve has taken a free one: name it by --port\n",
        )


def test_health_speaks_tls_as_the_server_does(cli: Cli) -> None:
    subject = ("-subj", "/CN=queue.example.org", "-addext", "subjectAltName=DNS:queue.example.org")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", "key.pem")
    subprocess.run([*made, "-out", "cert.pem", *subject], cwd=cli.cwd, check=True, capture_output=True, timeout=60)
    secure = with_settings(cli, TLS_CERT="cert.pem", TLS_KEY="key.pem")
    with secure.start("serve", "--port", "0") as server:
        port = server.ready().rpartition(":")[2]
        assert secure.run("health", "--port", port).out == "ok\n"
        assert cli.run("health", "--port", port, "--tls-cert", "cert.pem").out == "ok\n"
        plain = cli.run("health", "--port", port)
        assert (plain.code, plain.out, len(plain.err.splitlines())) == (1, "", 1)


def test_health_gives_up_on_a_server_that_hangs_or_is_another(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        hangs = cli.run("health", "--port", port, "--timeout", "0.2")
        assert (hangs.code, hangs.err) == (1, f"error: http://127.0.0.1:{port} does not answer within 0.2 seconds\n")


async def test_a_server_that_lives_and_is_not_ready_says_why(tmp_path: Path) -> None:
    with ReplicaSet() as nodes:
        cli = Cli(tmp_path, {"JOBQUEUE_MONGO_URL": nodes.url})
        with cli.start("serve", "--port", "0") as server:
            port = server.ready().rpartition(":")[2]
            assert cli.run("health", "--port", port, "--ready").out == "ready\n"
            nodes.nodes[0].kill()

            async def ask() -> Ran:
                return await asyncio.to_thread(cli.run, "health", "--port", port, "--ready", "--timeout", "30")

            unready = await eventually(ask, lambda ran: ran.code != 0)
            assert (unready.code, unready.out) == (1, "")
            assert unready.err.startswith(f"error: http://127.0.0.1:{port} is not well: ")
            assert len(unready.err.splitlines()) == 1
            assert cli.run("health", "--port", port).out == "ok\n"
