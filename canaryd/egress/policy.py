"""Where hooks may go: a pure value that is asked twice, about the name and about its addresses.

The name comes first, so that a host nobody allowed is not even looked up: a look-up alone would
carry a tenant's bytes out of the cluster. Names are looked up absolutely, never along the
search path of the pod that canaryd runs in: there ``qa-runner`` would be a Service of *our*
namespace, and ``hooks.example.com`` one of whoever owns a namespace called ``com``.

Several addresses of one name must all be allowed. To use those that are would send a hook, by the
order of a DNS answer, to another server than its owner meant; refused, somebody sees it.

What is allowed never shrinks when a setting grows. Sources of metrics are not judged here: their
URLs are the operator's own.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_network

from canaryd.config.settings import Egress
from canaryd.core import units
from canaryd.egress.addresses import IPAddress, IPNetwork, is_within, range_of, unwrap
from canaryd.egress.targets import Target

CLUSTER_DOMAIN = "cluster.local"
_HOSTS, _NETWORKS = "egress.allowed_hosts", "egress.allow_private_networks"


class Via(StrEnum):
    """Why a name is allowed."""

    SERVICE = "service"
    """It is a Service of the app's own namespace."""
    LISTED = "listed"
    """It is in ``egress.allowed_hosts``."""


@dataclass(frozen=True, slots=True)
class Route:
    """One way to find the addresses of an allowed name.

    ``lookup`` is what DNS is asked; ``service`` is the Service's name when it is one.
    """

    via: Via
    lookup: str
    service: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not sent, and which setting would allow it."""

    message: str


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """The rules for hooks.

    Args:
        allowed_hosts: exact names and addresses, or ``*.example.com`` for every name below it.
        allowed_networks: where allowed hosts may be besides public addresses.
        cluster_domain: what names of Services end in.

    """

    allowed_hosts: tuple[str, ...] = ()
    allowed_networks: tuple[IPNetwork, ...] = ()
    cluster_domain: str = CLUSTER_DOMAIN

    @classmethod
    def of(cls, settings: Egress) -> "EgressPolicy":
        """Make the rules from the settings, which have checked them."""
        networks = tuple(ip_network(text) for text in settings.allow_private_networks)
        return cls(settings.allowed_hosts, networks)

    def routes(self, namespace: str, target: Target) -> tuple[Route, ...] | Refusal:
        """Return the ways to the addresses of a target, in order; the first that finds any counts.

        A name like ``gateway`` may be a Service and be listed: the Service wins, since listing a
        host must not take a Service away.
        """
        routes = []
        if service := self._own_service(namespace, target):
            lookup = f"{service}.{namespace}.svc.{self.cluster_domain}."
            routes.append(Route(Via.SERVICE, lookup, service))
        if self._is_listed(target.host):
            routes.append(Route(Via.LISTED, self._absolute(target.host)))
        if routes:
            return tuple(routes)
        if isinstance(target.address, IPv6Address):
            return Refusal(
                f"{target.netloc} is not allowed: hooks go to an IPv6 address only by a name; "
                f"give it one, and add that to {_HOSTS}"
            )
        return Refusal(
            f"{target.netloc} is not allowed: it is neither a Service of namespace {namespace} "
            f"nor in {_HOSTS}; add it there to allow it"
        )

    def judge(
        self, route: Route, target: Target, addresses: Iterable[IPAddress], canonical: str
    ) -> Refusal | None:
        """Return why these addresses of a target are not connected to, or None when they may be.

        ``canonical`` is the name that the addresses belong to, behind every alias.
        """
        is_service = route.via is Via.SERVICE
        alias = canonical.lower().removesuffix(".")
        if is_service and alias != route.lookup.lower().removesuffix("."):
            # An ExternalName Service is an alias that a tenant wrote: what counts is what it names.
            if not self._is_listed(alias):
                return Refusal(
                    f"{target.netloc} is not allowed: Service {route.service} is an alias for "
                    f"{alias or 'another host'}, which is not in {_HOSTS}; add it there to allow it"
                )
            is_service = False
        for address in addresses:
            if refusal := self._judge_address(target, address, is_service=is_service):
                return refusal
        return None

    def _judge_address(
        self, target: Target, address: IPAddress, *, is_service: bool
    ) -> Refusal | None:
        place = range_of(address)
        if place is None or (is_service and not place.guarded):
            return None
        if is_within(address, self.allowed_networks):
            return None
        single = ip_network(unwrap(address))
        itself = "is" if target.address is not None else f"leads to {address},"
        return Refusal(
            f"{target.netloc} is not allowed: it {itself} {place.what} address; "
            f"add {single}, or a network {'of this kind ' if place.guarded else ''}around it, "
            f"to {_NETWORKS} to allow it"
        )

    def _own_service(self, namespace: str, target: Target) -> str:
        """Return the Service of this namespace that a host names; empty when it names none."""
        if target.address is not None:
            return ""
        name, _, rest = target.host.partition(".")
        ends = ("", namespace, f"{namespace}.svc", f"{namespace}.svc.{self.cluster_domain}")
        is_relative_with_dot = target.is_absolute and rest != ends[3]
        if rest not in ends or is_relative_with_dot or not re.fullmatch(units.LABEL, name):
            return ""
        return name

    def _is_listed(self, host: str) -> bool:
        return any(
            host.endswith(entry[1:]) if entry.startswith("*.") else host == entry
            for entry in self.allowed_hosts
        )

    def _absolute(self, host: str) -> str:
        """Complete a name so that no search path applies, except one without any dot."""
        if host.endswith(".svc"):
            return f"{host}.{self.cluster_domain}."
        return f"{host}." if "." in host else host
