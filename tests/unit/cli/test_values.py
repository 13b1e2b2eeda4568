"""What people type, and what they see."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from jobqueue.cli.process import log_output
from jobqueue.cli.render import output, tables, values
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.terms import moment_ago
from jobqueue.journal import get_logger
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)


def test_pairs_become_json_values_or_text_and_dots_become_objects() -> None:
    pairs = [values.pair(text, "meta") for text in ("user.id=42", "user.name=ann", "x=a=b", 'y="7"', "z=", "nan=NaN")]
    assert values.nested(pairs) == {"user": {"id": 42, "name": "ann"}, "x": "a=b", "y": "7", "z": "", "nan": "NaN"}


@pytest.mark.parametrize("texts", [["a=1", "a=2"], ["a.b=1", "a=2"], ["a=1", "a.b=2"]])
def test_a_key_has_one_value(texts: list[str]) -> None:
    with pytest.raises(InvalidInputError):
        values.nested([values.pair(text, "meta") for text in texts])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("1.5h", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(days=14)),
        ("999999999w", datetime.min.replace(tzinfo=UTC)),
        ("2030-01-02", datetime(2030, 1, 2, tzinfo=UTC)),
        ("2030-01-02T03:00:00+02:00", datetime(2030, 1, 2, 1, tzinfo=UTC)),
    ],
)
def test_since_is_a_time_ago_or_a_date(text: str, expected: datetime) -> None:
    assert moment_ago(text, NOW) == expected


def test_a_job_is_read_with_its_children_and_dates() -> None:
    given = {"type": "a", "delayTil": "2031-05-01T12:00:00Z", "onSuccess": [{"type": "b", "onComplete": {"type": "c"}}]}
    job = values.new_job(given, "line 1")
    assert job.delay_til == NOW
    assert isinstance(job.on_success, tuple)
    grandchild = job.on_success[0].on_complete
    assert not isinstance(grandchild, tuple)
    assert grandchild is not None
    assert grandchild.type == "c"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ([], "line 1"),
        ({}, "line 1.type"),
        ({"type": "a", "delay_til": 1}, "line 1.delay_til"),
        ({"type": "a", "onSuccess": {"type": "b", "onFailure": [{"type": "c"}, 7]}}, "line 1.onSuccess.onFailure.1"),
        ({"type": "a", "onSuccess": {"type": "b", "delayTil": "x"}}, "line 1.onSuccess.delayTil"),
    ],
)
def test_what_is_wrong_about_a_job_is_told_by_its_path(given: Any, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        values.new_job(given, "line 1")
    assert list(caught.value.problems) == [path]


def test_text_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_table(["A", "B"], [["x\x1b[2J", "é\n"], ["yy", "z"]])
    assert capsys.readouterr().out.splitlines() == ["A         B", "x\\x1b[2J  é\\n", "yy        z"]
    tables.print_table(["RUN", "/a/file"], [["files", "7"]])
    assert capsys.readouterr().out.splitlines() == ["RUN    /a/file", "files  7"]
    output.print_json({"k": "\x1b\x9b"}, indent=None)
    printed = capsys.readouterr().out
    assert printed == '{"k": "\\u001b\\u009b"}\n'
    assert json.loads(printed) == {"k": "\x1b\x9b"}


def test_what_an_encoding_does_not_have_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.print_line("é \udc80")
    output.print_json("é", indent=None)
    sys.stdout.flush()
    assert raw.getvalue() == b'\\xe9 \\udc80\n"\\u00e9"\n'


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    logging.captureWarnings(capture=False)
    for name in ("pymongo", "asyncio", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("root_logger")
def test_nothing_that_is_repeated_is_printed_among_the_data() -> None:
    stamina.instrumentation.set_on_retry_hooks(None)
    assert stamina.instrumentation.get_on_retry_hooks()
    log_output.configure(Settings(), service=True, stream=io.StringIO())
    assert stamina.instrumentation.get_on_retry_hooks() == ()


@pytest.mark.usefixtures("root_logger")
def test_services_log_json_with_values_and_without_secrets() -> None:
    stream = io.StringIO()
    log_output.configure(Settings(), service=True, stream=stream)
    log = get_logger("jobqueue.test_json")
    log.info("sent", url="https://me:pw@example.org/x", secret="whsec_abc+/=", when=NOW)  # noqa: S106 - it is the test
    try:
        int("Authorization: Bearer abcdefghijkl")
    except ValueError:
        log.exception("broke")
    log.debug("unseen")
    sent, broke = map(json.loads, stream.getvalue().splitlines())
    assert (sent["event"], sent["level"], sent["logger"]) == ("sent", "info", "jobqueue.test_json")
    assert (sent["url"], sent["secret"], sent["when"]) == (
        "https://***@example.org/x",
        "whsec_***",
        "2031-05-01T12:00:00.000Z",
    )
    assert "Bearer ***" in broke["exception"]
    assert "abcdefghijkl" not in stream.getvalue()


@pytest.mark.usefixtures("root_logger")
def test_commands_only_warn_in_text_unless_told_otherwise() -> None:
    stream = io.StringIO()
    log_output.configure(Settings(), service=False, stream=stream)
    log = get_logger("jobqueue.test_text")
    log.info("unseen")
    log.warning("look\nout", n=1)
    assert stream.getvalue().endswith(" warning  look\\nout n=1\n")
    assert len(stream.getvalue().splitlines()) == 1
    log_output.configure(
        Settings(log_level="info", log_format="json", sources={"log_level": "flag"}), service=False, stream=stream
    )
    log.info("seen")
    assert json.loads(stream.getvalue().splitlines()[-1])["event"] == "seen"
