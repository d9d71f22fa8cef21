from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.egress.addresses import is_within, range_of, unwrap

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "169.253.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]

GUARDED = [
    ("127.0.0.1", "a loopback"),
    ("127.255.255.254", "a loopback"),
    ("::1", "a loopback"),
    ("::ffff:127.0.0.1", "a loopback"),
    ("::ffff:7f00:1", "a loopback"),
    ("0:0:0:0:0:ffff:127.1.2.3", "a loopback"),
    ("64:ff9b::7f00:1", "a loopback"),
    ("169.254.169.254", "a metadata"),
    ("::ffff:169.254.169.254", "a metadata"),
    ("::ffff:a9fe:a9fe", "a metadata"),
    ("64:ff9b::a9fe:a9fe", "a metadata"),
    ("169.254.170.2", "a metadata"),
    ("169.254.170.23", "a metadata"),
    ("100.100.100.200", "a metadata"),
    ("168.63.129.16", "a metadata"),
    ("192.0.0.192", "a metadata"),
    ("fd00:ec2::254", "a metadata"),
    ("fd00:ec2::23", "a metadata"),
    ("fd20:ce::254", "a metadata"),
    ("169.254.0.1", "a link-local"),
    ("169.254.20.10", "a link-local"),
    ("fe80::1", "a link-local"),
    ("fe80::1%eth0", "a link-local"),
    ("febf::1", "a link-local"),
    ("::ffff:169.254.1.1", "a link-local"),
    ("0.0.0.0", "an unspecified"),
    ("0.1.2.3", "an unspecified"),
    ("::", "an unspecified"),
    ("::ffff:0.0.0.0", "an unspecified"),
    ("224.0.0.1", "a multicast"),
    ("239.255.255.255", "a multicast"),
    ("ff02::1", "a multicast"),
    ("ff0e::1", "a multicast"),
    ("255.255.255.255", "a broadcast"),
    ("::127.0.0.1", "a tunnel"),
    ("::10.0.0.1", "a tunnel"),
    ("2002:7f00:1::", "a tunnel"),
    ("2002:a9fe:a9fe::1", "a tunnel"),
    ("2001:0:53aa:64c::1", "a tunnel"),
    ("64:ff9b:1::a9fe:a9fe", "a tunnel"),
]

PRIVATE = [
    ("10.0.0.0", "a private"),
    ("10.96.0.1", "a private"),
    ("172.16.0.1", "a private"),
    ("172.31.255.255", "a private"),
    ("192.168.1.1", "a private"),
    ("::ffff:10.0.0.1", "a private"),
    ("64:ff9b::a00:1", "a private"),
    ("fc00::1", "a private"),
    ("fd12:3456::1", "a private"),
    ("100.64.0.1", "a carrier's private"),
    ("100.127.255.255", "a carrier's private"),
    ("192.0.0.8", "a reserved"),
    ("192.0.2.1", "a reserved"),
    ("198.18.0.1", "a reserved"),
    ("198.51.100.1", "a reserved"),
    ("203.0.113.1", "a reserved"),
    ("240.0.0.1", "a reserved"),
    ("2001:db8::1", "a reserved"),
    ("2001:2::1", "a reserved"),
    ("3fff::1", "a reserved"),
    ("fec0::1", "a reserved"),
    ("100::1", "a reserved"),
    ("5f00::1", "a reserved"),
    ("4000::1", "a reserved"),
]

addresses = st.ip_addresses()
networks = st.builds(
    lambda address, keep: ip_network(f"{address}/{min(keep, address.max_prefixlen)}", strict=False),
    addresses,
    st.integers(0, 128),
)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_in_no_range(text):
    assert range_of(ip_address(text)) is None


@pytest.mark.parametrize(("text", "what"), GUARDED)
def test_an_address_of_this_machine_or_its_link_is_guarded(text, what):
    found = range_of(ip_address(text))

    assert (what, True) == (found.what, found.guarded)


@pytest.mark.parametrize(("text", "what"), PRIVATE)
def test_a_private_or_reserved_address_is_known_as_such(text, what):
    found = range_of(ip_address(text))

    assert (what, False) == (found.what, found.guarded)


@pytest.mark.parametrize(
    ("network", "address", "opens"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "64:ff9b::a01:203", True),
        ("fd00::/8", "fd12::1", True),
        ("0.0.0.0/0", "192.168.0.1", True),
        ("0.0.0.0/0", "127.0.0.1", False),
        ("0.0.0.0/0", "169.254.169.254", False),
        ("::/0", "::1", False),
        ("::/0", "fe80::1", False),
        ("fd00::/8", "fd00:ec2::254", False),
        ("fd00:ec2::/32", "fd00:ec2::254", True),
        ("100.64.0.0/10", "100.100.100.200", False),
        ("100.64.0.0/10", "100.100.100.201", True),
        ("169.254.0.0/16", "169.254.20.10", True),
        ("169.254.0.0/16", "169.254.169.254", False),
        ("169.254.169.254/32", "169.254.169.254", True),
        ("127.0.0.0/8", "127.0.0.1", True),
        ("127.0.0.1/32", "127.0.0.1", True),
        ("127.0.0.1/32", "127.0.0.2", False),
        ("127.0.0.0/8", "::1", False),
        ("::1/128", "::1", True),
        ("128.0.0.0/1", "192.168.0.1", True),
    ],
)
def test_a_guarded_address_opens_only_to_a_network_within_its_range(network, address, opens):
    assert opens is is_within(ip_address(address), [ip_network(network)])


@given(addresses)
def test_every_address_is_public_or_has_a_range_that_holds_it(address):
    found = range_of(address)

    assert found is None or unwrap(address) in found.network


@given(addresses)
def test_outside_2000_3_no_ipv6_address_is_public(address):
    inner = unwrap(address)
    is_closed = isinstance(inner, IPv6Address) and inner not in ip_network("2000::/3")

    assert not is_closed or range_of(address) is not None


@given(addresses, networks)
def test_a_network_opens_only_addresses_that_it_holds(address, network):
    assert not is_within(address, [network]) or unwrap(address) in network


@given(addresses)
def test_an_address_opens_to_a_network_of_its_own(address):
    assert is_within(address, [ip_network(unwrap(address))])
