"""A server of the test's own process, and clients of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestServer

from jobqueue import AsyncClient
from jobqueue.api.app import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime


@pytest.fixture
async def server(runtime: Runtime) -> AsyncIterator[str]:
    """Give the URL of a server."""
    async with TestServer(make_app(runtime)) as started:
        yield str(started.make_url("")).rstrip("/")


@pytest.fixture
async def client(server: str) -> AsyncIterator[AsyncClient]:
    """Give a client of the server."""
    async with AsyncClient(server, timeout=100) as opened:
        yield opened
