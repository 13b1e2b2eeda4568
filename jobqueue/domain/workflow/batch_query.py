"""Queries for listings of batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import attributes
from jobqueue.domain.search.query import check_texts, text_values
from jobqueue.domain.values.checks import check_type
from jobqueue.domain.workflow.batch import FINISHED, OPEN

_STATES: Final = (OPEN, FINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchQuery:
    """A query for batches; all conditions have to hold.

    Attributes:
        state: ``open`` or ``finished``.
        type: a job of the batch has this type.
        failed: a job of the batch has failed or was killed, and was not requeued since.
        meta: pairs of a dotted path below the ``meta`` of the batch and the text of a value: ``42`` finds the number
            and the text.
    """

    state: str | None = None
    type: str | None = None
    failed: bool = False
    meta: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in _STATES:
            raise InvalidInputError({"state": [f"must be {' or '.join(_STATES)}"]})
        if self.type is not None:
            check_type(self.type)
        check_texts({}, self.meta)
        for (path, _), ways in zip(self.meta, self.attributes, strict=True):
            if not ways:
                raise InvalidInputError({f"meta.{path}": [f"must be at most {attributes.LONGEST} characters"]})

    @property
    def is_by_state(self) -> bool:
        """Tell whether nothing but the state matters."""
        return self.type is None and not self.failed and not self.meta

    @property
    def attributes(self) -> tuple[frozenset[str], ...]:
        """The attributes of batches, of each set of which a batch has to have one."""
        ways = [[attributes.encode(path, value) for value in text_values(text)] for path, text in self.meta]
        return tuple(frozenset(way for way in each if way is not None) for each in ways)
