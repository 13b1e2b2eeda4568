"""The environment for processes that are killed: coverage would only slow them down."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """Return this process's environment without the variables of coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
