"""Bridges, routes and the fence: what is made, that all of it is undone, and what it hides."""

import json

import pytest

from tests.cluster.local.network import Network

NETWORK = Network()


def words(commands: list[tuple[str, ...]]) -> list[str]:
    return [" ".join(command) for command in commands]


def test_services_are_routed_to_a_bridge_and_missing_pods_are_unreachable() -> None:
    made = words(NETWORK.setup_commands())

    assert "ip route add 10.96.0.0/16 dev canaryd-node" in made
    assert "ip route add unreachable 10.244.0.0/16 metric 9999" in made
    assert made.index("ip link set canaryd-node up") < made.index(
        "ip route add 10.96.0.0/16 dev canaryd-node"
    )


def test_everything_made_is_undone() -> None:
    undone = words(NETWORK.undo_commands())

    for command in NETWORK.setup_commands():
        match command:
            case ("ip", "link", "add", name, *_):
                assert f"ip link delete {name}" in undone
            case ("ip", "route", "add", "unreachable", *rest):
                assert f"ip route delete unreachable {' '.join(rest)}" in undone
            case ("ip", "route" | "address", "add", *_, "dev", name):
                assert f"ip link delete {name}" in undone, "goes with its bridge"
            case ("ip", "link", "set", name, "up"):
                assert f"ip link delete {name}" in undone
            case other:
                pytest.fail(f"nothing undoes {other}")
    assert f"ip link delete {NETWORK.pod_bridge}" in undone
    assert f"nft delete table inet {NETWORK.fence}" in undone
    assert {"nft delete table ip kube-proxy", "nft delete table ip6 kube-proxy"} <= set(undone)


def test_names_of_bridges_fit_into_the_kernel() -> None:
    assert all(len(name) <= 15 for name in NETWORK.bridges)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({"dst": "default", "dev": "eth0"}, []),
        ({"dst": "192.0.2.0/24", "dev": "eth0"}, []),
        ({"dst": "10.244.7.0/24", "dev": "cni0"}, ["10.244.7.0/24 (cni0)"]),
        ({"dst": "10.0.0.0/8", "dev": "vpn0"}, ["10.0.0.0/8 (vpn0)"]),
        ({"dst": "10.245.0.1", "dev": "x"}, ["10.245.0.1 (x)"]),
        ({"dst": "10.96.0.0/12", "type": "unreachable"}, ["10.96.0.0/12 (unreachable)"]),
        ({"dst": "fd00::/8", "dev": "eth0"}, []),
    ],
)
def test_routes_of_others_that_the_cluster_would_hide(
    route: dict[str, str], expected: list[str]
) -> None:
    assert expected == NETWORK.overlaps([route])


def test_fence_refuses_both_directions() -> None:
    rules = NETWORK.fence_rules()

    assert rules.count("reject") == 2
    assert 'iifname "canaryd-pods" oifname !=' in rules
    assert 'oifname "canaryd-pods" iifname !=' in rules


def test_pods_get_addresses_of_their_range_without_masquerading() -> None:
    plugin = json.loads(NETWORK.cni_configuration("/run/leases"))["plugins"][0]

    assert plugin["bridge"] == "canaryd-pods"
    assert plugin["ipMasq"] is False
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.0.0/16"}]]
    assert plugin["ipam"]["dataDir"] == "/run/leases"
