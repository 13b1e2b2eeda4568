"""Options of requeues for the steps that run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.domain.steps.step import UNFORGOTTEN, check_name

if TYPE_CHECKING:
    from jobqueue.domain.steps.step import FromStep


def step_options(function: Any) -> Any:
    """Add ``--from-step`` and ``--all-steps``, which `from_step` reads."""
    every = click.option("--all-steps", is_flag=True, help="Run all steps again.")
    first = click.option(
        "--from-step", metavar="NAME", help="Run this step again, and all that finished after it; others are kept."
    )
    return first(every(function))


def from_step(options: dict[str, Any]) -> FromStep:
    """Take both options out of those of a command; return the first step that runs again.

    Raises:
        click.UsageError: both options are given.
        InvalidInputError: the name is not acceptable for a step.
    """
    first, every = options.pop("from_step"), options.pop("all_steps")
    if first is not None and every:
        raise click.UsageError("--from-step and --all-steps do not go together")
    if first is not None:
        return check_name(first, "fromStep")
    return None if every else UNFORGOTTEN
