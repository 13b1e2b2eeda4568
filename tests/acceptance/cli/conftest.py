"""The command line within the test's process, over the database and over HTTP."""

from __future__ import annotations

import asyncio
import io
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestServer

from jobqueue.api.app import make_app
from jobqueue.cli.main import main
from jobqueue.services.application import Runtime
from tests.acceptance.cli.cli_process import Cli, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jobqueue.settings import Settings

ADMIN = "the-token-of-the-settings"


class Here:
    """Runs commands as `Cli` does, but within this process, which saves the imports."""

    def __init__(self, over: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.over = over
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str, stdin: str = "") -> Ran:
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(words)
        printed = self._capsys.readouterr()
        return Ran(code=code, out=printed.out, err=printed.err)

    run = __call__


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the API in a thread of its own, with everything in the background; give its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    async def begin() -> tuple[Runtime, TestServer]:
        runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
        await runtime.start()
        server = TestServer(make_app(runtime))
        await server.start_server()
        return runtime, server

    try:
        runtime, server = do(begin())
        try:
            yield str(server.make_url("")).rstrip("/")
        finally:
            do(server.close())
            do(runtime.close())
            do(loop.shutdown_default_executor())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(params=["database", "server"])
def over(request: pytest.FixtureRequest) -> str:
    """Name what commands work on; a test that takes it runs over both."""
    return str(request.param)


@pytest.fixture
def environ(over: str, settings: Settings) -> Iterator[dict[str, str]]:
    """Give the variables by which commands find what they work on."""
    assert settings.mongo_url is not None
    if over == "database":
        yield {"JOBQUEUE_MONGO_URL": settings.mongo_url, "JOBQUEUE_DB": settings.db}
        return
    with serving(settings) as url:
        yield {"JOBQUEUE_URL": url, "JOBQUEUE_API_TOKEN": ADMIN}


@pytest.fixture
def here(
    tmp_path: Path,
    over: str,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Ran]:
    """Run a command within this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Here(over, monkeypatch, capsys)


@pytest.fixture
def either_cli(tmp_path: Path, environ: dict[str, str]) -> Cli:
    """Run commands as processes, over both."""
    return Cli(tmp_path, environ)
