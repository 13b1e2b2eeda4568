"""The pages for beginners, done from their text alone, in an empty folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.docs.console import Command, Reader
from tests.support.docs.readme import ROOT
from tests.support.zygote.shell import search_path

_USUAL: Final = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", ["start/first-job", "start/tutorial", "guides/adding-jobs", "guides/alarm-to-mended"])
def test_the_page_works_as_it_is_printed(
    page: str, tmp_path: Path, mongo_url: str, db_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("JOBQUEUE_")]:
        monkeypatch.delenv(name)
    environment = os.environ | {
        # The first page starts every program as a reader does; for the others it costs too much.
        "PATH": search_path(tmp_path / "bin") if page != "start/first-job" else _USUAL,
        "JOBQUEUE_MONGO_URL": mongo_url,
        "JOBQUEUE_DB": db_name,
        "JOBQUEUE_PORT": "0",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    reader = Reader(folder, environment)
    try:
        reader.read((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    finally:
        reader.close()


def test_the_reader_notices_other_output() -> None:
    command = Command("show", ["state …", "…", "done"])
    assert command.matches("state failed\ndone\n")
    assert command.matches("state failed\nmore\nand more\ndone\n")
    assert not command.matches("state failed\n")
    assert not command.matches("failed\ndone\n")
