from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobqueue.domain.errors import DatabaseUnavailableError, JobCancelledError
from jobqueue.domain.values import payload
from jobqueue.processors.commands.output import STDERR, Output
from tests.support.memory_steps import MemorySteps


class Recorder:
    """Keeps what is reported, and fails as it is told to."""

    def __init__(self, failures: list[Exception] | None = None) -> None:
        self.lines: list[tuple[str, str | None]] = []
        self.percents: list[float] = []
        self.steps = MemorySteps()
        self.failures = failures or []
        self.busy = 0
        self.most_busy = 0

    async def log(self, line: str, level: str | None = None) -> None:
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        await asyncio.sleep(0)
        self.busy -= 1
        if self.failures:
            raise self.failures.pop(0)
        self.lines.append((line, level))

    async def progress(self, percent: float) -> None:
        self.percents.append(percent)


async def taken(*chunks: bytes, most: int = 1_000_000) -> tuple[Output, Recorder]:
    recorder = Recorder()
    output = Output(recorder, most)
    for chunk in (*chunks, b""):
        await output.out(chunk)
    return output, recorder


async def test_lines_are_reported_in_order_and_the_last_one_without_its_end_too() -> None:
    _, recorder = await taken(b"one\ntwo\nth", b"ree\nfour")

    assert recorder.lines == [("one", None), ("two", None), ("three", None), ("four", None)]


async def test_text_that_is_not_utf_8_is_kept_readable() -> None:
    _, recorder = await taken(b"caf\xe9 \xff\n")

    assert recorder.lines == [("caf\ufffd \ufffd", None)]


@pytest.mark.parametrize(("line", "percent"), [("40", 40), ("0", 0), ("100", 100), ("99.5", 99.5), ("7  ", 7)])
async def test_a_progress_line_sets_the_progress_and_is_no_log_line(line: str, percent: float) -> None:
    _, recorder = await taken(f"::progress {line}\n".encode())

    assert recorder.percents == [percent]
    assert recorder.lines == []


@pytest.mark.parametrize("rest", [" 101", " -1", " nan", " 1e1", "40", " 40 %", " 40 of 100", "", " 1_0"])
async def test_a_progress_line_that_is_none_is_a_log_line(rest: str) -> None:
    line = f"::progress{rest}"
    _, recorder = await taken(line.encode() + b"\n")

    assert recorder.percents == []
    assert recorder.lines == [(line, None)]


async def test_of_many_steps_at_once_the_last_is_reported() -> None:
    _, recorder = await taken(b"".join(b"::progress %d\n" % step for step in range(100)))

    assert recorder.percents == [99]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"width": 320}', {"width": 320}),
        ("[1, 2.5, null]", [1, 2.5, None]),
        ('"é"', "é"),
        ("null", None),
        ("\t 7 ", 7),
    ],
)
async def test_a_result_line_sets_the_result(text: str, result: Any) -> None:
    output, recorder = await taken(f"::result {text}\n".encode())

    assert (output.result, output.objection, recorder.lines) == (result, None, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{width: 320}", "is not JSON"),
        (b"NaN", "is not a finite number"),
        (b'"\\ud800"', "has a lone surrogate"),
        (b"[" * 100_000, "is not JSON"),
        (b"18446744073709551616", "beyond 64 bit"),
        (b'{"$set": 1}', "begins with $"),
        (b'{"a": 1, "a": 2}', "has the name a twice"),
    ],
)
async def test_a_result_that_cannot_be_stored_is_kept_as_its_text(text: bytes, problem: str) -> None:
    line = b"::result " + text + b"\n"
    output, recorder = await taken(*(line[start : start + 65536] for start in range(0, len(line), 65536)))

    assert (output.result, output.objection) == (text.decode(), None)
    ((told, level),) = recorder.lines
    assert (told.startswith("the ::result cannot be stored as it is"), problem in told, level) == (
        True,
        True,
        "warning",
    )


@pytest.mark.parametrize("size", [5_000_000, 20_000_000])
@pytest.mark.parametrize("text", [b'"%b"', b"%b", b'{"$a": "%b"}', b"[%b"])
async def test_a_result_over_its_limit_is_an_objection_and_nothing_of_it_is_kept(text: bytes, size: int) -> None:
    line = b"::result " + text % (b"x" * size) + b"\n"
    output, recorder = await taken(*(line[start : start + 65536] for start in range(0, len(line), 65536)))

    assert output.result is None
    assert output.objection is not None
    assert output.objection.startswith("the ::result cannot be stored: result takes ")
    assert "the limit is 4,194,304" in output.objection
    assert recorder.lines == [(output.objection, "warning")]


async def test_a_text_of_the_size_allowed_is_whole() -> None:
    text = "x" * (payload.MOST_RESULT - 7)
    output, _ = await taken(b"::result " + text.encode() + b"\n")
    assert (output.result == text, output.objection) == (True, None)
    output, _ = await taken(b"::result " + text.encode() + b"x\n")
    assert output.objection == (
        "the ::result cannot be stored: result takes 4,194,305 bytes; the limit is 4,194,304"
        " (as text, for result: is not JSON)"
    )
    output, _ = await taken(b"::result " + b"\xff" * 2_000_000 + b"\n")
    assert output.objection is not None


async def test_a_result_that_is_no_utf_8_shows_each_byte() -> None:
    output, _ = await taken(b'::result "caf\xe9"\n')

    assert output.result == '"caf\\xe9"'


async def test_a_result_line_without_a_result_is_told_about() -> None:
    output, recorder = await taken(b"::result\n")

    assert output.result is None
    assert [level for _, level in recorder.lines] == ["warning"]


async def test_the_last_result_counts() -> None:
    assert (await taken(b"::result 1\n::result 2\n"))[0].result == 2
    assert (await taken(b"::result x\n::result 2\n"))[0].result == 2
    assert (await taken(b"::result 1\n::result x\n"))[0].result == "x"
    large = b'::result "' + b"x" * 5_000_000 + b'"\n'
    for last in (b"2", b"x"):
        assert (await taken(large + b"::result " + last + b"\n"))[0].objection is None
    output, _ = await taken(b"::result 1\n" + large)
    assert (output.result is None, output.objection is None) == (True, False)


async def test_a_result_of_the_size_allowed_is_taken_also_in_ascii() -> None:
    text = b'"' + b"\\ud83d\\ude00" * 1_000_000 + b'"'
    output, _ = await taken(b"::result ", *(text[start : start + 65536] for start in range(0, len(text), 65536)))

    assert output.result == "😀" * 1_000_000


@pytest.mark.parametrize("line", ["::results 1", "::other", " ::progress 4", "::", "::RESULT 1"])
async def test_other_lines_are_log_lines(line: str) -> None:
    output, recorder = await taken(line.encode() + b"\n")

    assert recorder.lines == [(line, None)]
    assert output.result is None


async def test_lines_of_the_error_output_have_a_level_and_no_other_meaning() -> None:
    recorder = Recorder()
    output = Output(recorder, 1000)

    await output.err(b"warn\n::progress 4\n::result 1\n")

    assert recorder.lines == [("warn", STDERR), ("::progress 4", STDERR), ("::result 1", STDERR)]
    assert (output.result, recorder.percents) == (None, [])


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([], ""),
        ([b"first\n", b"Error: no such file\n"], "Error: no such file"),
        ([b"Error: no such file\n \n\n"], "Error: no such file"),
        ([b"Error", b": no such file"], "Error: no such file"),
        ([b"10%\rfailed\r\n"], "failed"),
    ],
)
async def test_the_last_words_are_the_last_line_that_is_not_blank(chunks: list[bytes], words: str) -> None:
    output = Output(Recorder(), 1000)

    for chunk in (*chunks, b""):
        await output.err(chunk)

    assert output.last_words == words


async def test_the_trace_is_the_end_of_the_error_output_in_whole_lines() -> None:
    output = Output(Recorder(), 100)

    for number in range(1000):
        await output.err(f"line {number}\n".encode())

    trace = output.trace or ""
    assert trace.splitlines()[-1] == "line 999"
    assert trace.startswith("line ")
    assert 1900 < len(trace) <= 2048


async def test_over_the_limit_one_line_says_so_and_results_still_count() -> None:
    output, recorder = await taken(b"x\n" * 9, b"y\n" * 1000, b"::progress 5\n", b"z\n::result 3\nz\n", most=65 * 10)

    notice = "the output is over its limit of 650 bytes: what follows is not kept"
    assert recorder.lines == [("x", None)] * 9 + [("y", None), (notice, "warning")]
    assert (output.result, recorder.percents) == (3, [5])


async def test_both_outputs_share_the_limit() -> None:
    recorder = Recorder()
    output = Output(recorder, 65 * 4)

    for _ in range(5):
        await output.out(b"x\n")
        await output.err(b"y\n")

    assert recorder.lines[:4] == [("x", None), ("y", STDERR)] * 2
    assert len(recorder.lines) == 5


async def test_many_lines_are_reported_at_once_but_not_without_bound() -> None:
    _, recorder = await taken(b"x\n" * 5000, most=10_000_000)

    assert len(recorder.lines) == 5000
    assert recorder.most_busy == 500


async def test_a_line_is_reported_again_when_the_database_is_back() -> None:
    recorder = Recorder([DatabaseUnavailableError("away"), DatabaseUnavailableError("away")])
    output = Output(recorder, 1000)

    await output.out(b"one\n")
    await output.out(b"two\n")

    assert recorder.lines == [("one", None), ("two", None)]


@pytest.mark.parametrize("error", [JobCancelledError(), ValueError("broken")])
async def test_other_errors_of_the_reporter_are_raised(error: Exception) -> None:
    output = Output(Recorder([error]), 1000)

    with pytest.raises(type(error)):
        await output.out(b"one\ntwo\n")


@pytest.mark.parametrize(
    ("line", "name", "result"),
    [
        (b'::step fetch {"rows": 3}', "fetch", {"rows": 3}),
        (b"::step fetch", "fetch", None),
        (b"::step  a:b#1 \t [1, 2]  ", "a:b#1", [1, 2]),
        ('::step "größe \\"x\\"" "text"'.encode(), 'größe "x"', "text"),
    ],
)
async def test_a_step_line_records_a_step(line: bytes, name: str, result: Any) -> None:
    _, recorder = await taken(line + b"\n")

    assert recorder.lines == []
    assert recorder.steps.results == {name: result}


@pytest.mark.parametrize(
    "line",
    [
        b"::step",
        b"::step two words",
        b"::step fetch {",
        b'::step "fetch',
        b"::step fetch 1 2",
        b'::step fetch {"a": 1, "a": 2}',
        b"::step \xff 1",
        b"::suspend",
        b"::suspend -1",
        b"::suspend soon",
        b"::suspend 99999999999",
    ],
)
async def test_a_step_line_that_cannot_be_used_is_named_in_the_log(line: bytes) -> None:
    output, recorder = await taken(b"one\n" + line + b"\ntwo\n")

    assert (recorder.steps.results, output.suspend_seconds) == ({}, None)
    ((warning, level),) = [line for line in recorder.lines if line[1] is not None]
    assert level == "warning"
    assert line.decode("utf-8", "replace") in warning


async def test_lines_that_only_resemble_steps_are_log_lines() -> None:
    output, recorder = await taken(b"::steps a\n ::step a 1\n::suspended 3\n")

    assert recorder.lines == [("::steps a", None), (" ::step a 1", None), ("::suspended 3", None)]
    assert (recorder.steps.results, output.suspend_seconds) == ({}, None)


async def test_the_last_suspension_counts() -> None:
    output, _ = await taken(b"::suspend 600\n::suspend 0.5\n::suspend soon\n")

    assert output.suspend_seconds == 0.5


async def test_steps_are_recorded_in_their_order_after_the_lines_before_them() -> None:
    output, recorder = await taken(b"one\n::step b 1\ntwo\n::step a 2\n::step b 3\n::result 4\n", most=100)

    assert list(recorder.steps.results.items()) == [("b", 1), ("a", 2)]
    notices = [line for line, level in recorder.lines if level == "warning"]
    assert notices[0].startswith("the output is over its limit")
    assert notices[1] == "step 'b' had finished: its first result stays"
    assert output.result == 4


async def test_a_step_line_is_not_cut_into_several() -> None:
    text = "x" * 300_000
    _, recorder = await taken(f'::step large "{text}"\n'.encode())

    assert recorder.steps.results == {"large": text}
