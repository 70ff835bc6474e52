"""Whose request it is, behind no proxy, one proxy or several, and whatever a client writes in front of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headgate.http.address import ClientAddress

PROXY = "10.0.0.5:40000"
CLIENT = "203.0.113.7"
TRUSTED = ClientAddress(["10.0.0.0/8", "2001:db8:aaaa::/48"])


def behind(*lines: str, peer: str = PROXY) -> str:
    """The address that limits apply to where the proxies have sent these lines of X-Forwarded-For."""
    return TRUSTED.of(peer, {"x-forwarded-for": lines}.__getitem__)


def unread(_name: str) -> Sequence[str]:
    pytest.fail("a header that anybody can write was read")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("203.0.113.7:50000", "203.0.113.7"),
        ("[2001:db8:1:2:3:4:5:6]:50000", "2001:db8:1:2::"),
        ("2001:db8:1:2:3:4:5:6:50000", "2001:db8:1:2::"),
        ("[::ffff:203.0.113.7]:50000", "203.0.113.7"),
        ("::ffff:203.0.113.7:50000", "203.0.113.7"),
    ],
)
def test_a_peer_that_is_no_proxy_is_the_client(peer: str, address: str) -> None:
    assert TRUSTED.of(peer, unread) == address


def test_nobody_is_a_proxy_by_default() -> None:
    assert ClientAddress([]).of(PROXY, unread) == "10.0.0.5"


@pytest.mark.parametrize(
    "peer",
    [
        PROXY,
        "[2001:db8:aaaa::1]:40000",
        # What a listener of both families says of an IPv4 proxy.
        "[::ffff:10.0.0.5]:40000",
        "::ffff:10.0.0.5:40000",
    ],
)
def test_a_trusted_proxy_is_believed(peer: str) -> None:
    assert behind(CLIENT, peer=peer) == CLIENT


@pytest.mark.parametrize(
    "lines",
    [
        [CLIENT],
        [f"198.51.100.1, {CLIENT}"],
        [f"10.0.0.9, {CLIENT}"],
        [f"{CLIENT}, 10.1.2.3"],
        [f"{CLIENT},10.1.2.3,  10.4.5.6"],
        [f"198.51.100.1, {CLIENT}, 10.1.2.3"],
        [f"{CLIENT}, ::ffff:10.1.2.3"],
        [f"{CLIENT}, 2001:db8:aaaa::1"],
    ],
)
def test_the_rightmost_address_that_is_no_proxys_is_the_client(lines: list[str]) -> None:
    assert behind(*lines) == CLIENT


def test_lines_of_the_header_are_one_list_in_their_order() -> None:
    assert behind("198.51.100.1", CLIENT) == CLIENT
    assert behind("198.51.100.1", CLIENT, "10.1.2.3") == CLIENT
    assert behind(f"198.51.100.1, {CLIENT}", "10.1.2.3, 10.4.5.6") == CLIENT
    assert behind(CLIENT, "198.51.100.1") == "198.51.100.1", "the client's own line stands above the proxy's"


@pytest.mark.parametrize(
    "garbage", ["", "unknown", "_hidden", "203.0.113", "203.0.113.7.8", "256.0.0.1", "0x7f000001", "::1::", "localhost",
                "203.0.113.7;drop", "203.0.113.7 198.51.100.1", "[", "[]", ":", "\x00", "\uff19.9.9.9"],
)  # fmt: skip
def test_garbage_ends_the_list_at_the_last_address_that_was_vouched_for(garbage: str) -> None:
    assert behind(garbage) == "10.0.0.5"
    assert behind(f"{garbage}, 10.1.2.3") == "10.1.2.3"
    assert behind(f"{CLIENT}, {garbage}") == "10.0.0.5"
    assert behind(f"{garbage}, {CLIENT}") == CLIENT


def test_without_the_header_the_proxy_is_the_client() -> None:
    assert behind() == "10.0.0.5"


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.7:51000", "203.0.113.7"),
        ("[2001:db8:1:2::9]:51000", "2001:db8:1:2::"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("2001:DB8:0001:0002::0009", "2001:db8:1:2::"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:51000", "203.0.113.7"),
    ],
)
def test_every_way_to_write_an_address_is_the_same_address(hop: str, address: str) -> None:
    assert behind(hop) == address


def test_all_addresses_of_one_subscriber_are_one() -> None:
    assert behind("2001:db8:1:2::1") == behind("2001:db8:1:2:ffff:ffff:ffff:ffff")
    assert behind("2001:db8:1:2::1") != behind("2001:db8:1:3::1")


def test_a_list_without_end_is_not_read_to_its_begin() -> None:
    proxies = [f"10.1.0.{number}" for number in range(200)]
    assert behind(", ".join([CLIENT, *proxies])) == "10.1.0.180", "twenty hops are more than any house has"


def test_an_address_with_a_zone_is_answered() -> None:
    assert behind("fe80::1%eth0") == behind("fe80::2%eth1")


@pytest.mark.parametrize("network", ["203.0.113.7", "203.0.113.7/32"])
def test_one_address_may_be_trusted_alone(network: str) -> None:
    client = ClientAddress([network])
    assert client.of("203.0.113.7:1", lambda _name: ["198.51.100.1"]) == "198.51.100.1"
    assert client.of("203.0.113.8:1", unread) == "203.0.113.8"


def test_a_peer_without_an_address_is_told_by_what_it_says() -> None:
    assert TRUSTED.of("unix:", unread) == "unix"
