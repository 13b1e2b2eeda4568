"""The tests that look at plans are known, however they come to do it."""

from __future__ import annotations

import pytest

from tests.support.mongo.plans import stages
from tests.support.used import uses

PLANS = "tests.support.mongo.plans"


class Looker:
    def look(self) -> list[str]:
        return [name for name in helper({})]  # noqa: C416 - the name is in code of its own


def helper(plan: dict[str, str]) -> list[str]:
    return list(stages(plan))


@pytest.fixture
def looked() -> list[str]:
    return helper({"stage": "IXSCAN"})


def test_a_fixture_looks(request: pytest.FixtureRequest, looked: list[str]) -> None:
    assert looked == ["IXSCAN"]
    assert uses(request, PLANS)


def test_a_method_looks(request: pytest.FixtureRequest) -> None:
    assert Looker().look() == []
    assert uses(request, PLANS)


@pytest.mark.parametrize("look", [helper])
def test_a_parameter_looks(request: pytest.FixtureRequest, look: object) -> None:
    assert look
    assert uses(request, PLANS)


def test_nothing_looks(request: pytest.FixtureRequest) -> None:
    assert not uses(request, PLANS)
