"""The cluster's own network: two bridges, fixed ranges, and a fence around them.

The node needs an address that is not loopback and the kernel may have no dummy device,
so a bridge of our own carries it; the CNI plugin makes the second bridge for the pods.
Nothing may leave the machine: Services without endpoints end at the node's bridge,
pods that are gone meet an unreachable route, and a table of our own refuses to forward
between the pods and any other link.
What is set up here is undone completely, also after a crash, since all names are fixed.
"""

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.cluster.local.commands import run, succeeds
from tests.cluster.local.errors import PrerequisiteMissing

Command = tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """Names and ranges; one cluster at a time on a machine, so they can be constants."""

    node_bridge: str = "canaryd-node"
    pod_bridge: str = "canaryd-pods"
    node_address: str = "10.245.0.1"
    pod_range: str = "10.244.0.0/16"
    service_range: str = "10.96.0.0/16"
    fence: str = "canaryd-fence"

    @property
    def bridges(self) -> tuple[str, str]:
        return (self.pod_bridge, self.node_bridge)

    def setup_commands(self) -> list[Command]:
        # An `unreachable` route for the Services would stop kube-proxy's redirect too,
        # since the route is looked up first: theirs goes to our own bridge and ends there.
        return [
            ("ip", "link", "add", self.node_bridge, "type", "bridge"),
            ("ip", "address", "add", f"{self.node_address}/32", "dev", self.node_bridge),
            ("ip", "link", "set", self.node_bridge, "up"),
            ("ip", "route", "add", self.service_range, "dev", self.node_bridge),
            ("ip", "route", "add", "unreachable", self.pod_range, "metric", "9999"),
        ]

    def undo_commands(self) -> list[Command]:
        """Undo setup_commands, the CNI plugin's bridge and kube-proxy's tables.

        Each may fail because its object is gone. Routes go with their bridge.
        """
        return [
            ("ip", "route", "delete", "unreachable", self.pod_range, "metric", "9999"),
            ("ip", "link", "delete", self.pod_bridge),
            ("ip", "link", "delete", self.node_bridge),
            ("nft", "delete", "table", "inet", self.fence),
            ("nft", "delete", "table", "ip", "kube-proxy"),
            ("nft", "delete", "table", "ip6", "kube-proxy"),
        ]

    def fence_rules(self) -> str:
        """Nftables rules: refuse to forward between the pods and any link but our own.

        Refused, not dropped: a program that tries shall fail at once, not wait.
        """
        inside = f'{{ "{self.pod_bridge}", "{self.node_bridge}", "lo" }}'
        return (
            f"table inet {self.fence} {{\n"
            "  chain forward {\n"
            "    type filter hook forward priority -10; policy accept;\n"
            f'    iifname "{self.pod_bridge}" oifname != {inside} reject\n'
            f'    oifname "{self.pod_bridge}" iifname != {inside} reject\n'
            "  }\n"
            "}\n"
        )

    def cni_configuration(self, folder: str) -> str:
        """The one CNI list: a bridge that is the pods' gateway, without masquerading."""
        return json.dumps(
            {
                "cniVersion": "1.0.0",
                "name": "canaryd",
                "plugins": [
                    {
                        "type": "bridge",
                        "bridge": self.pod_bridge,
                        "isGateway": True,
                        "ipMasq": False,
                        "hairpinMode": True,
                        "ipam": {
                            "type": "host-local",
                            "dataDir": folder,
                            "ranges": [[{"subnet": self.pod_range}]],
                            "routes": [{"dst": "0.0.0.0/0"}],
                        },
                    }
                ],
            },
            indent=2,
        )

    def overlaps(self, routes: Iterable[dict[str, Any]]) -> list[str]:
        """Name the routes of the machine (`ip -j route`) that the cluster's ranges would hide."""
        ours = [
            ipaddress.ip_network(text)
            for text in (self.pod_range, self.service_range, f"{self.node_address}/32")
        ]
        found = []
        for route in routes:
            target = str(route.get("dst", "default"))
            if target == "default" or ":" in target:
                continue
            theirs = ipaddress.ip_network(target, strict=False)
            if any(theirs.overlaps(one) for one in ours):
                found.append(f"{target} ({route.get('dev', route.get('type', '?'))})")
        return found


def set_up(network: Network) -> None:
    """Make the node's bridge, the routes and the fence."""
    routes: list[dict[str, Any]] = json.loads(run(["ip", "-j", "route"]) or "[]")
    taken = network.overlaps(routes)
    if taken:
        raise PrerequisiteMissing(
            f"the machine already routes {', '.join(taken)}, which the local cluster needs for "
            "itself; use a cluster of your own: create one with kind and set KUBECONFIG"
        )
    if succeeds(["nft", "list", "table", "ip", "kube-proxy"]):
        raise PrerequisiteMissing(
            "another kube-proxy works on this machine; use its cluster: set KUBECONFIG"
        )
    for command in network.setup_commands():
        run(command)
    run(["nft", "-f", "-"], stdin=network.fence_rules())


def undo(network: Network) -> None:
    """Remove everything that carries our names; whatever is gone already is fine."""
    for command in network.undo_commands():
        succeeds(command)
