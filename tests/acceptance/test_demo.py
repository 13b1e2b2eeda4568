"""The demo on directories with good and bad sources, by real processes."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.cli.cli_process import Cli

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "import os\n\n\nclass A:\n    def f(self):\n        return os.name\n"
BAD = {
    "broken.py": b"def f(:\n",
    "old/two.py": b"print 'hello'\n",
    "latin.py": b"x = '\xe4'\n",
    "null.py": b"x = 1\0\n",
    "deep.py": b"x = " + b"-" * 100_000 + b"1\n",
}


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "old").mkdir(parents=True)
    (root / "pkg").mkdir()
    for number in range(20):
        (root / "pkg" / f"m{number:02}.py").write_text(GOOD)
    for name, source in BAD.items():
        (root / name).write_bytes(source)
    return root


def test_the_demo_reports_what_it_found_and_what_failed(cli: Cli, tree: Path) -> None:
    ran = cli.run("demo", "--no-serve", "--path", str(tree), "--json")

    report = ran.json()
    totals = report["totals"]
    assert (totals["files"], totals["analysed"], totals["failed"], totals["retried"]) == (25, 20, 5, 4)
    assert (totals["lines"], totals["functions"], totals["classes"]) == (120, 20, 20)
    assert report["mostImported"] == [{"module": "os", "files": 20}]
    groups = report["failures"]
    failures = {sample["file"]: {**group, **sample} for group in groups for sample in group["samples"]}
    assert failures.keys() == BAD.keys()
    assert (failures["old/two.py"]["state"], failures["old/two.py"]["attempts"]) == ("killed", 1)
    assert failures["old/two.py"]["message"].startswith("Python 2 source: old/two.py, line 1: Missing parentheses")
    assert (failures["latin.py"]["state"], failures["latin.py"]["attempts"]) == ("failed", 3)
    assert failures["latin.py"]["message"].startswith("latin.py, line 1: (unicode error)")
    assert failures["deep.py"]["message"].startswith("deep.py: ")
    assert (groups[0]["kind"], groups[0]["count"]) == ("SyntaxError", 3)
    pipeline = report["pipeline"]
    assert (pipeline["state"], pipeline["killed"], pipeline["starts"]) == ("success", True, 3)
    finished = (("list", 1), ("pack", 2), ("check", 2), ("publish", 2))
    assert pipeline["steps"] == [{"name": name, "attempt": n} for name, n in finished]
    assert (pipeline["result"]["files"], pipeline["result"]["published"]) == (25, True)


def test_the_commands_it_names_show_what_failed(cli: Cli, tree: Path) -> None:
    ran = cli.run("demo", "--no-serve", "--path", str(tree))
    commands = re.findall(r"^  .+? -m jobqueue (.*)$", ran.out, re.MULTILINE)

    assert ran.code == 0, ran.err
    assert "WHAT FAILED" in ran.out
    assert "A PIPELINE OF STEPS" in ran.out
    assert "was killed half-way through pack" in ran.out
    assert len(commands) == 2
    listed, shown = (cli.run(*shlex.split(command)) for command in commands)
    assert listed.code == 0, listed.err
    assert len(listed.out.splitlines()) == 1 + len(BAD)
    assert shown.code == 0, shown.err
    assert "demo.analyse" in shown.out


def test_the_report_came_so_that_the_jobs_may_be_deleted(cli: Cli, tree: Path) -> None:
    ran = cli.run("demo", "--no-serve", "--path", str(tree), "--limit", "10", "--delete")

    assert ran.code == 0, ran.err
    # Ten analyses, the first and the last job, and the pipeline.
    assert "13 jobs deleted" in ran.out
    assert cli.run("list", "--json").json()["items"] == []


async def test_a_stopped_run_goes_on_where_it_was(cli: Cli, tree: Path) -> None:
    for number in range(400):
        (tree / f"m{number}.py").write_text(GOOD)
    with cli.start("demo", "--no-serve", "--path", str(tree), "--concurrency", "1", "--json") as demo:
        await demo.logged("of 427 ended")
        demo.send(signal.SIGINT)
        code, printed = demo.ended()
    found = re.search(r"jobqueue (demo --resume [0-9a-f]{8})$", demo.log, re.MULTILINE)

    assert (code, printed) == (130, "")
    assert found, demo.log
    report = cli.run(*shlex.split(found[1]), "--no-serve", "--json").json()
    assert report["totals"]["files"] == 425
    assert report["totals"]["failed"] == len(BAD)
    assert report["totals"]["attempts"] >= 425 + 2 * 4


async def test_the_api_is_served_on_a_free_port_until_it_is_stopped(cli: Cli, tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("--path", str(tree), "--port", str(port), "--stay", "--json")
        with cli.start("demo", *options) as demo:
            await demo.logged("until Ctrl-C")
            url = re.search(r"curl '(http://127\.0\.0\.1:(\d+)/.*)'", demo.log)
            assert url, demo.log
            assert int(url[2]) != port
            body = fetched(url[1])
            graph = re.search(rf"(http://127\.0\.0\.1:{url[2]}/batches/[0-9a-f]{{24}})  the graph", demo.log)
            assert graph, demo.log
            assert "demo.analyse" in fetched(graph[1])
            demo.send(signal.SIGINT)
            code, printed = demo.ended()

    assert code == 0
    assert printed.startswith("{")
    assert body.count('"demo.analyse"') == len(BAD)


def test_without_a_terminal_it_does_not_stay(cli: Cli, tree: Path) -> None:
    ran = cli.run("demo", "--path", str(tree), "--port", "0", "--limit", "3")

    assert ran.code == 0, ran.err
    assert "dashboard and API at http://127.0.0.1:" in ran.out
    assert "until Ctrl-C" not in ran.out
    assert "curl" not in ran.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--resume", "0123abcd"), 4, "there is no demo run 0123abcd"),
        (("--resume", "x"), 2, "'x' is not the id of a run"),
        (("--resume", "0123abcd", "--limit", "1"), 2, "leave out all but its id"),
        (("--path", "/nonexistent"), 2, "does not exist"),
        (("--concurrency", "0"), 2, "--concurrency (flag): "),
    ],
)
def test_what_cannot_be_done_is_told_on_one_line(cli: Cli, words: tuple[str, ...], code: int, message: str) -> None:
    ran = cli.run("demo", "--no-serve", *words)

    assert ran.code == code
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert ran.out == ""


def fetched(url: str) -> str:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - the address of the demo itself
        return str(answer.read().decode())
