from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from jobqueue.demo import summary
from jobqueue.demo.display import LiveDisplay, PlainDisplay, display
from jobqueue.demo.findings import Findings
from jobqueue.demo.tally import Snapshot
from jobqueue.domain.jobs.attempt import JobError
from jobqueue.domain.jobs.states import State

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = Snapshot(total=10, done=3, failed=1, retried=2, running=4, rate=12.4, line="a\x1b[2J.py: 1 lines")


def analysed(file: str, lines: int = 10, complexity: int = 1, imports: tuple[str, ...] = (), attempts: int = 1) -> Any:
    function = {"name": "f", "line": 1}
    result = {
        "bytes": lines * 20,
        "lines": lines,
        "functions": 1,
        "classes": 0,
        "imports": list(imports),
        "longest": {**function, "lines": lines},
        "mostComplex": {**function, "complexity": complexity},
        "depth": complexity,
    }
    return ended(file, State.SUCCESS, attempts, result=result)


def failed(file: str, kind: str, state: State = State.FAILED) -> Any:
    return ended(file, state, 3, error=JobError(kind=kind, message=f"{file}: no"))


def ended(file: str, state: State, attempts: int, *, result: Any = None, error: JobError | None = None) -> Any:
    return SimpleNamespace(
        id=f"id-of-{file}",
        data={"file": file},
        state=state,
        result=result,
        error=error,
        attempts_made=attempts,
        history=[SimpleNamespace(start_at=BEGAN)] * attempts,
        end_at=BEGAN + timedelta(seconds=2),
    )


def report(*jobs: Any) -> dict[str, Any]:
    findings = Findings("0123abcd", "/lib", BEGAN)
    for job in jobs:
        findings.add(job)
    return findings.report()


def test_the_report_adds_up_what_the_analyses_found() -> None:
    found = report(
        analysed("a.py", lines=5, imports=("os", "sys")),
        analysed("b.py", lines=50, complexity=7, imports=("sys",), attempts=2),
        failed("c.py", "SyntaxError"),
    )

    assert found["totals"] == {
        "files": 3,
        "analysed": 2,
        "failed": 1,
        "attempts": 6,
        "retried": 2,
        "bytes": 1100,
        "lines": 55,
        "functions": 2,
        "classes": 0,
        "modules": 2,
    }
    assert found["largest"][0] == {"file": "b.py", "lines": 50}
    assert found["mostImported"] == [{"module": "sys", "files": 2}, {"module": "os", "files": 1}]
    assert found["mostComplex"] == {"file": "b.py", "name": "f", "line": 1, "complexity": 7}
    assert found["seconds"] == 2


def test_failures_are_grouped_by_kind_with_a_few_samples() -> None:
    jobs = [failed(f"{number}.py", "SyntaxError") for number in range(5)]
    found = report(failed("x.py", "die", State.KILLED), *jobs)["failures"]

    assert [(one["kind"], one["state"], one["count"], len(one["samples"])) for one in found] == [
        ("SyntaxError", "failed", 5, 3),
        ("die", "killed", 1, 1),
    ]
    assert found[0]["samples"][0] == {"id": "id-of-0.py", "file": "0.py", "attempts": 3, "message": "0.py: no"}


def test_an_empty_tree_has_a_report() -> None:
    found = report()

    assert found["totals"]["files"] == 0
    assert found["mostComplex"] is None
    assert "Nothing failed" in shown(found)


def test_the_summary_shows_the_report_and_obeys_nothing_in_it() -> None:
    text = shown(report(analysed("[bold]a\x1b[2J.py", lines=1234), failed("b.py", "SyntaxError")))

    assert "[bold]a\\x1b[2J.py" in text
    assert "1,234" in text
    assert "b.py: no" in text


def test_where_to_look_further_depends_on_what_failed_and_what_is_served() -> None:
    good, bad = report(analysed("a.py")), report(failed("b.py", "SyntaxError"))
    header = ' -H "Authorization: Bearer $JOBQUEUE_ADMIN_TOKEN"'

    assert summary.pointers(good, None, ()) == ["jobqueue list --queue demo-0123abcd"]
    assert summary.pointers(bad, "http://127.0.0.1:1", ("--db", "my db"), authorized=True) == [
        "jobqueue list --state failed --state killed --queue demo-0123abcd --db 'my db'",
        "jobqueue show id-of-b.py --db 'my db'",
        f"curl{header} 'http://127.0.0.1:1/v1/jobs?state=failed,killed&meta.demo=0123abcd'",
    ]


def test_a_terminal_shows_a_bar_and_the_last_line() -> None:
    stream = io.StringIO()
    shows = display(Console(file=stream, force_terminal=True, width=100))
    assert isinstance(shows, LiveDisplay)
    with shows:
        shows.show(NOW)
        shows.say("a line that stays")

    assert "4/10" in stream.getvalue()
    assert "4 running, 1 failed, 2 retried, 12 jobs/s" in stream.getvalue()
    assert "a\\x1b[2J.py" in stream.getvalue()
    assert "a line that stays" in stream.getvalue()


def test_elsewhere_a_line_is_printed_now_and_then() -> None:
    stream = io.StringIO()
    shows = display(Console(file=stream, width=100))
    assert isinstance(shows, PlainDisplay)
    with shows:
        shows.show(NOW)
        shows.show(NOW)

    assert stream.getvalue().count("\n") == 1
    assert "4 of 10 ended, 4 running" in stream.getvalue()


def shown(found: dict[str, Any]) -> str:
    stream = io.StringIO()
    summary.show(Console(file=stream, width=150), found)
    return stream.getvalue()
