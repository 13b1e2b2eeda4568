"""Failed jobs are compared with others by exact chances: a cause is found, and chance is not taken for one."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk import comparison
from jobqueue.domain.bulk.chance import chance, least_chance
from jobqueue.domain.bulk.comparison import Comparison, compare
from jobqueue.domain.bulk.failure_comparison import beginning, duration
from jobqueue.domain.bulk.features import ComparedJob, Run
from jobqueue.domain.bulk.traits import Likeness, TraitTest, percent

DAY = datetime(2026, 1, 1, tzinfo=UTC)
FAILED, SUCCESS = State.FAILED, State.SUCCESS


def job(number: int, state: State = SUCCESS, **more: Any) -> ComparedJob:
    """Return a job that was added a minute after the one with the number before."""
    added = DAY + timedelta(minutes=number)
    usual: dict[str, Any] = {"insert_at": added, "fields": {"queue": "q"}, "data": {}, "meta": {}, "sizes": {}}
    return ComparedJob(id=f"{number:024x}", state=state, **usual | more)


def draws(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - no secret


def data(draw: random.Random, fields: int = 30) -> dict[str, Any]:
    """Return values of several kinds, of few and of many values, some of them missing."""
    values: dict[str, Any] = {}
    for place in range(fields):
        most = (2, 3, 10, 50, 10_000)[place % 5]
        number = draw.randrange(most)
        if place % 7 or draw.random() < 0.7:
            values[f"f{place}"] = f"v{number}" if place % 3 else draw.random() ** 3 * most if place % 2 else number
    return values | {"id": f"{draw.random()}", "tags": [draw.choice("abcdef") for _ in range(draw.randrange(4))]}


def both(count: int, draw: random.Random, planted: Any) -> tuple[list[ComparedJob], list[ComparedJob]]:
    """Return failed jobs and others in turns; ``planted`` returns more data by whether a job has failed."""
    made = [
        job(number, FAILED if number % 2 else SUCCESS, data=data(draw) | planted(bool(number % 2), number))
        for number in range(2 * count)
    ]
    return [one for one in made if one.state is FAILED], [one for one in made if one.state is SUCCESS]


def texts(found: Comparison) -> list[str]:
    return [trait.text for trait in found.traits]


@pytest.mark.parametrize("counts", [(5, 9, 2, 30), (0, 4, 0, 7), (20, 20, 0, 20), (3, 50, 40, 60), (7, 8, 9, 9)])
def test_chances_are_those_of_fisher(counts: tuple[int, int, int, int]) -> None:
    has, total, other_has, other_total = counts
    if has * other_total < other_has * total:
        has, total, other_has, other_total = other_has, other_total, has, total
    having = has + other_has
    ways = [math.comb(total, some) * math.comb(other_total, having - some) for some in range(min(total, having) + 1)]
    exact = min(1.0, float(2 * Fraction(sum(ways[has:]), math.comb(total + other_total, having))))
    assert chance(*counts) == pytest.approx(exact, rel=1e-9)
    assert least_chance(5, 20) == pytest.approx(2 / math.comb(25, 5))


def test_a_cause_is_found_among_thirty_fields() -> None:
    draw = draws(1)

    def planted(failed: bool, number: int) -> dict[str, Any]:  # noqa: FBT001 - as `both` calls it
        is_german = draw.random() < (0.97 if failed else 0.04)
        country, currency = ("DE", "EUR") if is_german else ("CH", "CHF")
        return {"country": country, "money": {"currency": currency}, "number": number * 1000 + draw.randrange(999)}

    found = compare(*both(150, draw, planted))
    (trait,) = found.traits
    # Of fields that say the same the first one leads; ids, and numbers that count up, are no trait.
    assert (trait.text, trait.test, trait.value) == ('data.country = "DE"', TraitTest.IS, "DE")
    assert [other.text for other in trait.alike] == ['data.money.currency = "EUR"']
    assert (trait.failed_of, trait.succeeded_of) == (150, 150)
    assert trait.failed > 140
    assert trait.succeeded < 15
    assert trait.sentence.startswith("in 9")
    assert found.fields > 30


def test_chance_is_not_taken_for_a_cause() -> None:
    alarms = []
    for seed in range(25):
        draw = draws(seed)
        size = draw.choice((8, 25, 40))
        found = compare(*both(size, draw, lambda *_: {}))
        alarms += texts(found)
        assert found.comparisons > 100
    assert alarms == []


@pytest.mark.parametrize(
    ("failed", "other", "text"),
    [
        ({"rows": 5000}, {"rows": 20}, "data.rows = 5,000"),
        ({"vat": None}, {"vat": "x"}, "data.vat = null"),
        ({}, {"vat": "DE"}, "data.vat is missing"),
        ({"flag": True}, {"flag": 1}, "data.flag = true"),
        ({"list": ["a", "bad"]}, {"list": ["a"]}, 'data.list[] has "bad"'),
        ({"items": [{"sku": "a"}, {"sku": "x"}]}, {"items": [{"sku": "a"}]}, 'data.items[].sku = "x"'),
    ],
)
def test_traits_are_told_as_they_are(failed: dict[str, Any], other: dict[str, Any], text: str) -> None:
    found = compare(*both(20, draws(2), lambda has_failed, _: failed if has_failed else other))
    leading = found.traits[0]
    assert text in [leading.text, *(one.text for one in leading.alike)]
    assert (leading.failed, leading.succeeded) == (20, 0)


def test_numbers_and_lengths_have_bounds_and_kinds_are_told() -> None:
    draw = draws(3)
    failed, others = both(
        60,
        draw,
        lambda has_failed, _: {
            "rows": draw.uniform(1200, 9000) if has_failed else draw.uniform(1, 900),
            "name": "x" * (draw.randrange(101, 180) if has_failed else draw.randrange(3, 95)),
            "price": f"{draw.random()}" if has_failed else draw.random(),
        },
    )
    found = {trait.field: trait for trait in compare(failed, others).traits}
    named = {one.field: one for trait in found.values() for one in (trait, *trait.alike)}
    assert (named["data.rows"].test, named["data.name"].test) == (TraitTest.AT_LEAST, TraitTest.LONG)
    assert named["data.rows"].text in {"data.rows ≥ 1,000", "data.rows ≥ 1,200"}
    assert named["data.name"].text == "data.name has 100 characters or more"
    assert named["data.price"].text in {"data.price is text", "data.price is not a number"}


def test_what_was_not_looked_at_is_not_missing() -> None:
    failed = [job(number, FAILED, data=None, sizes={"data": 90_000 + number}) for number in range(0, 40, 2)]
    others = [job(number, data={"a": 1}, sizes={"data": 500 + number}) for number in range(1, 40, 2)]
    found = compare(failed, others)
    assert (found.unread, [trait.field for trait in found.traits]) == (20, ["data"])
    assert found.traits[0].text.startswith("data has ")
    many = {f"k{number}": 1 for number in range(101)}
    assert compare([job(1, FAILED, data=many)], others).unread == 1


def test_an_hour_counts_by_the_days_and_not_by_the_jobs() -> None:
    def at(day: int, hour: int, minute: int, state: State) -> ComparedJob:
        start = DAY + timedelta(days=day, hours=hour, minutes=minute)
        return job(day * 1440 + hour * 60 + minute, state, run=Run(start_at=start))

    any_time = [at(day, hour, 0, SUCCESS) for day in range(8) for hour in range(0, 24, 2)]
    near = [at(day, 1, minute, SUCCESS) for day in range(8) for minute in range(10)]
    nightly = [at(day, 2, minute, FAILED) for day in range(8) for minute in range(10)]
    found = compare(nightly, near, any_time)
    assert "began between 02:00 and 03:00 UTC" in texts(found)
    # A hundred failures of three nights may be chance, and so may all those of one night.
    assert texts(compare([one for one in nightly if one.insert_at < DAY + timedelta(days=3)], near, any_time)) == []
    assert texts(compare([at(0, 2, minute, FAILED) for minute in range(60)], near, any_time)) == []


def test_too_few_jobs_are_told() -> None:
    both_values = ([{"a": 1}] * 4, [{"a": 2}] * 50)
    few = compare(*([job(number, data=value) for number, value in enumerate(values)] for values in both_values))
    assert (few.is_enough, few.traits) == (False, ())
    draw = draws(4)
    # Five of each could not differ more than by chance over so many fields.
    found = compare(*both(5, draw, lambda has_failed, _: {"cause": has_failed}))
    assert (found.is_enough, found.traits) == (False, ())
    assert compare([], []).comparisons == 0


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = [job(number, FAILED, data={f"{number % 7}-{name}": name for name in range(90)}) for number in range(50)]
    others = [job(number, data={f"{number % 5}-{name}": name for name in range(90)}) for number in range(50, 100)]
    assert compare(wide, others).fields == 300
    monkeypatch.setattr(comparison, "MOST_TRAITS", 2)
    assert len(compare(wide, others).traits) <= 2


def test_a_beginning_is_told_only_soon_after_a_new_version() -> None:
    def run(number: int, version: str | None, **more: Any) -> ComparedJob:
        start = DAY + timedelta(minutes=number)
        return job(number, run=Run(start_at=start, version=version), end_at=start + timedelta(seconds=30), **more)

    before = [run(number, "2.4.0") for number in range(10)] + [run(10, "2.4.1"), run(11, "2.4.1")]
    began = beginning([run(13, "2.4.1"), *before], [])
    assert began is not None
    assert began.sentence == "the oldest one failed 3 minutes after version 2.4.1 was first seen"
    assert began.before_at == DAY + timedelta(minutes=9)
    assert beginning([run(13, "2.4.0"), *before[:10]], []) is None
    assert beginning([run(13, None), *before], []) is None
    # Nothing is known of the time before, or of the hours in which the version came.
    assert beginning([run(13, "2.4.1"), *before[10:]], []) is None
    assert beginning([run(5000, "2.4.1"), *before[:10]], []) is None
    assert beginning([], []) is None


def test_shares_are_exact_where_they_are_all_or_none() -> None:
    shares = [percent(0, 300), percent(1, 300), percent(150, 300), percent(299, 300), percent(300, 300)]
    assert shares == ["0 %", "less than 1 %", "50 %", "more than 99 %", "100 %"]
    assert [duration(seconds) for seconds in (0.4, 61, 7200, 100_000)] == [
        "less than a second",
        "1 minute",
        "2 hours",
        "1 day",
    ]
    is_not = Likeness(field="meta.tags[]", test=TraitTest.IS_NOT, value="a" * 200).text
    assert is_not == f'meta.tags[] has no "{"a" * 79}…'
