"""The comparison of failed jobs with jobs that succeeded: traits by which they differ more than by chance.

Which traits are compared does not depend on which jobs failed. So for jobs whose failure has nothing to do with their
values the probability that any trait is shown is `FALSE_ALARM` at most, however many traits are compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.bulk.chance import chance, least_chance
from jobqueue.domain.bulk.columns import Columns
from jobqueue.domain.bulk.features import ROOTS, hour
from jobqueue.domain.bulk.traits import HOUR, OPPOSITES, Likeness, Trait, TraitTest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobqueue.domain.bulk.features import ComparedJob

FALSE_ALARM: Final = 0.01
"""Probability of any trait where there is none, at most; divided by the number of comparisons."""
LEAST_DIFFERENCE: Final = 0.1
"""Of both shares; a smaller difference explains little, however certain it is."""
LEAST_JOBS: Final = 5
"""Jobs of each sample."""
MOST_TRAITS: Final = 10
_MOST_OF_FIELD: Final = 3
_MOST_ALIKE: Final = 10
_ALIKE: Final = 50
"""Traits are alike if the jobs that have only one of them are a fiftieth, at most, of those with or without it."""
_MOST_STEPS: Final = 10
_DAYS: Final = 3
_HOURS: Final = 24
_ORDER: Final = tuple(TraitTest)


@dataclass(frozen=True, slots=True)
class Tally:
    """The number of failed jobs with a value."""

    value: Any
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The traits of failed jobs, with what was compared.

    Attributes:
        traits: the greatest difference first.
        steps: the names of the steps in which jobs failed, and the numbers of these jobs.
        attempts_made: the attempts after which jobs failed, likewise.
        fields: the number of fields.
        comparisons: the number of traits that were compared.
        unread: jobs whose ``data`` or ``meta`` is too large to be looked at.
        is_enough: there are enough jobs to tell a cause from chance.
        false_alarm: the probability of any trait where there is no cause, at most.
    """

    traits: tuple[Trait, ...]
    steps: tuple[Tally, ...]
    attempts_made: tuple[Tally, ...]
    fields: int
    comparisons: int
    unread: int
    is_enough: bool
    false_alarm: float = FALSE_ALARM


@dataclass(frozen=True, slots=True)
class _Tested:
    """A trait with the jobs that have it, and those whose value is known."""

    trait: Trait
    mask: int
    known: int
    chance: float


def compare(
    failed: Sequence[ComparedJob], succeeded: Sequence[ComparedJob], any_time: Sequence[ComparedJob] = ()
) -> Comparison:
    """Compare failed jobs with jobs that succeeded.

    Args:
        failed: jobs of one group.
        succeeded: others of about the same times.
        any_time: others of all times, with which hours of the day are compared.
    """
    jobs = [*failed, *succeeded]
    columns = Columns(jobs)
    of_failed = (1 << len(failed)) - 1
    tests = list(_different(columns))
    hours = _hours(failed, any_time)
    # A trait and its opposite are one comparison, and so are traits of one field that the same jobs have.
    comparisons = len({(trait.field, min(mask, known & ~mask)) for trait, mask, known in tests}) + len(hours)
    allowed = FALSE_ALARM / max(comparisons, 1)
    found = [
        seen
        for trait, mask, known in tests
        if (seen := _tested(trait, mask, known, of_failed)) is not None and seen.chance <= allowed
    ]
    found += [seen for seen in hours if seen.chance <= allowed and seen.trait.difference >= LEAST_DIFFERENCE]
    steps = Counter(job.step for job in failed if job.step is not None)
    attempts = Counter(job.attempts_made for job in failed)
    is_enough = min(len(failed), len(succeeded)) >= LEAST_JOBS
    return Comparison(
        traits=_grouped(_best(found)) if is_enough else (),
        steps=tuple(Tally(*entry) for entry in steps.most_common(_MOST_STEPS)),
        attempts_made=tuple(Tally(*entry) for entry in attempts.most_common(_MOST_STEPS)),
        fields=columns.fields,
        comparisons=comparisons,
        unread=(columns.unread["data"] | columns.unread["meta"]).bit_count(),
        is_enough=is_enough and least_chance(len(failed), len(succeeded)) <= allowed,
    )


def _different(columns: Columns) -> Iterator[tuple[Likeness, int, int]]:
    """Yield the traits that some jobs have and others have not, with these jobs and those whose value is known."""
    for trait, mask in columns.tests():
        known = columns.known(trait.field)
        if 0 < mask.bit_count() < known.bit_count():
            yield trait, mask, known


def _tested(trait: Likeness, mask: int, known: int, failed: int) -> _Tested | None:
    """Return a trait, or its opposite, that more failed jobs have than others; ``None`` for a small difference."""
    total, others = (known & failed).bit_count(), (known & ~failed).bit_count()
    if min(total, others) < LEAST_JOBS:
        return None
    has, other = (mask & failed).bit_count(), (mask & ~failed).bit_count()
    if has / total < other / others:
        trait = replace(trait, test=OPPOSITES[trait.test])
        mask, has, other = known & ~mask, total - has, others - other
    if has / total - other / others < LEAST_DIFFERENCE:
        return None
    return _Tested(_trait(trait, (has, total), (other, others)), mask, known, chance(has, total, other, others))


def _trait(trait: Likeness, failed: tuple[int, int], succeeded: tuple[int, int]) -> Trait:
    return Trait(
        field=trait.field,
        test=trait.test,
        value=trait.value,
        unit=trait.unit,
        failed=failed[0],
        failed_of=failed[1],
        succeeded=succeeded[0],
        succeeded_of=succeeded[1],
    )


def _hours(failed: Sequence[ComparedJob], others: Sequence[ComparedJob]) -> list[_Tested]:
    """Return the hours of the day in which jobs began, if there are failures of several days.

    Jobs that began in the same hour of the same day count as one for chance: what fails often fails together.
    """
    began, other = [[seen for job in jobs if (seen := hour(job)) is not None] for jobs in (failed, others)]
    cells, other_cells = set(began), set(other)
    if len({start.date() for _, start in cells}) < _DAYS or len(other_cells) < LEAST_JOBS:
        return []
    tested = []
    for value in range(_HOURS):
        counts = [sum(of == value for of, _ in some) for some in (began, cells, other, other_cells)]
        has, of_cells, other_has, of_others = counts
        trait = _trait(Likeness(field=HOUR, test=TraitTest.IS, value=value), (has, len(began)), (other_has, len(other)))
        # Many failures of few hours may be more by number, and fewer by hours.
        is_more = of_cells * len(other_cells) > of_others * len(cells)
        p = chance(of_cells, len(cells), of_others, len(other_cells)) if is_more else 1.0
        tested.append(_Tested(trait, 0, 0, p))
    return tested


def _best(found: list[_Tested]) -> list[_Tested]:
    """Return the best traits of each field in order: the greatest difference first, the simplest of equal ones.

    Of those that are as simple, ``data`` and ``meta`` come first.
    """
    found.sort(
        key=lambda seen: (
            -round(seen.trait.difference, 2),
            _ORDER.index(seen.trait.test),
            seen.trait.field.partition(".")[0] not in ROOTS,
            seen.trait.field,
            str(seen.trait.value),
        )
    )
    kept: dict[str, list[_Tested]] = {}
    for seen in found:
        of_field = kept.setdefault(seen.trait.field, [])
        is_another_value = all(other.trait.test is TraitTest.IS is seen.trait.test for other in of_field)
        if not of_field or (is_another_value and len(of_field) < _MOST_OF_FIELD):
            of_field.append(seen)
    best = {id(seen) for some in kept.values() for seen in some}
    return [seen for seen in found if id(seen) in best]


def _grouped(found: Sequence[_Tested]) -> tuple[Trait, ...]:
    """Return the first traits, each with those after it that the same jobs have."""
    leading: list[tuple[_Tested, list[Likeness]]] = []
    for seen in found:
        like = next((others for first, others in leading if _are_alike(first, seen)), None)
        if like is None:
            leading.append((seen, []))
        elif len(like) < _MOST_ALIKE:
            like.append(seen.trait)
    return tuple(replace(seen.trait, alike=tuple(others)) for seen, others in leading[:MOST_TRAITS])


def _are_alike(one: _Tested, other: _Tested) -> bool:
    known = one.known & other.known
    if not known:
        return False
    have = one.mask & known
    differ = (have ^ (other.mask & known)).bit_count()
    return differ * _ALIKE <= min(have.bit_count(), (known & ~have).bit_count())
