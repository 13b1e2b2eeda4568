"""Python values in filters and pipelines as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.values.iso8601 import NO_ZONE_IN_PYTHON


def filter_json(value: Any, path: str) -> Any:
    """Return a filter or pipeline as JSON; dates become text with their time zone.

    Args:
        value: any value in it.
        path: of the value, for the error.

    Raises:
        InvalidInputError: naming a value that JSON does not have: as its text it would find other jobs.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidInputError({path: [NO_ZONE_IN_PYTHON]})
        return json_form.date(value)
    if isinstance(value, UUID) or type(value).__name__ == "ObjectId":
        # The form in which tasks store them. The class of the driver is not loaded for it.
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): filter_json(inner, f"{path}.{name}") for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filter_json(inner, f"{path}.{number}") for number, inner in enumerate(value)]
    raise InvalidInputError({path: [f"is of type {type(value).__name__}, which is no JSON value"]})
