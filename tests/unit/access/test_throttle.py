"""Failed attempts are slowed by address, and a request's address is what trusted proxies say."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from jobqueue.api.http.proxies import origin
from jobqueue.api.security.throttle import BURST, BURST_OF_ALL, Throttle


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_has_ten_attempts_and_then_one_a_second() -> None:
    time = Time()
    throttle = Throttle(time)
    for _ in range(BURST):
        assert throttle.wait("a") == 0
        throttle.failed("a")
    assert throttle.wait("a") == 1
    assert throttle.wait("b") == 0
    time.now += 1
    assert throttle.wait("a") == 0
    throttle.failed("a")
    assert throttle.wait("a") == 1


def test_many_addresses_together_are_slowed_too() -> None:
    throttle = Throttle(Time())
    for number in range(BURST_OF_ALL):
        throttle.failed(str(number))
    assert throttle.wait("another") == 1


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    time = Time()
    throttle = Throttle(time)
    for _ in range(BURST):
        throttle.failed("a")
    time.now -= 500
    assert throttle.wait("a") >= 1


@pytest.mark.parametrize(
    ("peer", "hops", "address"),
    [
        ("1.2.3.4", [], "1.2.3.4"),
        ("1.2.3.4", ["9.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", ["9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", ["8.8.8.8", "9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", ["9.9.9.9", "10.0.0.2"], "9.9.9.9"),
        ("10.0.0.1", ["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["what", "ever"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("", ["9.9.9.9"], ""),
    ],
)
def test_only_a_trusted_proxy_may_say_whom_it_speaks_for(peer: str, hops: list[str], address: str) -> None:
    assert origin(peer, hops, [ip_network("10.0.0.0/8")]) == address


def test_one_host_is_not_many_because_of_ipv6() -> None:
    throttle = Throttle(Time())
    for last in range(BURST):
        throttle.failed(f"2001:db8:1:2::{last:x}")
    assert throttle.wait("2001:db8:1:2:ffff::1") > 0
    assert throttle.wait("2001:db8:1:3::1") == 0
    for _ in range(BURST):
        throttle.failed("::ffff:192.0.2.7")
    assert throttle.wait("192.0.2.7") > 0
    assert throttle.wait("192.0.2.8") == 0
