"""What an IP address is for: public, private, or one that no receiver of hooks may have.

A table of our own instead of ``ipaddress.is_private`` and its kin: those change between patch
releases of Python, know nothing of clouds' metadata services, and answer ``False`` to both
questions for some ranges. IPv6 is closed by default: public is only what lies in 2000::/3.

Addresses that carry another address inside are judged by the one inside where hosts or gateways
unpack it (IPv4-mapped, NAT64), and are guarded where only tunnels do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses that are not public.

    ``guarded`` ranges open only to a network that lies within them: whoever opens 0.0.0.0/0 means
    networks, not the metadata service of the machine that canaryd runs on.
    """

    network: IPNetwork
    what: str
    guarded: bool = False


def _ranges(what: str, *networks: str, guarded: bool = False) -> tuple[Range, ...]:
    return tuple(Range(ip_network(network), what, guarded) for network in networks)


RANGES = (
    # The first that holds an address names it, so that the narrow ones come first.
    *_ranges(
        "a metadata",
        "169.254.169.0/24",  # AWS, Azure, Google and most others
        "169.254.170.0/24",  # AWS: credentials of tasks and pods
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's host, in public address space
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # AWS
        "fd20:ce::/32",  # Google
        guarded=True,
    ),
    *_ranges("a loopback", "127.0.0.0/8", "::1/128", guarded=True),
    *_ranges("a link-local", "169.254.0.0/16", "fe80::/10", guarded=True),
    # 0.0.0.0 and :: connect to this machine.
    *_ranges("an unspecified", "0.0.0.0/8", "::/128", guarded=True),
    *_ranges("a multicast", "224.0.0.0/4", "ff00::/8", guarded=True),
    *_ranges("a broadcast", "255.255.255.255/32", guarded=True),
    # IPv4-compatible, NAT64 with a prefix of the site's own, Teredo, 6to4: what they lead to is
    # for somebody else to say.
    *_ranges("a tunnel", "::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", guarded=True),
    *_ranges("a private", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    *_ranges("a carrier's private", "100.64.0.0/10"),
    *_ranges(
        "a reserved",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    ),
)

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ELSEWHERE = Range(IPv6Network("::/0"), "a reserved")


def range_of(address: IPAddress) -> Range | None:
    """Return the range that an address is in, or None when it is public."""
    inner = unwrap(address)
    for known in RANGES:
        if inner in known.network:
            return known
    if isinstance(inner, IPv6Address) and inner not in _GLOBAL_UNICAST:
        return _ELSEWHERE
    return None


def is_within(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    """Tell whether one of these networks opens an address."""
    inner, known = unwrap(address), range_of(address)
    return any(
        inner in network
        and (known is None or not known.guarded or _is_subnet(network, known.network))
        for network in networks
    )


def unwrap(address: IPAddress) -> IPAddress:
    """Return the IPv4 address that is reached through this one, or the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_subnet(network: IPNetwork, of: IPNetwork) -> bool:
    if isinstance(network, IPv4Network) and isinstance(of, IPv4Network):
        return network.subnet_of(of)
    if isinstance(network, IPv6Network) and isinstance(of, IPv6Network):
        return network.subnet_of(of)
    return False
