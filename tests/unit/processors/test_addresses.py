from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.processors.webhooks.addresses import (
    AddressGuard,
    BlockedAddressError,
    BlockedPortError,
    UnusableURLError,
    check_url,
)

PUBLIC = ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
BLOCKED = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),  # noqa: S104 - an address to refuse
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.1"),
    *("192.88.99.1", "168.63.129.16", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a00:1::1"),
    *("2001:0:7f00:1::", "2001:0:808:808:0:0:80ff:fffe", "2001:db8::1", "100::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "not an address", ""),
]


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("port", [80, 443])
def test_the_public_internet_may_be_reached(address: str, port: int) -> None:
    AddressGuard().check(address, port)


@pytest.mark.parametrize("address", BLOCKED)
def test_no_other_address_may_be_reached(address: str) -> None:
    with pytest.raises(BlockedAddressError) as caught:
        AddressGuard(ports=[8080]).check(address, 443)

    assert not isinstance(caught.value, BlockedPortError)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_disguise_is_judged_as_what_it_is(address: IPv4Address) -> None:
    inside = int(address)
    disguises = [
        IPv6Address(0xFFFF << 32 | inside),
        IPv6Address(0x64FF9B << 96 | inside),
        IPv6Address(0x2002 << 112 | inside << 80 | 1),
    ]

    assert {_passes(str(disguise)) for disguise in disguises} == {_passes(str(address))}


@given(st.ip_addresses(v=6))
def test_any_ipv6_address_gets_an_answer(address: IPv6Address) -> None:
    assert _passes(str(address)) in {True, False}


@pytest.mark.parametrize("port", [22, 25, 8080, 27017])
def test_public_addresses_may_be_reached_on_few_ports_only(port: int) -> None:
    with pytest.raises(BlockedPortError):
        AddressGuard(ports=[8443]).check("1.1.1.1", port)


def test_further_ports_of_public_addresses_can_be_allowed() -> None:
    AddressGuard(ports=[8443]).check("1.1.1.1", 8443)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "fd00::5"])
def test_an_allowed_network_may_be_reached_on_any_port(address: str) -> None:
    AddressGuard(allow=[ip_network("10.1.0.0/16"), ip_network("fd00::/64")]).check(address, 27017)


@pytest.mark.parametrize("address", ["10.2.0.1", "127.0.0.1", "::ffff:10.2.0.1", "fd00:0:0:1::5", "::ffff:127.0.0.1"])
def test_an_allowed_network_does_not_open_its_neighbours(address: str) -> None:
    allow = [ip_network("10.1.0.0/16"), ip_network("fd00::/64"), ip_network("::/96")]

    with pytest.raises(BlockedAddressError):
        AddressGuard(allow=allow).check(address, 80)


def test_all_of_ipv6_does_not_include_ipv4_in_disguise() -> None:
    with pytest.raises(BlockedAddressError):
        AddressGuard(allow=[ip_network("::/0")]).check("::ffff:127.0.0.1", 80)


def test_a_socket_is_opened_only_for_what_may_be_reached() -> None:
    guard = AddressGuard()
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")

    with guard.open_socket((*info, ("1.1.1.1", 443))) as opened:
        assert opened.family is socket.AF_INET
    with pytest.raises(BlockedAddressError):
        guard.open_socket((*info, ("127.0.0.1", 443)))


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com", "file:///etc/passwd", "//example.com/a", "example.com", "", "http://", "http:///a"),
        *("http://user@example.com", "http://user:word@example.com", "http://@example.com", "http://127.0.0.1@1.1.1.1"),
        *("http://example.com:0", "http://example.com:x", "http://example.com:99999", "http://[::1", "unix:///run/a"),
    ],
)
def test_a_url_that_is_not_plain_http_is_refused(url: str) -> None:
    with pytest.raises(UnusableURLError):
        check_url(url)


def test_a_url_tells_its_host() -> None:
    assert check_url("https://Example.com:8443/a?b#c") == "example.com"


def _passes(address: str) -> bool:
    try:
        AddressGuard().check(address, 443)
    except BlockedAddressError:
        return False
    return True
