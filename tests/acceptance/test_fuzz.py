"""The server does what its own document says, whatever it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.cli.cli_process import Cli
from tests.support.fuzz.schema_fuzz import fuzz

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "a-token-that-may-do-everything"  # noqa: S105 - a test's own


def test_whatever_is_sent_is_answered_as_the_document_says(tmp_path: Path, mongo_url: str, db_name: str) -> None:
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name, "JOBQUEUE_ADMIN_TOKEN": TOKEN}
    cli = Cli(tmp_path, {**settings, "JOBQUEUE_LOG_LEVEL": "error"})
    with cli.start("serve", "--port", "0") as service:
        url = service.ready().removeprefix("listening on ")
        options = ["--phases", "fuzzing", "--seed", "7"]
        done = fuzz(url, TOKEN, tmp_path, examples=2, options=options)
        assert done.returncode == 0, done.stdout[-6000:]
        service.send()
        assert service.ended()[0] == 0
        assert "request crashed" not in service.log
