"""What services are made of: sockets, targets, lanes, signals."""

from __future__ import annotations

import asyncio
import errno
import sys
from typing import TYPE_CHECKING

import pytest

from jobqueue import JobQueue
from jobqueue.cli.main import main
from jobqueue.cli.process import process
from jobqueue.cli.process.process import StopSignals
from jobqueue.cli.running import sockets as listening
from jobqueue.domain.errors import SettingsError
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.work.processing import CommandConfig, WebhookConfig
from jobqueue.processors.commands.commands_file import Command
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.services.server import LocalProcessors, lanes
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

WEBHOOK = WebhookConfig(url="https://example.org/", secret="whsec_" + "A" * 32)
COMMAND = CommandConfig(name="convert")
ABSENT = CommandConfig(name="of-another-machine")


def test_a_name_with_several_addresses_gets_one_port() -> None:
    sockets = listening.bind(["127.0.0.1", "127.0.0.2"], 0)
    try:
        listening.listen(sockets)
        assert len({one.getsockname()[1] for one in sockets}) == 1
        port = sockets[0].getsockname()[1]
        assert listening.url("127.0.0.1", sockets[0]) == f"http://127.0.0.1:{port}"
        assert listening.url("::1", sockets[0]) == f"http://[::1]:{port}"
        with pytest.raises(listening.ListenError, match=rf"port {port} of 127.0.0.1 is in use: stop what .*--port"):
            listening.bind(["127.0.0.1"], port)
    finally:
        for one in sockets:
            one.close()


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(listening.ListenError, match=r"192\.0\.2\.1 is no address of this machine"):
        listening.bind(["192.0.2.1"], 0)
    assert errno.EACCES in listening._HINTS


@pytest.mark.parametrize(
    ("host", "private"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("192.0.2.1", False), ("::", False)]
)
def test_only_loopback_is_private(host: str, *, private: bool) -> None:
    assert listening.is_private(listening.resolve(host)) is private


def test_a_host_without_an_address_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match=r"--host nowhere\.invalid has no address"):
        listening.resolve("nowhere.invalid")


@pytest.mark.parametrize(
    ("processors", "wanted"),
    [
        ({}, []),
        ({"a": WEBHOOK, "b": COMMAND}, [(("a", "b"), ())]),
        ({"*": WEBHOOK}, [(None, ())]),
        ({"*": COMMAND, "a": WEBHOOK}, [(None, ())]),
        ({"*": WEBHOOK, "a": ABSENT}, [(None, ("a",))]),
        ({"*": ABSENT, "a": WEBHOOK}, [(("a",), ())]),
        ({"a": ABSENT}, []),
    ],
)
def test_lanes_take_what_this_process_has_processors_for(
    processors: dict[str, WebhookConfig | CommandConfig], wanted: list[tuple[tuple[str, ...] | None, tuple[str, ...]]]
) -> None:
    commands = {"convert": Command(name="convert", argv=("/bin/true",))}
    found = lanes({"q": QueueConfig(processors=processors)}, LocalProcessors(WebhookClient(), commands, None))
    assert [(lane.types, lane.excluded) for lane in found] == wanted


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("", "absent_module:queue", "there is no module absent_module in "),
        ("", "absent.deeper:queue", "there is no module absent.deeper in "),
        ("", "{name}.py:queue", "did you mean {name}?"),
        ("", "{name}:queue", "module {name} has no queue\n"),
        ("from jobqueue import JobQueue\nq = JobQueue()", "{name}:p", "has no p; JobQueue objects in it: q\n"),
        ("queue = 7", "{name}:queue", "{name}:queue is a int, not a JobQueue\n"),
        ("from jobqueue import JobQueue\nq = JobQueue()", "{name}:q", "{name}:q has no handlers: decorate functions"),
        ("1 / 0", "{name}:q", "module {name} cannot be imported: ZeroDivisionError: division by zero ("),
        (
            "import absent_module",
            "{name}:q",
            "cannot be imported: ModuleNotFoundError: No module named 'absent_module'",
        ),
        ("x = (", "{name}:q", "cannot be imported: SyntaxError: '(' was never closed"),
        ("raise SystemExit(0)", "{name}:q", "cannot be imported: SystemExit: 0 ("),
        ("", ":q", "':q' is not MODULE:QUEUE"),
    ],
)
def test_what_is_wrong_about_a_target_is_told_on_one_line(
    source: str,
    target: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    name = f"app_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    assert main(["worker", target.format(name=name)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert told.format(name=name) in printed
    assert len(printed.splitlines()) == 1


def test_settings_a_queue_was_made_with_win_over_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBQUEUE_DB", "from_environment")
    monkeypatch.setenv("JOBQUEUE_POLL_INTERVAL", "3")
    settings = JobQueue(db="own").settle_for({"db": "flag", "concurrency": "4", "drain_timeout": None})
    assert (settings.db, settings.concurrency, settings.poll_interval) == ("own", 4, 3)
    given = Settings(db="given")
    assert JobQueue(given).settle_for({"db": "flag"}) is given


async def test_the_second_signal_hurries() -> None:
    stop = StopSignals()
    stop.signal()
    assert (stop.asked.is_set(), stop.hurried.is_set()) == (True, False)
    stop.signal()
    assert stop.hurried.is_set()


async def test_opening_ends_when_asked_to_stop() -> None:
    stop = StopSignals()
    asyncio.get_running_loop().call_soon(stop.signal)
    assert await stop.unless_asked(asyncio.sleep(600, "slept"), cancel=True) is None

    async def opening() -> str:
        await stop.asked.wait()
        return "opened"

    assert await stop.unless_asked(opening(), cancel=False) == "opened"


def test_a_service_that_breaks_is_an_error_and_tells_why(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_leave_soon", lambda _code: None)

    async def refused(_stop: StopSignals) -> None:
        raise SettingsError(["port: is wrong"])

    async def broken(_stop: StopSignals) -> None:
        raise RuntimeError("unforeseen")

    assert process.run_service(refused) == 2
    assert capsys.readouterr().err == "error: port: is wrong\n"
    assert process.run_service(broken) == 1
    assert "service failed" in caplog.text


def test_without_uvloop_the_standard_loop_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert process._loop_factory() is None
