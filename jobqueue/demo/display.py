"""Showing how far a run is: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

    from jobqueue.demo.tally import Snapshot

_LINE_SECONDS: Final = 2.0


class Display(Protocol):
    """Shows snapshots for as long as it is entered."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def show(self, now: Snapshot) -> None:
        """Show how far it is."""

    def say(self, line: str) -> None:
        """Print a line that stays."""


def display(console: Console) -> Display:
    """Return the display that fits the console."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def printable(text: str) -> str:
    """Return the text on one line, with nothing in it that a terminal would act upon."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def counts(now: Snapshot) -> str:
    """Return the figures beside the bar."""
    return f"{now.running} running, {now.failed:,} failed, {now.retried:,} retried, {now.rate:,.0f} jobs/s"


class LiveDisplay:
    """A progress bar, the figures and the last log line, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("analysed"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            expand=True,
        )
        self._bar = self._progress.add_task("analysed", total=None)
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, now: Snapshot) -> None:
        """Redraw everything."""
        self._progress.update(self._bar, completed=now.ended, total=now.total)
        last = Text(printable(now.line), style="dim", no_wrap=True, overflow="ellipsis")
        parts: list[RenderableType] = [self._progress, Text(counts(now)), last]
        self._live.update(Group(*parts), refresh=True)

    def say(self, line: str) -> None:
        """Print a line above the display."""
        self._live.console.print(Text(printable(line)))


class PlainDisplay:
    """A line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_at = time.monotonic()
        self._due_at = self._began_at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, now: Snapshot) -> None:
        """Print a line if the last one is some time ago."""
        if now.total is None or time.monotonic() < self._due_at:
            return
        self._due_at = time.monotonic() + _LINE_SECONDS
        elapsed = time.monotonic() - self._began_at
        self.say(f"{elapsed:5.1f} s  {now.ended:,} of {now.total:,} ended, {counts(now)}; last: {now.line}")

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(Text(printable(line)), soft_wrap=True)
