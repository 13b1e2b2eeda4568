"""What the limits of a queue may be, in which group a job counts, and how changes of a configuration are merged."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.access.masking import MASK
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.limits.limits import Breaker, Rate, breaker, limit_key, limit_path, rate, retention
from jobqueue.domain.queues import queue_form
from jobqueue.domain.queues.queue import QueueConfig, read, read_stored
from jobqueue.domain.work.processing import CommandConfig, WebhookConfig
from jobqueue.services.limits import limiter as limiting
from jobqueue.services.limits.breakers import OPEN_GATE, BreakerGate, status
from jobqueue.services.limits.slots import free_slots
from jobqueue.services.queues.merge_patch import merged, unmasked
from jobqueue.store.documents.claim_search import ClaimSearch
from jobqueue.store.limits.limits import BreakerState, RunningJob
from tests.unit.jobs.domain_strategies import HUGE, LONG_AGO, garbage, modest, values

URL = "https://example.com/hook"
SECRETS = tuple("whsec_" + letters * 8 for letters in ("QUFB", "QkJC", "Q0ND"))
WHOLE: dict[str, Any] = {
    "concurrency": 4,
    "rate": {"limit": 5, "per": 60},
    "limitBy": "meta.a",
    "retention": {"success": 60.5, "killed": 1},
    "breaker": {"failures": 3, "cooldown": 1.5, "per": "type"},
    "maxRetries": 7,
}
NO_NUMBERS: tuple[Any, ...] = ("5", None, True, [], {}, math.nan, math.inf, -math.inf)
NO_OBJECTS: tuple[Any, ...] = (5, "5/60", ["type"], True)
NO_PATHS: tuple[Any, ...] = (5, [], "", "meta", "meta.", "type", "attrs.a", "meta..a", "meta.$a", "meta.a=b", "metaxa")
NO_PATHS += ("meta.a\n", "meta.a\0", " meta.a", "meta" + ".a" * 11, "meta." + "a" * 201)
WRONG_TIMES = (0, -1, 100 * 365 * 86_400 + 1, HUGE, *NO_NUMBERS)
WRONG_COUNTS = (0, -1, 10_001, HUGE, 1.5, 1.0, *NO_NUMBERS)


def problems(given_form: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        read(given_form)
    return sorted(caught.value.problems)


def test_a_queue_has_no_limits_unless_it_is_given_some() -> None:
    config = read({})
    assert config == QueueConfig()
    assert (config.concurrency, config.rate, config.limit_by, config.breaker, config.retention) == (*[None] * 4, {})
    assert not config.limited
    assert not config.grouped
    assert config.limit_key({}, {}) is None


def test_limits_are_read_and_shown_in_the_same_form() -> None:
    config = read(WHOLE)
    assert (config.rate, config.breaker) == (Rate(limit=5, per=60), Breaker(failures=3, cooldown=1.5, per="type"))
    assert (config.limited, config.grouped) == (True, True)
    assert {name: inner for name, inner in queue_form.queue(config).items() if name in WHOLE} == WHOLE
    assert read(queue_form.queue(config)) == config
    assert read_stored(queue_form.queue(config)) == config


@pytest.mark.parametrize(
    ("form", "limited", "grouped"),
    [
        ({"concurrency": 1}, True, False),
        ({"rate": {"limit": 1, "per": 1}}, True, False),
        ({"breaker": {"failures": 1}}, True, False),
        ({"limitBy": "meta.a"}, False, False),
        ({"limitBy": "meta.a", "breaker": {"failures": 1}}, True, False),
        ({"limitBy": "meta.a", "concurrency": 1}, True, True),
        ({"limitBy": "meta.a", "rate": {"limit": 1, "per": 1}}, True, True),
    ],
)
def test_only_concurrency_and_rate_hold_for_each_value(form: dict[str, Any], *, limited: bool, grouped: bool) -> None:
    assert (read(form).limited, read(form).grouped) == (limited, grouped)


def test_null_means_the_default_everywhere() -> None:
    assert read(dict.fromkeys(queue_form.queue(QueueConfig()))) == QueueConfig()
    assert retention({"success": None, "failed": 5, "killed": None}) == {"failed": 5}
    assert breaker({"failures": 1}) == Breaker(failures=1, cooldown=60, per="queue")


@pytest.mark.parametrize(
    "form",
    [
        *({"concurrency": number} for number in (1, 10_000)),
        *({"rate": {"limit": number, "per": 60}} for number in (1, 10_000)),
        *({"rate": {"limit": 1, "per": seconds}} for seconds in (0.5, 1, 31 * 86_400)),
        *({"breaker": {"failures": number}} for number in (1, 10_000)),
        *({"breaker": {"failures": 1, "cooldown": seconds}} for seconds in (0.001, 7 * 86_400)),
        *({"retention": {"success": seconds}} for seconds in (0.001, 100 * 365 * 86_400)),
        {"retention": {}},
    ],
)
def test_the_bounds_themselves_are_allowed(form: dict[str, Any]) -> None:
    config = read(form)
    assert (config == QueueConfig()) == (form == {"retention": {}})
    assert read_stored(form) == config


@pytest.mark.parametrize(
    ("form", "paths"),
    [
        *(({"concurrency": wrong}, ["concurrency"]) for wrong in WRONG_COUNTS if wrong is not None),
        *(({name: wrong}, [name]) for name in ("rate", "breaker", "retention") for wrong in NO_OBJECTS),
        ({"rate": {}}, ["rate.limit", "rate.per"]),
        ({"rate": {"limit": 1, "per": 1, "burst": 2}}, ["rate.burst"]),
        *(({"rate": {"limit": wrong, "per": 6}}, ["rate.limit"]) for wrong in WRONG_COUNTS),
        *(({"rate": {"limit": 1, "per": wrong}}, ["rate.per"]) for wrong in (0.49, 31 * 86_401, *WRONG_TIMES)),
        *(({"limitBy": wrong}, ["limitBy"]) for wrong in NO_PATHS),
        ({"breaker": {}}, ["breaker.failures"]),
        ({"breaker": {"failures": 1, "half": 2}}, ["breaker.half"]),
        *(({"breaker": {"failures": wrong}}, ["breaker.failures"]) for wrong in WRONG_COUNTS),
        *(({"breaker": {"failures": 1, "cooldown": wrong}}, ["breaker.cooldown"]) for wrong in WRONG_TIMES),
        *(({"breaker": {"failures": 1, "per": wrong}}, ["breaker.per"]) for wrong in ("Queue", "", 5, None)),
        *(({"breaker": {"failures": 1, "per": wrong}}, ["breaker.per"]) for wrong in NO_OBJECTS),
        ({"retention": {"pending": 5, "failed": 0}}, ["retention.pending"]),
        *(
            ({"retention": {"success": wrong, "failed": 5}}, ["retention.success"])
            for wrong in WRONG_TIMES
            if wrong is not None
        ),
        ({"concurency": 5, "rate": 5}, ["concurency", "rate"]),
        ({"limit_by": "meta.a", "LimitBy": "meta.a"}, ["LimitBy", "limit_by"]),
        ({"concurrency": 0, "limitBy": "x", "rate": {}}, ["concurrency", "limitBy", "rate.limit", "rate.per"]),
        (
            {"retention": {"success": 0, "failed": -1}, "attempts": 0},
            ["attempts", "retention.failed", "retention.success"],
        ),
    ],
)
def test_what_is_unacceptable_is_named_by_its_path(form: dict[str, Any], paths: list[str]) -> None:
    assert problems(form) == paths


@pytest.mark.parametrize("name", ["rate", "breaker", "retention"])
def test_an_unknown_field_is_named_below_its_parent_even_if_it_has_its_name(name: str) -> None:
    whole = {"rate": {"limit": 1, "per": 1}, "breaker": {"failures": 1}, "retention": {}}[name]
    assert problems({name: {**whole, name: 1}}) == [f"{name}.{name}"]


def test_a_path_may_go_deep_and_have_any_letters() -> None:
    for path in ("meta.user_id", "data.a.b", "meta.Ünï côdé", "meta" + ".a" * 10, "data." + "a" * 200):
        assert limit_path(path) == path
    with pytest.raises(InvalidInputError):
        QueueConfig(limit_by="nothing")


def test_a_grant_holds_a_little_longer_the_longer_the_window_is() -> None:
    leeway = [Rate(limit=1, per=seconds).leeway for seconds in (0.5, 1, 5, 60, 86_400)]
    assert all(timedelta(0) < one <= timedelta(seconds=0.25) for one in leeway)
    assert all(shorter <= longer for shorter, longer in pairwise(leeway))


def test_the_group_of_a_job_is_the_value_at_the_path() -> None:
    assert limit_key("meta.user_id", {}, {"user_id": 42}) == "meta.user_id=42"
    assert limit_key("data.a.b", {"a": {"b": "x"}}, {"a": {"b": "y"}}) == 'data.a.b="x"'
    assert QueueConfig(limit_by="meta.a", concurrency=1).limit_key({"a": 1}, {"a": 2}) == "meta.a=2"
    assert QueueConfig(limit_by="meta.a").limit_key({}, {"a": 2}) is None


@pytest.mark.parametrize("meta", [{}, {"a": None}, {"a": 5}, {"a": "b"}, {"a": [{"b": 1}]}, {"a": {"c": 1}}, None, 5])
def test_jobs_without_the_value_are_a_group_of_their_own(meta: Any) -> None:
    assert limit_key("meta.a.b", {}, meta) == "meta.a.b=null"


def test_whole_numbers_are_the_same_in_every_form_and_differ_from_other_kinds() -> None:
    def key(value: Any) -> str:
        return limit_key("meta.a", {}, {"a": value})

    assert key(1) == key(1.0) == "meta.a=1"
    assert key(0) == key(-0.0) == key(0.0)
    assert key(2**53) == key(float(2**53))
    different = [1, "1", True, "true", None, "null", "", " ", 1.5, "é", "e\u0301", "1.0", [1], {"a": 1}, [], {}]
    assert len({key(value) for value in different}) == len(different)


@pytest.mark.parametrize("value", ["x" * 199, "é" * 1000, 10**250, [1, 2], {"b": 1, "a": 2}, [], "\ud800" * 300])
def test_a_long_value_or_one_with_parts_stands_by_its_hash(value: Any) -> None:
    key = limit_key("meta.a", {}, {"a": value})
    assert re.fullmatch(r"meta\.a=sha256:[0-9a-f]{64}", key)
    assert key == limit_key("meta.a", {}, {"a": value})
    assert key != limit_key("meta.a", {}, {"a": [value]})


def test_the_order_of_names_does_not_matter_and_short_text_is_kept() -> None:
    first, second = {"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}
    assert limit_key("meta.o", {}, {"o": first}) == limit_key("meta.o", {}, {"o": second})
    assert limit_key("meta.a", {}, {"a": "Ünï"}) == 'meta.a="Ünï"'
    assert limit_key("meta.a", {}, {"a": "x" * 198}) == f'meta.a="{"x" * 198}"'
    assert limit_key("meta.a", {}, {"a": (1, 2)}) == limit_key("meta.a", {}, {"a": [1, 2]})


@modest
@given(values(), values())
def test_a_key_is_short_and_tells_different_texts_apart(one: Any, other: Any) -> None:
    keys = [limit_key("data.a", {"a": value}, {}) for value in (one, other)]
    assert all(key.startswith("data.a=") and len(key) <= 220 for key in keys)
    if isinstance(one, str) and isinstance(other, str):
        assert (keys[0] == keys[1]) == (one == other)


@modest
@given(garbage)
def test_garbage_raises_nothing_but_invalid_input_errors(value: Any) -> None:
    forms: list[Any] = [(reader, value) for reader in (rate, breaker, retention, limit_path)]
    for name in ("limit", "per", "failures", "cooldown", "success", "failed"):
        forms += [(rate, {"limit": 1, "per": 1, name: value}), (breaker, {"failures": 1, name: value})]
        forms.append((retention, {name: value}))
    forms += [(read, {name: value}) for name in WHOLE]
    for reader, form in forms:
        try:
            reader(form)
        except InvalidInputError as error:
            assert error.problems  # noqa: PT017 - only some garbage is refused


@modest
@given(st.sampled_from(sorted(WHOLE)), garbage, st.sampled_from(["", "limit", "per", "failures", "success"]))
def test_a_spoilt_limit_is_left_out_and_the_others_hold(name: str, value: Any, inner: str) -> None:
    spoilt = {**WHOLE[name], inner: value} if inner and isinstance(WHOLE[name], dict) else value
    config, whole = read_stored(WHOLE | {name: spoilt}), read(WHOLE)
    for other in set(WHOLE) - {name}:
        attribute = {"limitBy": "limit_by", "maxRetries": "max_retries"}.get(other, other)
        assert getattr(config, attribute) == getattr(whole, attribute)


def test_whole_numbers_that_a_shell_has_stored_as_broken_ones_hold() -> None:
    broken = {"concurrency": 4.0, "rate": {"limit": 5.0, "per": 60.0}, "breaker": {"failures": 3.0}, "paused": 1.0}
    config = read_stored(broken | {"nonsense": 5})
    assert (config.concurrency, config.rate, config.breaker) == (4, Rate(limit=5, per=60), Breaker(failures=3))
    assert config.paused is True


def running(*slots: str) -> RunningJob:
    return RunningJob(job_id="0" * 24, type="work", worker="w", start_at=None, step=None, key=None, slots=slots)


@pytest.mark.parametrize(
    ("jobs", "free"),
    [
        ([], ["#0", "#1", "#2"]),
        ([running("#1")], ["#0", "#2"]),
        ([running("#0"), running("#1"), running("#2")], []),
        ([running()] * 3, []),
        ([running()] * 5, []),
        ([running("#7")] * 2 + [running("trial", "#0")], []),
        ([running("trial", "#0")], ["#1", "#2"]),
        ([running("#0", "#1")], ["#2"]),
    ],
)
def test_free_slots_are_those_that_no_running_job_has(jobs: list[RunningJob], free: list[str]) -> None:
    assert free_slots("", 3, jobs) == free


def test_a_job_with_a_slot_of_another_group_or_none_counts_as_one() -> None:
    odd: list[RunningJob] = [
        running(),
        running("#0"),
        running("meta.a=2#0"),
        running("trial:work"),
        running("meta.a=1#x"),
    ]
    for one in odd:
        assert len(free_slots("meta.a=1", 3, [one])) == 2
    assert free_slots("meta.a=1", 3, [running("meta.a=1#2")]) == ["meta.a=1#0", "meta.a=1#1"]


@modest
@given(st.integers(1, 6), st.lists(st.sampled_from(["", *(f"#{number}" for number in range(9))]), max_size=9))
def test_starts_in_all_free_slots_never_exceed_a_limit(most: int, slots: list[str]) -> None:
    held = {slot: running(slot) for slot in slots if slot}
    jobs = [*held.values(), *(running() for slot in slots if not slot)]
    before = len(jobs)
    while free := free_slots("", most, jobs):
        jobs.append(running(free[-1]))
    assert len(jobs) == max(before, most)


def search(types: tuple[str, ...] | None = None, excluded: tuple[str, ...] = ()) -> ClaimSearch:
    return ClaimSearch(queue="q", types=types, token="a" * 24, worker="w", excluded=excluded)


def shape(found: list[tuple[ClaimSearch, tuple[str, ...]]]) -> list[tuple[Any, ...]]:
    return [(one.types, one.excluded, slots) for one, slots in found]


HELD = BreakerGate(waits={"b": 5.0}, trials=frozenset({"d", "c"}))
TRIALS = [(("c",), (), ("trial:c",)), (("d",), (), ("trial:d",))]


@pytest.mark.parametrize(
    ("gate", "wanted", "trial", "expected"),
    [
        (OPEN_GATE, search(), (), [(None, (), ())]),
        (OPEN_GATE, search(("a",)), ("trial",), [(("a",), (), ("trial",))]),
        (HELD, search(), (), [(None, ("b", "c", "d"), ()), *TRIALS]),
        (HELD, search(None, ("a", "c")), (), [(None, ("a", "b", "c", "d"), ()), TRIALS[1]]),
        (HELD, search(("a", "b", "c")), (), [(("a",), (), ()), TRIALS[0]]),
        (HELD, search(("b",)), (), []),
        (HELD, search(("c",)), (), [TRIALS[0]]),
    ],
)
def test_what_a_breaker_holds_back_is_not_looked_for_and_what_is_on_trial_comes_last(
    gate: BreakerGate, wanted: ClaimSearch, trial: tuple[str, ...], expected: list[tuple[Any, ...]]
) -> None:
    assert shape(limiting._searches(wanted, gate, trial)) == expected


@pytest.mark.parametrize(
    ("failures", "seconds", "expected"),
    [
        (0, None, "closed"),
        (2, None, "closed"),
        (2, 60, "closed"),
        (3, 0.001, "open"),
        (9, 60, "open"),
        (3, 0, "half-open"),
        (3, -60, "half-open"),
        (3, None, "half-open"),
        # The server's clock was set back.
        (3, 3600, "half-open"),
    ],
)
def test_a_breaker_is_open_until_its_time_and_half_open_then(
    failures: int, seconds: float | None, expected: str
) -> None:
    until = None if seconds is None else LONG_AGO + timedelta(seconds=seconds)
    state = BreakerState(type=None, failures=failures, open_until=until)
    assert status(state, Breaker(failures=3), LONG_AGO) == expected


@pytest.mark.parametrize(
    ("present", "changes", "expected"),
    [
        # From the table in RFC 7396, as far as it is about objects.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        # An object of another kind has other fields.
        (
            {"processors": {"a": {"kind": "x", "b": 1}}},
            {"processors": {"a": {"kind": "y", "c": 2}}},
            {"processors": {"a": {"kind": "y", "c": 2}}},
        ),
        ({"a": {"kind": "x", "b": 1}}, {"a": {"c": 2}}, {"a": {"kind": "x", "b": 1, "c": 2}}),
    ],
)
def test_changes_are_merged_as_rfc_7396_says_but_an_object_with_a_kind_is_whole(
    present: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = repr(present)
    assert merged(present, changes) == expected
    assert repr(present) == before


def test_a_processor_for_jobs_of_the_type_kind_leaves_the_others() -> None:
    present = {"processors": {"a": {"kind": "command", "name": "a"}}}
    added = {"kind": {"kind": "command", "name": "b"}}
    assert merged(present, {"processors": added}) == {"processors": {**present["processors"], **added}}


def hooked(**fields: Any) -> QueueConfig:
    old = {"secret": SECRETS[0], "previous_secrets": SECRETS[1:], "headers": {"A": "1", "B": "2"}}
    return QueueConfig(processors={"a": WebhookConfig(url=URL, **old | fields), "c": CommandConfig(name="c")})


def put_back(one: dict[str, Any], kind: str = "a") -> Any:
    return unmasked({"attempts": 2, "processors": {kind: one}}, hooked())["processors"][kind]


def test_what_is_shown_can_be_sent_back() -> None:
    assert read(unmasked(queue_form.queue(hooked()), hooked())) == hooked()
    assert unmasked({"attempts": 2}, hooked()) == {"attempts": 2}
    wrong: list[Any] = [5, None, [], {"a": 5}, {"a": None}]
    for one in wrong:
        assert unmasked({"processors": one}, hooked()) == {"processors": one}


def test_masks_are_replaced_by_what_they_stand_for_and_new_values_stay() -> None:
    hook = {"kind": "webhook", "url": URL}
    assert put_back(hook)["secret"] == put_back({**hook, "secret": MASK})["secret"] == SECRETS[0]
    assert put_back({**hook, "secret": None})["secret"] == SECRETS[0]
    assert put_back({**hook, "secret": SECRETS[2]})["secret"] == SECRETS[2]
    headers = {"A": MASK, "B": "new", "C": MASK}
    assert put_back({**hook, "headers": headers})["headers"] == {"A": "1", "B": "new", "C": MASK}
    previous = [MASK, SECRETS[0], MASK]
    assert put_back({**hook, "previousSecrets": previous})["previousSecrets"] == [SECRETS[1], SECRETS[0], MASK]
    assert put_back({**hook, "previousSecrets": []})["previousSecrets"] == []


def test_no_secret_goes_to_another_processor() -> None:
    hook = {"kind": "webhook", "url": URL, "secret": MASK}
    assert put_back(hook, "b") == put_back(hook, "c") == {"kind": "webhook", "url": URL}
    assert put_back({"kind": "command", "name": "x"}) == {"kind": "command", "name": "x"}
