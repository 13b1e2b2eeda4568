"""Names that programs import from the package."""

from __future__ import annotations

import pytest

import jobqueue


@pytest.mark.parametrize("name", jobqueue.__all__)
def test_every_public_name_is_where_the_package_looks_for_it(name: str) -> None:
    assert getattr(jobqueue, name).__name__ == name
    assert name in jobqueue._HOMES


def test_nothing_is_found_that_is_not_public() -> None:
    assert sorted(jobqueue._HOMES) == sorted(jobqueue.__all__)
