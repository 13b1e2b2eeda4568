"""Commands on the pages for those who operate a queue do what the pages say."""

from __future__ import annotations

import asyncio
import io
import re
import shlex
from typing import TYPE_CHECKING, Final

import pytest

from jobqueue import State
from jobqueue.cli.main import main
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.failure import FailureQuery
from tests.support.data.factories import add, claimed_job, fail, job_in, open_runtime
from tests.support.docs.console import Command, commands
from tests.support.docs.readme import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue.settings import Settings

PAGES: Final = sorted((ROOT / "docs" / "operate").glob("*.md"))
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SENTENCE: Final = re.compile(r"(?<=[.:;?])\s+|\n[*|#-]|\n\d+\.|\n\n| \| ")
_MOST_WORDS: Final = 25
_OTHER: Final = frozenset({"serve", "worker", "health", "completion", "doctor"})
"""Commands that go on until they are stopped, ask a server of their own, need a shell, or take seconds."""
_RUN: Final = ("backup.md", "production.md", "runbook.md", "security.md")


def typed(page: Path) -> Iterator[Command]:
    """Return the commands of jobqueue on a page; a pipe or a redirection ends one."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for command in commands(block.replace("\\\n", " ")):
            words = re.split(r" [|>] ", command.text)[0]
            if words.startswith("jobqueue "):
                yield Command(words, [] if words != command.text else command.output)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", text))
    long = [part for part in _SENTENCE.split(text) if len(part.split()) > _MOST_WORDS]
    assert long == []


@pytest.mark.parametrize("name", _RUN)
async def test_commands_print_what_the_page_says(
    name: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings.mongo_url is not None
    for variable, value in {"MONGO_URL": settings.mongo_url, "DB": settings.db}.items():
        monkeypatch.setenv(f"JOBQUEUE_{variable}", value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    known = await _prepare(settings)
    page = ROOT / "docs" / "operate" / name
    ran = 0
    for command in typed(page):
        words = [known.get(word, word) for word in shlex.split(command.text)[1:]]
        if words[0] in _OTHER:
            continue
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        code = await _in_thread(words)
        printed = capsys.readouterr()
        assert code in {0, 1 if words[0] == "status" else 0}, (command.text, printed.err)
        if command.output:
            assert command.matches(printed.out), f"$ {command.text}\n{printed.out}"
        ran += 1
    assert ran >= 3


async def _in_thread(words: list[str]) -> int:
    return await asyncio.to_thread(main, words)


async def _prepare(settings: Settings) -> dict[str, str]:
    """Leave what the pages speak of; return what stands for the names on them."""
    async with open_runtime(settings) as runtime:
        await add(runtime, "thumbnail", queue="media")
        await job_in(runtime, State.KILLED, queue="billing")
        await runtime.alerts.put("ops", {"url": "https://hooks.example.com/jobs"})
        await fail(runtime, await claimed_job(runtime, "charge", queue="billing", attempts=1))
        waiting = await add(runtime, "charge", queue="billing", data={"n": 1})
        await runtime.producer.add(NewJob(type="nightly", queue="reports"))
        found = await runtime.failures.page(FailureQuery(type="charge"))
    await _in_thread(["schedule", "set", "nightly", '{"every": 3600, "job": {"type": "nightly"}}'])
    return {"ID": waiting.id, "FINGERPRINT": found[0][0].fingerprint}
