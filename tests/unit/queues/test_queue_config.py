"""What a queue may be configured to, and what new jobs get from it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.backoff import DEFAULT, FixedBackoff
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig, read_stored
from jobqueue.domain.work.processing import CommandConfig, WebhookConfig, processor
from tests.unit.jobs.domain_strategies import garbage, modest, new_jobs

URL = "https://example.com/hook"
SECRET = "whsec_" + "QUFB" * 8
DEFAULTS = ("priority", "attempts", "backoff", "lease", "timeout", "on_success_delete")
CONFIG = QueueConfig(attempts=9, backoff=FixedBackoff(77), lease=5, timeout=50, priority=3, on_success_delete=True)


def test_a_queue_nobody_configured_has_the_documented_defaults() -> None:
    config = QueueConfig()
    assert (config.paused, config.attempts, config.backoff, config.lease) == (False, 3, DEFAULT, 60)
    assert (config.timeout, config.priority, config.on_success_delete) == (None, 0, False)
    assert (config.processors, config.max_retries) == ({}, 1000)


@modest
@given(new_jobs(levels=0))
def test_a_new_job_keeps_what_it_has_and_gets_the_rest(new: NewJob) -> None:
    filled = CONFIG.fill(new)
    for name in NewJob.__dataclass_fields__:
        had = getattr(new, name)
        wanted = getattr(CONFIG, name) if had is None and name in DEFAULTS else had
        assert getattr(filled, name) == wanted
    assert CONFIG.fill(filled) == filled


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": None}, "attempts"),
        ({"lease": 0.1}, "lease"),
        ({"lease": math.inf}, "lease"),
        ({"timeout": 0}, "timeout"),
        ({"priority": 1.5}, "priority"),
        *(({"max_retries": wrong}, "maxRetries") for wrong in (0, -1, 1_000_001, 1.5, True, "5", None)),
        ({"processors": {"": CommandConfig(name="a")}}, "processors."),
        ({"processors": {"$a": CommandConfig(name="a")}}, "processors.$a"),
        ({"processors": {"a\n": CommandConfig(name="a")}}, "processors.a\n"),
    ],
)
def test_an_unacceptable_value_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        QueueConfig(**fields)
    assert list(caught.value.problems) == [path]


def test_the_processor_of_a_type_is_its_own_or_that_of_the_rest() -> None:
    one, rest = CommandConfig(name="one"), CommandConfig(name="rest")
    assert QueueConfig(processors={"a": one, "*": rest}).processor_for("a") is one
    assert QueueConfig(processors={"a": one, "*": rest}).processor_for("b") is rest
    assert QueueConfig(processors={"a": one}).processor_for("b") is None


def test_a_processor_is_read_by_its_kind() -> None:
    assert processor({"kind": "command", "name": "report"}, "p") == CommandConfig(name="report")
    wanted = WebhookConfig(url=URL, secret=SECRET, headers={"X-A": "b"}, timeout=5)
    given_form = {"kind": "webhook", "url": URL, "secret": SECRET, "headers": {"X-A": "b"}, "timeout": 5}
    assert processor(given_form, "p") == wanted


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("webhook", "p"),
        ({}, "p.kind"),
        ({"kind": "shell"}, "p.kind"),
        ({"kind": ["webhook"]}, "p.kind"),
        ({"kind": "webhook"}, "p"),
        ({"kind": "command", "name": "a", "argv": []}, "p"),
        ({"kind": "command", "name": "../a"}, "p.name"),
        ({"kind": "command", "name": "a b"}, "p.name"),
        ({"kind": "command", "name": 5}, "p.name"),
        *(
            ({"kind": "webhook", "url": url}, "p.url")
            for url in (
                *("", "example.com", "/hook", "ftp://example.com/", "file:///etc/passwd", "http://", "http:///x"),
                *("https://user:pw@example.com/", "https://user@example.com/", "http://exa mple.com/"),
                *("http://example.com:99999/", "http://example.com:0/", "http://[::1/", "http://a\n.com/"),
                *(5, None, ["http://example.com/"]),
            )
        ),
        *(
            ({"kind": "webhook", "url": URL, "secret": secret}, "p.secret")
            for secret in ("", "whsec_", "whsec_AAAA", "secret", "whsec_" + "é" * 40, "whsec_" + "QUFB" * 30, 5)
        ),
        *(
            ({"kind": "webhook", "url": URL, "timeout": timeout}, "p.timeout")
            for timeout in (0, -1, 3601, math.nan, math.inf, True, "5")
        ),
        ({"kind": "webhook", "url": URL, "headers": []}, "p.headers"),
        *(
            ({"kind": "webhook", "url": URL, "headers": {name: "x"}}, f"p.headers.{name}")
            for name in (
                *("Host", "content-LENGTH", "Transfer-Encoding", "Connection", "Webhook-Id", "webhook-signature"),
                *("", "a b", "a:b", "é", "x" * 101),
            )
        ),
        *(
            ({"kind": "webhook", "url": URL, "headers": {"X-A": value}}, "p.headers.X-A")
            for value in ("a\r\nb", "é", "\0", 5, None)
        ),
    ],
)
def test_a_processor_that_cannot_work_or_must_not_is_refused(value: Any, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        processor(value, "p")
    assert list(caught.value.problems) == [path]


@modest
@given(garbage)
def test_garbage_raises_nothing_but_invalid_input_errors(value: Any) -> None:
    kinds: list[Any] = [value, {"kind": value}, {"kind": "command", "name": value}]
    kinds += [{"kind": "webhook", "url": URL, name: value} for name in ("url", "secret", "headers", "timeout")]
    for one in kinds:
        try:
            processor(one, "p")
        except InvalidInputError as error:
            assert error.problems  # noqa: PT017 - only some garbage is refused


FIELDS = [
    "paused",
    "attempts",
    "backoff",
    "lease",
    "timeout",
    "priority",
    "onSuccessDelete",
    "processors",
    "maxRetries",
    "pauseReason",
]


@modest
@given(st.dictionaries(st.sampled_from(FIELDS), garbage, max_size=4))
def test_what_is_odd_in_a_stored_configuration_is_left_out_and_the_rest_holds(odd: dict[str, Any]) -> None:
    whole = {"attempts": 9, "lease": 5, "processors": {"a": {"kind": "command", "name": "x"}}}
    config = read_stored(whole | odd)
    assert isinstance(config, QueueConfig)
    if "attempts" not in odd:
        assert config.attempts == 9
    if "processors" not in odd:
        assert config.processors == {"a": CommandConfig(name="x")}


def test_one_odd_processor_of_a_stored_configuration_leaves_the_others() -> None:
    stored = {"paused": True, "attempts": 0, "processors": {"a": {"kind": "x"}, "b": {"kind": "command", "name": "b"}}}
    config = read_stored(stored)
    assert (config.paused, config.attempts) == (True, 3)
    assert config.processors == {"b": CommandConfig(name="b")}
