"""Options of a task on the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click
import pytest

from jobqueue.cli.jobs.arguments import read
from jobqueue.cli.work.types import arguments
from jobqueue.processors.callbacks.signatures import TaskSignature


@dataclass
class Box:
    width: int


def shrink(src: str, box: Box, user_id: int | str = 7, *, deep: bool = False) -> None:
    del src, box, user_id, deep


SCHEMA: dict[str, Any] = json.loads(TaskSignature(shrink, "shrink").schema() or "")


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (["--src", "7", "--box", '{"width": 3}'], {"src": "7", "box": {"width": 3}}),
        (["--src=a=b", "--deep", "--user-id", "42"], {"src": "a=b", "deep": True, "user_id": 42}),
        (["--no-deep", "--user_id=ann"], {"deep": False, "user_id": "ann"}),
        (["--src", "--deep"], {"src": "--deep"}),
    ],
)
def test_options_become_data(words: list[str], data: dict[str, Any]) -> None:
    assert read(words, "shrink", SCHEMA) == data


def test_mistakes_are_named() -> None:
    with pytest.raises(click.UsageError, match="--widht is no option of add, and no argument of shrink: it has --src"):
        read(["--widht", "3"], "shrink", SCHEMA)
    with pytest.raises(click.UsageError, match="more is no option"):
        read(["--src", "a", "more"], "shrink", SCHEMA)
    with pytest.raises(click.UsageError, match="--src needs a value"):
        read(["--src"], "shrink", SCHEMA)
    with pytest.raises(click.UsageError, match="--src is no option of add, and no living worker has published"):
        read(["--src", "a"], "shrink", None)


def test_arguments_are_shown_on_one_line() -> None:
    assert arguments(SCHEMA) == "src: string, box: Box, user_id: any = 7, deep: boolean = false"
    assert arguments({"anyOf": [SCHEMA, {}]}) == arguments(SCHEMA)
    assert (arguments(None), arguments({"properties": {}})) == ("-", "none")
