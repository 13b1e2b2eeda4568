from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jobqueue.cli.demo import program
from jobqueue.demo.run import summarize
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State

if TYPE_CHECKING:
    import pytest

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def analysed(file: str, lines: int = 10, complexity: int = 1, imports: tuple[str, ...] = (), attempts: int = 1) -> Any:
    function = {"name": "f", "line": 1, "lines": lines, "complexity": complexity}
    result = {
        "lines": lines,
        "functions": 1,
        "classes": 0,
        "imports": list(imports),
        "longest": function,
        "mostComplex": function,
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
    return summarize("0123abcd", "/lib", BEGAN, jobs)


def test_the_report_adds_up_what_the_analyses_found() -> None:
    summary = report(
        analysed("a.py", lines=5, imports=("os", "sys")),
        analysed("b.py", lines=50, complexity=7, imports=("sys",), attempts=2),
        failed("c.py", "SyntaxError"),
    )

    assert summary["totals"] == {
        "files": 3,
        "analysed": 2,
        "failed": 1,
        "attempts": 6,
        "retried": 2,
        "lines": 55,
        "functions": 2,
        "classes": 0,
    }
    assert summary["largest"][0] == {"file": "b.py", "lines": 50}
    assert summary["mostImported"] == [{"module": "sys", "files": 2}, {"module": "os", "files": 1}]
    assert summary["mostComplex"] == {"file": "b.py", "name": "f", "line": 1, "lines": 50, "complexity": 7}
    assert summary["seconds"] == 2


def test_failures_are_grouped_by_kind_with_a_few_samples() -> None:
    jobs = [failed(f"{number}.py", "SyntaxError") for number in range(5)]
    summary = report(failed("x.py", "die", State.KILLED), *jobs)["failures"]

    assert [(group["kind"], group["state"], group["count"], len(group["samples"])) for group in summary] == [
        ("SyntaxError", "failed", 5, 3),
        ("die", "killed", 1, 1),
    ]
    assert summary[0]["samples"][0] == {"id": "id-of-0.py", "file": "0.py", "attempts": 3, "message": "0.py: no"}


def test_an_empty_tree_has_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    summary = report()
    program.print_report(summary)

    assert summary["totals"]["files"] == 0
    assert summary["mostComplex"] is None
    assert "Nothing failed" in capsys.readouterr().out


def test_the_report_is_printed_and_nothing_in_it_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    program.print_report(report(analysed("[bold]a\x1b[2J.py", lines=1234), failed("b.py", "SyntaxError")))
    text = capsys.readouterr().out

    assert "[bold]a\\x1b[2J.py" in text
    assert "1,234" in text
    assert "b.py: no" in text


def test_a_terminal_shows_a_bar_and_the_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    lines: list[str] = []
    with program.display(lines.append, stderr=False) as show:
        show(4, 10, "1 failed, 2 retried; last: a\x1b[2J.py")
    text = capsys.readouterr().out

    assert "4/10" in text
    assert "1 failed, 2 retried; last: a\\x1b[2J.py" in text
    assert lines == []


def test_elsewhere_a_line_is_printed_now_and_then() -> None:
    lines: list[str] = []
    with program.display(lines.append, stderr=False) as show:
        show(0, None, "nothing is known yet")
        show(4, 10, "1 failed\x1b[2J")
        show(5, 10, "1 failed")

    assert [line.partition("s  ")[2] for line in lines] == ["4 of 10 ended, 1 failed\\x1b[2J"]
