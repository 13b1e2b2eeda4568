"""The morning after a bad night: each question takes one command, and 80 columns show the whole answer."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING

import pytest

from jobqueue.cli.main import main
from jobqueue.domain.jobs.short_ids import tail
from tests.acceptance.cli.cli_process import Cli, Ran
from tests.support import terminal
from tests.support.data import night
from tests.support.data.factories import open_runtime
from tests.support.data.night import CONNECTION, ENDLESS, KEY, KINDS, QUOTA, SILENT, TIMEOUT, Night

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jobqueue.settings import Settings

WIDTH = 80
QUESTIONS = {
    "what failed, and why": ("failures",),
    "why is it stuck": ("why", "--queue", "media"),
    "who is silent": ("workers", "--silent"),
    "which schedule did not run": ("schedule", "list"),
    "what needs somebody": ("status",),
}
TEMPLATES = {
    "import_customers": "KeyError: 'vat_id'",
    "render_invoice": "ConnectionError: Cannot connect to host pdf.internal.example:<n> ssl:default "
    "[Connect call failed (<text>, <n>)]",
    "scrape_catalogue": "timeout: it ran longer than its timeout of <n> s",
    "provision": "QuotaExceeded: project acme-<n> has used <n> of its <n> cores in region eu-west-<n>, and the "
    "request for <n> more was refused",
}


@pytest.fixture
def fallen(settings: Settings) -> Night:
    """Write the night into the database."""

    async def write() -> Night:
        async with open_runtime(settings) as runtime:
            return await night.fall(runtime)

    return asyncio.run(write())


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
def here(
    tmp_path: Path, mongo_url: str, db_name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Run a command within this process, whose output is no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setenv("JOBQUEUE_MONGO_URL", mongo_url)
    monkeypatch.setenv("JOBQUEUE_DB", db_name)

    def run(*words: str) -> Ran:
        code = main(words)
        printed = capsys.readouterr()
        return Ran(code=code, out=printed.out, err=printed.err)

    return run


def columns(text: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table by their headings; further lines of a cell belong to the row above."""
    heading, *lines = text.splitlines()
    names = [name.strip() for name in heading.split("  ") if name.strip()]
    # Headings of numbers stand right: the column begins where the one before ends.
    starts = [heading.index(name) for name in names]
    row: dict[str, str] = {}
    for line in lines:
        cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], len(line)], strict=True)]
        if cells[0]:
            if row:
                yield row
            row = dict(zip(names, cells, strict=True))
        else:
            row = {name: f"{row[name]} {cell}".strip() for name, cell in zip(names, cells, strict=True)}
    if row:
        yield row


def squeezed(text: str) -> str:
    """Return a text whose words have one blank between them, wherever its lines end."""
    return " ".join(text.split())


def check(question: str, text: str, fallen: Night) -> None:
    """Check that a text holds the whole answer to a question, of words that a terminal may have wrapped."""
    words = squeezed(text)
    match question:
        case "what failed, and why":
            for count, kind in ((140, "import_customers"), (90, "render_invoice"), (60, "scrape_catalogue")):
                assert f" {count} " in words
                assert kind in words
        case "why is it stuck":
            assert "1 of 1 jobs are running" in words
            assert f"{fallen.holder[-6:]} transcode for 5h on {ENDLESS}, step encode" in words
        case "who is silent":
            assert all(worker in words for worker in SILENT)
            assert ENDLESS not in words
            assert "47m ago" in words
        case "which schedule did not run":
            assert "nightly-billing-report" in words
            for part in ("4h ago: job", fallen.key_holder, "has the key", "'billing-report'", "in queue reports"):
                assert part in words
        case _:
            for message in TEMPLATES.values():
                assert message in words
            assert (
                f"queue media is stuck: 40 pending, the oldest for 4 h: 1 of 1 jobs are running, first {fallen.holder}"
                in words
            )
            assert all(f"worker {worker} gave its last sign of life" in words for worker in SILENT)
            assert "schedule nightly-billing-report made no job at" in words


def test_each_question_is_answered_by_one_command_on_a_terminal(cli: Cli, fallen: Night) -> None:
    for question, command in QUESTIONS.items():
        code, shown = terminal.run(*command, cwd=cli.cwd, env=cli.environ(), columns=WIDTH)
        text = terminal.unstyled(shown)
        assert code == (1 if command == ("status",) else 0), text
        assert max(map(len, text.splitlines())) <= WIDTH, text
        check(question, text, fallen)
        if question == "what failed, and why":
            rows = {row["TYPE"]: row["WHAT"] for row in columns(text)}
            assert rows == TEMPLATES
            assert "\x1b[" in shown
            env = {**cli.environ(), "NO_COLOR": "1"}
            _, plain = terminal.run(*command, cwd=cli.cwd, env=env, columns=WIDTH)
            assert "\x1b" not in plain
            assert {row["TYPE"]: row["WHAT"] for row in columns(plain)} == TEMPLATES
    for words in (("stats",), ("stats", "--window", "24h"), ("queues",)):
        code, shown = terminal.run(*words, cwd=cli.cwd, env=cli.environ(), columns=WIDTH)
        text = terminal.unstyled(shown)
        assert code == 0, text
        assert max(map(len, text.splitlines())) <= WIDTH, text
        assert ("FAILED" in text, "…" in text) == (True, False)


def test_a_pipe_gets_each_row_whole_on_one_line(here: Callable[..., Ran], fallen: Night) -> None:
    for question, command in QUESTIONS.items():
        check(question, here(*command).out, fallen)
    lines = here("failures").out.splitlines()
    assert len(lines) == 1 + len(KINDS)
    for line, (kind, *_, trace) in zip(lines[1:], (KEY, CONNECTION, TIMEOUT, QUOTA), strict=True):
        assert f"  {kind} " in line
        assert TEMPLATES[kind] in line
        assert ("normalise.py in normalise" in line) is (trace is not None)
    listed = here("list", "--state", "failed", "--limit", "200").out.splitlines()
    assert len(listed) == 201
    assert any(line.endswith(f"{CONNECTION[4]}: {CONNECTION[5]}") for line in listed)


def test_the_answers_are_json_too(here: Callable[..., Ran], fallen: Night) -> None:
    groups = here("failures", "--json").json()["items"]
    assert [(group["type"], group["count"]) for group in groups] == [(kind[0], kind[3]) for kind in KINDS]
    [reason] = here("why", "--queue", "media", "--json").json()["reasons"]
    assert [(holder["id"], holder["worker"], holder["step"]) for holder in reason["holders"]] == [
        (fallen.holder, ENDLESS, "encode")
    ]
    silent = here("workers", "--silent", "--json").json()["items"]
    assert [worker["name"] for worker in silent] == sorted(SILENT)
    skipped = {view["name"]: view["lastSkipped"] for view in here("schedule", "list", "--json").json()["items"]}
    assert fallen.key_holder in skipped["nightly-billing-report"]["reason"]
    assert skipped["cleanup"] is None
    concerns = json.loads(here("status", "--json").out)["items"]
    assert [concern["kind"] for concern in concerns] == [*["failures"] * 4, "queue", "worker", "worker", "schedule"]


def test_the_short_id_of_a_list_is_taken_by_every_command(cli: Cli, here: Callable[..., Ran], fallen: Night) -> None:
    _, shown = terminal.run("list", "--state", "processing", cwd=cli.cwd, env=cli.environ(), columns=WIDTH)
    [row] = columns(terminal.unstyled(shown))
    assert row["ID"] == f"…{tail(fallen.holder)}"
    assert row["ABOUT"] == f"for 5h, on {ENDLESS}, step encode, 40 %"
    assert here("show", row["ID"], "--json").json()["id"] == fallen.holder
    lines = here("show", fallen.holder[-8:]).out.splitlines()
    assert {"worker       " + ENDLESS, "step         encode", "running      for 5h"} <= set(lines)
    assert f"{row['ID']} transcode for 5h, step encode" in squeezed(
        terminal.unstyled(terminal.run("workers", cwd=cli.cwd, env=cli.environ(), columns=120)[1])
    )
    assert here("why", row["ID"]).out.startswith("state        it is running on ")
    killed = here("kill", row["ID"], f"...{fallen.key_holder[-6:]}")
    assert killed.err == ""
    assert killed.out.splitlines() == [f"{fallen.holder} killed", f"{fallen.key_holder} killed"]
    ambiguous = here("kill", fallen.holder[:8])
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert ambiguous.err.startswith(f"error: id: {fallen.holder[:8]} stands for several jobs: ")
    assert ambiguous.err.count("success)") == 5
    assert ambiguous.err.endswith(") and others\n")
    unknown = here("requeue", fallen.holder, "…0000000")
    assert (unknown.code, unknown.out, unknown.err) == (4, "", "error: there is no job …0000000\n")
    assert here("show", "…12345").code == 2


def test_empty_lists_say_what_would_help(here: Callable[..., Ran], fallen: Night) -> None:
    del fallen
    empty = here("list", "--queue", "media", "--state", "failed")
    assert (empty.code, empty.out, empty.err) == (0, "", "no jobs match; without --state failed there are 41\n")
    many = here("list", "--type", "import_customers", "--state", "delayed")
    assert many.err == "no jobs match; without --state delayed there are 200 or more\n"
    assert here("list", "--type", "none", "--state", "failed").err == "no jobs match\n"
    assert here("failures", "--queue", "media").err == "no failures match\n"
    assert here("batch", "list").err == "there are no batches\n"
    assert here("list", "--state", "failed", "--queue", "media", "--json").json() == {"items": [], "next": None}
