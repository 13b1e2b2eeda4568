"""Tables that fit the width of a terminal."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import pytest

from jobqueue.cli.render import tables
from jobqueue.cli.render.fitting import Width, fit, short_ids, total
from jobqueue.cli.render.job_columns import COLUMNS, PREFIXES
from jobqueue.cli.render.tables import Column, View, field
from jobqueue.store.documents.documents import numbered_ids
from tests.support.terminal import unstyled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ID = "6b06165e1e80eb201c56e8f4"
ERROR = "ConnectionError: Cannot connect to host pdf.internal.example:8443 ssl:default"
TABLE = (
    field("id", is_id=True),
    field("state"),
    field("queue", least=4, rank=2),
    field("type", least=6, rank=1),
    field("error", answers=True),
    field("note", hidden=True),
    field("meta.user", extra=True),
)
ROW = {
    "id": ID,
    "state": "failed",
    "queue": "billing",
    "type": "render_invoice",
    "error": ERROR,
    "note": "seen",
    "meta": {"user": 7},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Terminal]:
    """Make stdout a terminal of some width."""

    def make(columns: int) -> Terminal:
        shown = Terminal()
        monkeypatch.setattr(sys, "stdout", shown)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        return shown

    return make


def usual() -> View:
    return tables.plain_view(*(column for column in TABLE if not column.extra))


def letters(text: str, width: int) -> str:
    """Return the letters of the last column of a table, which begins at a width."""
    return "".join("".join(line[width:].split()) for line in text.splitlines()[1:])


def test_what_fits_stays_as_it_is(terminal: Callable[[int], Terminal]) -> None:
    shown = terminal(160)
    tables.print_rows([ROW], usual())
    assert unstyled(shown.getvalue()).splitlines()[1].split(maxsplit=4) == [
        ID,
        "failed",
        "billing",
        "render_invoice",
        ERROR,
    ]


@pytest.mark.parametrize("columns", [100, 80, 60, 40])
def test_the_answer_is_whole_at_any_width_and_the_rest_gives_way(
    columns: int, terminal: Callable[[int], Terminal]
) -> None:
    shown = terminal(columns)
    tables.print_rows([ROW], usual())
    text = unstyled(shown.getvalue())
    assert max(map(len, text.splitlines())) <= columns
    assert letters(text, text.index("ERROR")) == ERROR.replace(" ", "")
    assert "…56e8f4  failed" in text
    assert ("QUEUE" in text, "TYPE" in text) == (columns >= 80, columns >= 60)


def test_an_optional_column_without_text_is_left_out_first(terminal: Callable[[int], Terminal]) -> None:
    shown = terminal(58)
    tables.print_rows([ROW | {"type": ""}], usual())
    heading = unstyled(shown.getvalue()).splitlines()[0]
    assert heading.split() == ["ID", "STATE", "QUEUE", "ERROR"]


def test_colours_are_refused_by_no_color(terminal: Callable[[int], Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(80)
    tables.print_rows([ROW], usual())
    assert "\x1b[31mfailed" in shown.getvalue()
    plain = terminal(80)
    monkeypatch.setenv("NO_COLOR", "1")
    tables.print_rows([ROW], usual())
    assert plain.getvalue() == unstyled(shown.getvalue())


def test_a_terminal_without_unicode_gets_signs_that_it_has(
    terminal: Callable[[int], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(stream, "isatty", lambda: True)
    terminal(60)
    monkeypatch.setattr(sys, "stdout", stream)
    tables.print_rows([ROW | {"error": "é " * 40}], usual())
    stream.flush()
    assert "...56e8f4" in raw.getvalue().decode("ascii")
    assert "\\xe9" in raw.getvalue().decode("ascii")


def test_a_pipe_gets_each_row_whole_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_rows([ROW, ROW | {"error": "x" * 3000, "state": "killed"}], usual())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith(ERROR)
    assert lines[2].endswith("x" * 3000)
    assert lines[1].index("billing") == lines[2].index("billing")


def test_an_empty_table_is_one_note(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_rows([], usual(), empty="no jobs match")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "no jobs match\n")


def run(*options: str, columns: Sequence[Column] = TABLE, prefixes: tuple[str, ...] = ("meta.",)) -> Any:
    """Return what a command with the options of a table does."""

    @click.command()
    @tables.table_options(columns, prefixes=prefixes)
    @click.option("--json", "as_json", is_flag=True)
    def command(*, view: View, as_json: bool) -> None:
        tables.print_items([ROW], view, as_json=as_json, empty="nothing")

    return command.main(args=list(options), standalone_mode=False)


def test_columns_are_chosen_by_name_and_path(capsys: pytest.CaptureFixture[str]) -> None:
    run("--columns", "error,meta.user,meta.absent,id")
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ERROR", "META.USER", "META.ABSENT", "ID"]
    assert line.split() == [*ERROR.split(), "7", ID]
    run("--wide")
    assert capsys.readouterr().out.splitlines()[0].split() == ["ID", "STATE", "QUEUE", "TYPE", "ERROR", "NOTE"]


@pytest.mark.parametrize("name", ["stat", "", "meta.", "secret.x", "e\u0301"])
def test_an_unknown_column_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(click.BadParameter, match="there is no column") as caught:
        run("--columns", f"id,{name}")
    assert "are id, state, queue, type, error, note, meta.user, meta.X" in caught.value.message
    assert ("did you mean state?" in caught.value.message) is (name == "stat")


def test_columns_do_not_go_with_json() -> None:
    with pytest.raises(click.UsageError, match="--columns goes with tables"):
        run("--json", "--columns", "id")


def test_columns_that_are_asked_for_are_never_left_out(terminal: Callable[[int], Terminal]) -> None:
    shown = terminal(40)
    run("--columns", "queue,type,error")
    assert unstyled(shown.getvalue()).splitlines()[0].split() == ["QUEUE", "TYPE", "ERROR"]


def test_short_ids_get_as_many_digits_as_tell_them_apart() -> None:
    ids = ["1" * 18 + "abcdef", "1" * 17 + "2abcdef", "1" * 18 + "fedcba"]
    assert sorted(short_ids(ids, "…").values()) == ["…1abcdef", "…2abcdef", "…fedcba"]
    assert short_ids(ids[:1] * 2, "…") == {ids[0]: "…abcdef"}


def test_ids_of_jobs_that_are_numbered_show_what_tells_their_batches_apart() -> None:
    first, second = (numbered_ids(batch, 300)[299] for batch in ("6b0db7b6" + "0" * 16, "6b0db7b6" + "1" * 16))
    assert first[-6:] == second[-6:] == "00012b"
    assert list(short_ids([first], "…").values()) == [f"…{first[-12:]}"]
    assert len(set(short_ids([first, second], "…").values())) == 2


def test_columns_of_a_high_rank_are_left_out_first_and_wrapping_ones_never() -> None:
    columns = [
        Width(whole=10, least=10),
        Width(whole=10, least=10, rank=1),
        Width(whole=10, least=10, rank=2),
        Width(whole=100, least=100, word=12, wraps=True),
    ]
    assert fit(columns, 200) == {0: 10, 1: 10, 2: 10, 3: 100}
    assert fit(columns, 70) == {0: 10, 1: 10, 2: 10, 3: 34}
    assert set(fit(columns, 55)) == {0, 1, 3}
    assert set(fit(columns, 44)) == {0, 3}
    assert fit(columns, 30) == {0: 10, 3: 18}
    assert total(fit(columns, 22).values()) == 22


def test_a_running_job_tells_its_worker_step_and_time() -> None:
    job = {
        "id": ID,
        "state": "processing",
        "queue": "media",
        "type": "transcode",
        "attemptsMade": 0,
        "attempts": 3,
        "insertAt": "2031-01-01T00:00:00.000Z",
        "startAt": "2031-01-01T01:00:00.000Z",
        "progress": 40.0,
        "claim": {"worker": "render-7:4242:9f8e7d", "step": "encode"},
        "error": None,
    }
    now = datetime(2031, 1, 1, 6, tzinfo=UTC)
    cells = {column.name: column.cell(job, now) for column in COLUMNS}
    assert cells["about"] == "for 5h, on render-7:4242:9f8e7d, step encode, 40 %"
    assert (cells["worker"], cells["step"], cells["running"]) == ("render-7:4242:9f8e7d", "encode", "5h")
    assert (cells["delayTil"], PREFIXES) == ("", ("meta.", "data."))
