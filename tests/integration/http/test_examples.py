"""The examples of the document are answers of this server, as their schemas say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.http import answers

if TYPE_CHECKING:
    from jobqueue.settings import Settings


async def test_the_examples_of_answers_are_those_that_a_server_gives_today(settings: Settings) -> None:
    kept = json.loads(answers.EXAMPLES.read_bytes())
    given = await answers.answers(replace(settings, admin_token=answers.TOKEN))
    assert given.keys() == kept.keys(), "run scripts/examples"
    for operation, by_status in given.items():
        assert answers.shape(by_status) == answers.shape(kept[operation]), f"{operation}: run scripts/examples"
