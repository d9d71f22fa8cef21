from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.config.settings import Egress
from canaryd.egress.policy import EgressPolicy, Refusal, Route, Via
from canaryd.egress.targets import parse

SERVICE = "qa-runner.shop.svc.cluster.local."


def a_policy(*hosts, networks=()):
    return EgressPolicy(hosts, tuple(ip_network(n) for n in networks))


def routes(policy, host, namespace="shop"):
    found = policy.routes(namespace, parse(f"http://{host}/"))
    return found.message if isinstance(found, Refusal) else found


def judge(policy, host, *addresses, namespace="shop", alias_of=""):
    """The verdict on the first route: empty when it may be connected to."""
    target = parse(f"http://{host}/")
    route = policy.routes(namespace, target)[0]
    found = [ip_address(a) for a in addresses]
    refusal = policy.judge(route, target, found, alias_of or route.lookup)
    return refusal.message if refusal else ""


# --- names


@pytest.mark.parametrize(
    "host",
    [
        "qa-runner",
        "qa-runner.shop",
        "qa-runner.shop.svc",
        "qa-runner.shop.svc.cluster.local",
        "qa-runner.shop.svc.cluster.local.",
        "QA-Runner.Shop.SVC",
    ],
)
def test_every_spelling_of_a_service_of_the_namespace_is_looked_up_under_its_full_name(host):
    assert (Route(Via.SERVICE, SERVICE, "qa-runner"),) == routes(a_policy(), host)


@pytest.mark.parametrize(
    "host",
    [
        "qa-runner.bank",
        "qa-runner.bank.svc",
        "qa-runner.bank.svc.cluster.local",
        "pod-0.qa-runner.shop",
        "pod-0.qa-runner.shop.svc",
        "qa-runner.shop.svc.example.com",
        "qa-runner.shop.pod.cluster.local",
        "qa-runner.shop.cluster.local",
        "qa-runner.svc",
        "shop.svc.cluster.local",
        "kubernetes.default.svc",
        "qa-runner.shopper",
        "qa_runner",
        "qa-runner.",
        "qa-runner.shop.",
        "qa-runner.shop.svc.",
        "hooks.example.com",
        "metadata.google.internal",
        "8.8.8.8",
        "127.0.0.1",
        "169.254.169.254",
    ],
)
def test_what_is_no_service_of_the_namespace_is_refused_with_the_setting_that_allows_it(host):
    shown = host.removesuffix(".")

    assert (
        f"{shown} is not allowed: it is neither a Service of namespace shop nor in "
        "egress.allowed_hosts; add it there to allow it"
    ) == routes(a_policy(), host)


def test_a_namespace_named_like_a_top_level_domain_reaches_no_public_host():
    assert (Route(Via.SERVICE, "example.com.svc.cluster.local.", "example"),) == routes(
        a_policy(), "example.com", namespace="com"
    )


@pytest.mark.parametrize(
    ("entry", "host", "lookup"),
    [
        ("hooks.example.com", "hooks.example.com", "hooks.example.com."),
        ("hooks.example.com", "Hooks.Example.COM.", "hooks.example.com."),
        ("*.example.com", "hooks.example.com", "hooks.example.com."),
        ("*.example.com", "a.b.example.com", "a.b.example.com."),
        ("prometheus.monitoring.svc", "prometheus.monitoring.svc", "prometheus.monitoring.svc.cluster.local."),
        ("203.0.113.7", "203.0.113.7", "203.0.113.7."),
    ],
)  # fmt: skip
def test_a_listed_host_is_looked_up_without_any_search_path(entry, host, lookup):
    assert (Route(Via.LISTED, lookup),) == routes(a_policy(entry), host)


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("*.example.com", "example.com"),
        ("*.example.com", "evilexample.com"),
        ("*.example.com", "example.com.evil.net"),
        ("example.com", "hooks.example.com"),
        ("hooks.example.com", "hooks.example.com.evil.net"),
        ("hooks.example.com", "hooks-example.com"),
        ("hooks.example.com", "xhooks.example.com"),
    ],
)
def test_a_host_that_only_looks_like_a_listed_one_is_refused(entry, host):
    assert "is not allowed" in routes(a_policy(entry), host)


def test_a_name_that_is_both_is_a_service_first():
    assert (
        Route(Via.SERVICE, "gateway.shop.svc.cluster.local.", "gateway"),
        Route(Via.LISTED, "gateway"),
    ) == routes(a_policy("gateway"), "gateway")


def test_an_ipv6_address_cannot_be_listed_and_the_message_says_what_to_do():
    assert "give it one, and add that to egress.allowed_hosts" in routes(a_policy("x"), "[::1]:80")


# --- addresses


@pytest.mark.parametrize("address", ["10.96.0.7", "192.168.0.9", "100.64.1.1", "fd12::7", "240.0.0.9", "8.8.8.8"])  # fmt: skip
def test_a_service_may_have_any_address_that_a_cluster_gives(address):
    assert "" == judge(a_policy(), "qa-runner", address)


GUARDED = ["127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1", "::ffff:127.0.0.1"]  # fmt: skip


@pytest.mark.parametrize("address", GUARDED)
@pytest.mark.parametrize("host", ["qa-runner", "hooks.example.com"])
def test_no_name_leads_to_this_machine_its_link_or_the_metadata_service(host, address):
    assert "to egress.allow_private_networks to allow it" in judge(
        a_policy("hooks.example.com", networks=["0.0.0.0/0", "::/0"]), host, address
    )


def test_a_listed_host_may_have_a_public_address():
    assert "" == judge(a_policy("hooks.example.com"), "hooks.example.com", "8.8.8.8")


def test_a_listed_host_at_a_private_address_is_refused_with_the_setting_that_allows_it():
    assert (
        "hooks.example.com is not allowed: it leads to 10.1.2.3, a private address; "
        "add 10.1.2.3/32, or a network around it, to egress.allow_private_networks to allow it"
    ) == judge(a_policy("hooks.example.com"), "hooks.example.com", "10.1.2.3")


def test_a_listed_host_may_be_in_an_allowed_private_network():
    policy = a_policy("hooks.example.com", networks=["10.1.0.0/16"])

    assert "" == judge(policy, "hooks.example.com", "10.1.2.3")
    assert "10.2.0.1" in judge(policy, "hooks.example.com", "10.2.0.1")


def test_a_listed_address_is_judged_like_any_other():
    assert "it is a private address" in judge(a_policy("10.1.2.3"), "10.1.2.3", "10.1.2.3")


@pytest.mark.parametrize("addresses", [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"]])
def test_one_address_that_is_not_allowed_spoils_the_name(addresses):
    assert "10.0.0.1" in judge(a_policy("hooks.example.com"), "hooks.example.com", *addresses)


def test_an_external_name_service_is_judged_by_the_host_it_stands_for():
    assert (
        "qa-runner is not allowed: Service qa-runner is an alias for db.corp.example, which is not "
        "in egress.allowed_hosts; add it there to allow it"
    ) == judge(a_policy(), "qa-runner", "10.1.2.3", alias_of="db.corp.example.")


def test_an_external_name_service_of_a_listed_host_has_no_private_address_either():
    policy = a_policy("hooks.example.com")

    assert "" == judge(policy, "qa-runner", "8.8.8.8", alias_of="hooks.example.com")
    assert "10.1.2.3" in judge(policy, "qa-runner", "10.1.2.3", alias_of="hooks.example.com")


def test_a_service_whose_canonical_name_is_unknown_is_refused():
    policy, target = a_policy(), parse("http://qa-runner/")
    (route,) = policy.routes("shop", target)

    assert "another host" in policy.judge(route, target, [ip_address("10.0.0.1")], "").message


def test_a_listed_host_may_be_an_alias_as_content_networks_have_them():
    policy = a_policy("hooks.example.com")

    assert "" == judge(policy, "hooks.example.com", "8.8.8.8", alias_of="edge.cdn.example.net")


# --- what holds for all of it

ADDRESSES = st.ip_addresses()
HOSTS = st.sampled_from(
    ["qa-runner", "qa-runner.shop", "hooks.example.com", "gateway", "x.svc", "10.1.2.3", "8.8.8.8"]
)
NETWORKS = st.builds(
    lambda address, keep: ip_network(f"{address}/{min(keep, address.max_prefixlen)}", strict=False),
    ADDRESSES,
    st.integers(0, 128),
)
ENTRIES = st.sampled_from(["*.example.com", "gateway", "x.svc", "10.1.2.3", "8.8.8.8", "qa-runner"])


def allows(policy, host, address):
    target = parse(f"http://{host}/")
    found = policy.routes("shop", target)
    if isinstance(found, Refusal):
        return False
    return policy.judge(found[0], target, [address], found[0].lookup) is None


@pytest.mark.slow
@given(HOSTS, ADDRESSES, st.lists(ENTRIES), st.lists(NETWORKS), ENTRIES, NETWORKS)
def test_a_setting_that_grows_takes_nothing_away(host, address, hosts, networks, entry, network):
    smaller = EgressPolicy(tuple(hosts), tuple(networks))
    larger = EgressPolicy((*hosts, entry), (*networks, network))

    assert allows(larger, host, address) or not allows(smaller, host, address)


@given(ADDRESSES)
def test_what_a_refusal_tells_to_add_is_what_allows_the_host(address):
    told = judge(a_policy("hooks.example.com"), "hooks.example.com", str(address))
    if told:
        network = told.partition("; add ")[2].partition(",")[0]
        policy = a_policy("hooks.example.com", networks=[network])
        assert "" == judge(policy, "hooks.example.com", str(address))


def test_the_rules_come_from_the_settings():
    settings = Egress(allowed_hosts=("*.Example.com",), allow_private_networks=("10.0.0.0/8",))

    assert a_policy("*.example.com", networks=["10.0.0.0/8"]) == EgressPolicy.of(settings)
