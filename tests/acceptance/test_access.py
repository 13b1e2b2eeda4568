"""Tokens, TLS and secrets with real processes."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from pymongo import MongoClient

from jobqueue.cli.running.serving import Endpoint, check_token
from jobqueue.domain.errors import SettingsError
from jobqueue.domain.insight.audit import Actor
from tests.acceptance.cli.cli_process import Cli, Service, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from jobqueue.services.application import Runtime

CANARY = "canary-7f3a9c51e2"


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def stopped(service: Service) -> int:
    service.send()
    return service.ended()[0]


async def status(url: str, token: str, method: str = "GET", **options: Any) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers, **options) as answer:
        await answer.read()
        return answer.status


async def test_a_token_is_made_used_and_revoked(cli: Cli) -> None:
    made = cli.run("token", "create", "--role", "read", "--meta", "user_id=7", "--expires", "1d", "--json").json()
    assert (made["roles"], made["meta"], made["expiresAt"] is None) == (["read"], {"user_id": 7}, False)
    assert made["token"].startswith(f"jq_{made['id']}_")
    cli.settings["JOBQUEUE_ADMIN_TOKEN"] = "only-so-that-tokens-are-needed"  # noqa: S105 - a test's own
    with cli.start("serve", "--port", "0") as service:
        url = service.ready().removeprefix("listening on ")
        assert await status(f"{url}/v1/jobs", made["token"]) == 200
        assert await status(f"{url}/v1/jobs", made["token"], "POST", json={"type": "a"}) == 403
        assert await status(f"{url}/v1/jobs", "x") == 401
        listed = cli.run("token", "list", "--json")
        assert made["token"].rpartition("_")[2] not in listed.out
        assert cli.run("token", "revoke", made["id"]).code == 0

        async def refused() -> int:
            return await status(f"{url}/v1/jobs", made["token"])

        assert await eventually(refused, lambda seen: seen != 200) == 401
        assert stopped(service) == 0
    [change, *_] = cli.run("audit", "--kind", "token", "--json").json()["items"]
    assert (change["action"], change["by"]["via"]) == ("revoke", "cli")


async def test_a_server_that_others_can_reach_does_not_start_without_a_token(idle_runtime: Runtime) -> None:
    door = Endpoint(is_private=False, tls=None)
    with pytest.raises(SettingsError, match="lets others reach this server: set JOBQUEUE_ADMIN_TOKEN"):
        await check_token(idle_runtime, door)
    await check_token(idle_runtime, Endpoint(is_private=True, tls=None))
    by = Actor(name="test", via="python")
    made, _ = await idle_runtime.access.create(roles=["read"], by=by)
    await check_token(idle_runtime, door)
    await idle_runtime.access.revoke(made.id, by=by)
    with pytest.raises(SettingsError):
        await check_token(idle_runtime, door)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["create", "--role", "boss"], 2),
        (["create", "--role", "read", "--meta", "user_id"], 2),
        (["create", "--role", "read", "--queue", "a.b"], 2),
        (["create", "--role", "read", "--expires", "soon"], 2),
        (["revoke", "nothing"], 4),
    ],
)
def test_what_cannot_be_is_said_in_one_line(cli: Cli, words: list[str], code: int) -> None:
    assert cli.run("add", "a").code == 0
    done = cli.run("token", *words)
    assert done.code == code
    assert len([line for line in done.err.splitlines() if line]) <= 3
    assert "Traceback" not in done.err


async def test_an_open_server_answers_a_foreign_name_only_if_that_is_allowed(cli: Cli) -> None:
    paths = ("/", "/healthz", "/metrics", "/docs", "/v1/queues", "/v1/events", "/nothing")
    with cli.start("serve", "--port", "0", "--allowed-hosts", "queue.example.org") as service:
        url = service.ready().removeprefix("listening on ")
        async with aiohttp.ClientSession() as session:
            for path in paths:
                async with session.get(url + path, headers={"Host": "evil.example"}) as refused:
                    assert (refused.status, refused.content_type) == (403, "application/problem+json")
                    assert "JOBQUEUE_ALLOWED_HOSTS" in await refused.text()
                for host in ("queue.example.org:443", "localhost"):
                    async with session.get(url + path, headers={"Host": host}) as answered:
                        assert answered.status == (404 if path == "/nothing" else 200)


async def test_tls_is_spoken_with_a_certificate(cli: Cli, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = ssl.create_default_context(cafile=str(cert))
    with cli.start("serve", "--port", "0", "--tls-cert", str(cert), "--tls-key", str(key)) as service:
        url = service.ready().removeprefix("listening on ")
        assert url.startswith("https://127.0.0.1:")
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz", ssl=context) as answer:
            assert answer.status == 200
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        assert stopped(service) == 0
    broken = cli.run("serve", "--port", "0", "--tls-cert", str(key), "--tls-key", str(cert))
    assert broken.code == 2
    assert "cannot be used" in broken.err


async def test_no_secret_is_ever_written_or_shown(tmp_path: Path, mongo_url: str, db_name: str) -> None:
    user = f"u{db_name[-6:]}"
    with MongoClient[dict[str, Any]](mongo_url) as client:
        client["admin"].command("createUser", user, pwd=f"{CANARY}-mongo", roles=["root"])
    try:
        with_password = mongo_url.replace("://", f"://{user}:{CANARY}-mongo@")
        environment = {
            "JOBQUEUE_MONGO_URL": with_password,
            "JOBQUEUE_DB": db_name,
            "JOBQUEUE_ADMIN_TOKEN": f"{CANARY}-admin",
            "JOBQUEUE_LOG_LEVEL": "debug",
        }
        cli = Cli(tmp_path, environment)
        secret = "whsec_" + "Q0FOQVJZ" * 4
        told: list[str] = []
        with cli.start("serve", "--port", "0") as service:
            url = service.ready().removeprefix("listening on ")
            admin = {"Authorization": f"Bearer {CANARY}-admin"}
            async with aiohttp.ClientSession(headers=admin) as session:
                hook = {"kind": "webhook", "url": "http://127.0.0.1:9/x", "secret": secret}
                config = {"processors": {"hook": {**hook, "headers": {"X-Key": f"{CANARY}-header"}}}, "attempts": 1}
                async with session.put(f"{url}/v1/queues/q", json=config) as answer:
                    assert answer.status == 200
                made = cli.run("token", "create", "--role", "read", "--json").json()
                async with session.post(f"{url}/v1/jobs", json={"type": "hook", "queue": "q"}) as answer:
                    job = (await answer.json())["id"]

                async def state() -> Any:
                    async with session.get(f"{url}/v1/jobs/{job}") as answer:
                        return (await answer.json())["state"]

                await eventually(state, lambda seen: seen == "failed")
                for path in (
                    "queues",
                    "queues/q",
                    "queues/q/changes",
                    "jobs",
                    f"jobs/{job}",
                    "audit",
                    f"jobs/{job}/why",
                ):
                    async with session.get(f"{url}/v1/{path}") as answer:
                        told.append(await answer.text())
                bodies: list[Any] = [{"processors": {"hook": {**hook, "secret": f"{CANARY}-x"}}}, {"secret": secret}]
                for body in bodies:
                    async with session.put(f"{url}/v1/queues/q", json=body) as answer:
                        told.append(await answer.text())
            await status(f"{url}/v1/jobs", made["token"])
            await status(f"{url}/v1/jobs?x={CANARY}-query", f"{CANARY}-wrong")
            assert stopped(service) == 0
            told.append(service.log)
        told += [cli.run(*words.split()).out for words in ("settings", "settings --json", "queue show q", "token list")]
        told += [cli.run("doctor").out, cli.run("show", job, "--json").out]
        wrong = Cli(tmp_path, {**environment, "JOBQUEUE_MONGO_URL": with_password.replace("-mongo@", "-other@")})
        failed = await asyncio.to_thread(wrong.run, "list")
        told += [failed.err, failed.out]
        whole = json.dumps(told)
        for canary in (f"{CANARY}-mongo", f"{CANARY}-admin", f"{CANARY}-header", f"{CANARY}-wrong", secret):
            assert canary not in whole, canary
        assert made["token"].split("_", 2)[2] not in whole
    finally:
        with MongoClient[dict[str, Any]](mongo_url) as client:
            client["admin"].command("dropUser", user)
