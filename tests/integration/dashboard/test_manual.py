"""The manual at ``/manual``, and the pages of problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame import manual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aiohttp import web

    from jobqueue.services.application import Runtime

PAGE = """<!doctype html><html><head><style>body{color:red}</style><script src="_static/a.js"></script></head>
<body><script>document.body.dataset.theme = "dark"</script><svg style="display: none;"></svg></body></html>"""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "manual"
    (folder / "problems").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "problems" / "stale-token.html").write_text(PAGE)
    (tmp_path / "secret.html").write_text("secret")
    monkeypatch.setattr(manual, "_FOLDER", folder)
    for kept in (manual._names, manual._policy):
        kept.cache_clear()
    yield folder
    for kept in (manual._names, manual._policy):
        kept.cache_clear()


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    # With tokens needed: the manual is for everybody.
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as client:
        yield client


async def test_pages_allow_the_scripts_and_styles_that_were_built_into_them(
    client: TestClient[web.Request, web.Application], built: Path
) -> None:
    reply = await client.get("/manual")
    assert (reply.url.path, reply.status, reply.content_type) == ("/manual/", 200, "text/html")
    assert "secret" not in await reply.text()
    policy = reply.headers["Content-Security-Policy"]
    scripts, styles = (next(part for part in policy.split("; ") if part.startswith(kind)) for kind in ("scr", "style"))
    assert (scripts.count("'sha256-"), styles.count("'sha256-")) == (1, 2)
    assert "unsafe-inline" not in policy
    assert (built / "index.html").read_text() == PAGE


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("path", ["../secret.html", "%2e%2e/secret.html", "problems/../../secret.html", "nothing.html"])
async def test_no_other_file_is_served(client: TestClient[web.Request, web.Application], path: str) -> None:
    reply = await client.get(f"/manual/{path}")
    assert reply.status in {401, 404}
    assert "secret" not in (await reply.text()).replace("secret.html", "")


@pytest.mark.usefixtures("built")
async def test_the_type_of_a_problem_is_the_address_of_its_page(
    client: TestClient[web.Request, web.Application],
) -> None:
    assert (await client.get("/problems/stale-token")).url.path == "/manual/problems/stale-token.html"
    assert (await client.get("/problems/nonsense")).status == 404


async def test_without_a_manual_it_says_how_to_build_one(
    client: TestClient[web.Request, web.Application], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual, "_FOLDER", tmp_path / "none")
    for path in ("/manual", "/manual/jobs.html", "/problems/stale-token"):
        reply = await client.get(path)
        assert (reply.status, "scripts/docs builds it" in await reply.text()) == (404, True)
