"""Run a job with the past that a bundle has, and print what happens."""

from __future__ import annotations

import asyncio
import contextlib
import pdb  # noqa: T100 - the debugger is what --debug asks for
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process import log_output
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.values import pair
from jobqueue.cli.replay import telling
from jobqueue.cli.replay.ways import way_of
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.json_text import parse_json
from jobqueue.domain.work.bundle import MOST_BYTES, BadBundleError, Bundle
from jobqueue.settings import Settings
from jobqueue.testing.replays.replay import SUCCEEDED, Replay, past

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.cli.render.values import JsonValue
    from jobqueue.cli.replay.ways import Program
    from jobqueue.domain.steps.step import FromStep
    from jobqueue.testing.replays.replay import Replayed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The options of a replay.

    Attributes:
        first: the first step that runs here though it has finished.
        attempt: its number; ``None`` for the last one.
        data: other input, as an option has it.
        data_patch: changes of the input.
        signals: ``NAME=JSON`` each.
        may_run: steps that must not run twice, and may run here.
        debug: open the debugger at the error.
        as_json: print JSON.
    """

    first: FromStep
    attempt: int | None
    data: JsonValue | None
    data_patch: JsonValue | None
    signals: Sequence[str]
    may_run: Sequence[str]
    debug: bool
    as_json: bool


def run(file: str, program: Program, wishes: Wishes) -> int:
    """Run the job of a file; return the exit code.

    Args:
        file: of the bundle.
        program: that runs the job.
        wishes: the options.

    Raises:
        click.UsageError: the arguments do not fit each other or the job.
        BadBundleError: the file is no bundle.
        InvalidInputError: an option has a value that cannot be used.
    """
    if wishes.data is not None and wishes.data_patch is not None:
        raise click.UsageError("--data and --data-patch do not go together")
    bundle = read(file)
    log_output.configure(Settings(log_level="warning"), service=False)
    start = past(bundle, attempt=wishes.attempt, from_step=wishes.first, data=_data(bundle, wishes))
    replay = Replay(
        bundle,
        start,
        may_run=wishes.may_run,
        signals=dict(map(_signal, wishes.signals)),
        tell=telling.Teller(as_json=wishes.as_json).tell,
        is_timed=not wishes.debug,
    )
    way = way_of(bundle, program)
    if not wishes.as_json:
        telling.tell_start(bundle, start)
    # What the handler prints is no part of the JSON.
    with contextlib.redirect_stdout(sys.stderr) if wishes.as_json else contextlib.nullcontext():
        replayed = asyncio.run(way(replay))
    if wishes.as_json:
        telling.print_json(bundle, replayed)
    else:
        telling.tell_end(replayed, start)
    if wishes.debug:
        _debug(replayed)
    return errors.OK if replayed.outcome == SUCCEEDED else errors.JOB_FAILED if replayed.is_same else errors.OTHER_END


def read(file: str) -> Bundle:
    """Return the bundle that a file, or stdin for ``-``, has.

    Raises:
        click.UsageError: the file cannot be read.
        BadBundleError: it is no bundle; the message names the file.
    """
    try:
        with contextlib.ExitStack() as stack:
            stream = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{file} cannot be read: {getattr(error, 'strerror', error)}") from None
    try:
        return Bundle.read(content)
    except BadBundleError as error:
        raise BadBundleError(f"{file} is no bundle that can be replayed: {error}") from None


def _data(bundle: Bundle, wishes: Wishes) -> dict[str, Any] | None:
    """Return the input of a run if it is not that of the bundle."""
    option, given = ("--data", wishes.data) if wishes.data is not None else ("--data-patch", wishes.data_patch)
    if given is None:
        return None
    if not isinstance(given.value, dict):
        raise InvalidInputError({option: ["must be an object"]})
    changed: dict[str, Any] = given.value if wishes.data is not None else _patched(bundle.job.data, given.value)
    return changed


def _patched(value: Any, patch: Any) -> Any:
    """Return a value with the changes of a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    changed = dict(value) if isinstance(value, Mapping) else {}
    for name, inner in patch.items():
        if inner is None:
            changed.pop(name, None)
        else:
            changed[name] = _patched(changed.get(name), inner)
    return changed


def _signal(text: str) -> tuple[str, Any]:
    name, value = pair(text, "--signal")
    try:
        return name, parse_json(value)
    except ValueError as error:
        raise InvalidInputError({"--signal": [f"{name} is not JSON: {error}"]}) from None


def _debug(replayed: Replayed) -> None:
    """Open the debugger where the handler has raised its error."""
    error = replayed.exception
    if error is None or error.__traceback__ is None:
        output.note("there is no error of a handler to look at")
        return
    pdb.post_mortem(error.__traceback__)
