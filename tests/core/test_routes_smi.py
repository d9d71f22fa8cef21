"""TrafficSplits: what is written in each version, and what is read out of what somebody wrote."""

from typing import Any

import pytest

from canaryd.core import routes_smi
from canaryd.core.kinds import (
    TRAFFIC_SPLIT_V1ALPHA1,
    TRAFFIC_SPLIT_V1ALPHA2,
    TRAFFIC_SPLIT_V1ALPHA3,
    TRAFFIC_SPLIT_V1ALPHA4,
)
from canaryd.core.model import CanarySpec
from canaryd.core.program import Step, Strategy, Verb
from canaryd.core.routing import Match, MatchKind, Routing
from canaryd.core.views import Identity, ObjectView, object_view

OWNER = Identity("shop", "app", "uid-app")
HEADER = Match(MatchKind.HEADER, "x-canary", "yes")


def made(weight: int, kind=TRAFFIC_SPLIT_V1ALPHA2) -> dict[str, Any]:
    return routes_smi.traffic_split(kind, OWNER, apex="app", weight=weight)


def split(*backends: tuple[str, Any], **more: Any) -> ObjectView:
    """A split as somebody wrote it."""
    listed = [{"service": service, "weight": weight} for service, weight in backends]
    spec = {"service": "app", "backends": listed} | more
    return object_view({"metadata": {"namespace": "shop", "name": "app"}, "spec": spec})


def weights(manifest: dict[str, Any]) -> list[Any]:
    return [backend["weight"] for backend in manifest["spec"]["backends"]]


# --- what is written ---


@pytest.mark.parametrize("kind", routes_smi.PREFERENCE, ids=lambda kind: kind.version)
@pytest.mark.parametrize("weight", [0, 1, 37, 99, 100])
def test_both_weights_are_written_in_every_version_and_sum_to_one_hundred(kind, weight):
    written = weights(made(weight, kind))

    assert [100 - weight, weight] == [int(w) for w in written]


def test_weights_are_text_where_they_are_quantities_and_numbers_everywhere_else():
    assert ["70", "30"] == weights(made(30, TRAFFIC_SPLIT_V1ALPHA1))
    for kind in (TRAFFIC_SPLIT_V1ALPHA2, TRAFFIC_SPLIT_V1ALPHA3, TRAFFIC_SPLIT_V1ALPHA4):
        assert [70, 30] == weights(made(30, kind))


def test_a_split_is_named_as_the_apex_is_for_it_and_goes_with_the_target():
    manifest = made(30)

    assert ("app", "app") == (manifest["metadata"]["name"], manifest["spec"]["service"])
    assert ["app-primary", "app-canary"] == [b["service"] for b in manifest["spec"]["backends"]]
    assert ["uid-app"] == [owner["uid"] for owner in manifest["metadata"]["ownerReferences"]]
    assert object_view(manifest).is_copy_for("app")


def test_the_version_without_matches_is_preferred_and_the_one_with_quantities_comes_last():
    order = ["v1alpha2", "v1alpha4", "v1alpha3", "v1alpha1"]
    assert order == [kind.version for kind in routes_smi.versions("auto")]


@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"])
def test_a_version_that_is_set_by_name_is_the_only_one(version):
    assert [version] == [kind.version for kind in routes_smi.versions(version)]


# --- what is read ---


@pytest.mark.parametrize(
    ("primary", "canary", "weight"),
    [
        (70, 30, 30),
        ("70", "30", 30),
        (70.0, 30.0, 30),
        ("500m", "500m", 50),
        ("1", "500m", 34),
        ("9k", "1k", 10),
        ("1e3", "1E3", 50),
        (999_999, 1, 1),
        (0, 5, 100),
        (5, 0, 0),
    ],
    ids=str,
)
def test_a_weight_is_a_share_of_the_sum_in_whatever_way_it_is_written(primary, canary, weight):
    found = split(("app-primary", primary), ("app-canary", canary))

    assert Routing(weight) == routes_smi.routing_of(found, "app-canary")


def test_a_canary_that_has_any_share_at_all_is_never_read_as_zero():
    found = split(("app-primary", 10**9), ("app-canary", "1m"))

    assert Routing(1) == routes_smi.routing_of(found, "app-canary")


@pytest.mark.parametrize(
    "backends",
    [
        [],
        [("app-primary", 0), ("app-canary", 0)],
        [("app-primary", -5), ("app-canary", "-1")],
        [("app-primary", "many"), ("app-canary", None)],
    ],
    ids=["none", "zero", "negative", "no numbers"],
)
def test_weights_that_come_to_nothing_split_nothing(backends):
    assert routes_smi.routing_of(split(*backends), "app-canary") is None


@pytest.mark.parametrize("spec", [{}, {"backends": None}, {"backends": "app"}, {"backends": [1]}])
def test_a_split_of_another_shape_is_read_as_nothing_instead_of_failing(spec):
    found = object_view({"metadata": {"namespace": "shop", "name": "app"}, "spec": spec})

    assert routes_smi.routing_of(found, "app-canary") is None
    assert not routes_smi.follows(found, made(0))


def test_a_stranger_among_the_backends_takes_its_share_from_both():
    found = split(("app-primary", 50), ("app-canary", 30), ("other", 20))

    assert Routing(30) == routes_smi.routing_of(found, "app-canary")
    assert not routes_smi.follows(found, made(30))


@pytest.mark.parametrize("primary", [70, "70", 70.0, "70000m"], ids=repr)
def test_the_same_weight_in_another_spelling_is_no_drift(primary):
    assert routes_smi.follows(split(("app-canary", "30"), ("app-primary", primary)), made(30))


@pytest.mark.parametrize(
    "found",
    [
        split(("app-primary", 80), ("app-canary", 20)),
        split(("app-primary", 700), ("app-canary", 300)),
        split(("app-canary", 30)),
        split(("app-primary", 70), ("app-canary", 15), ("app-canary", 15)),
        split(("app-primary", 70), ("app-canary", 30), service="other"),
        split(("app-primary", 70), ("app-canary", 30), matches=[{"name": "staff"}]),
    ],
    ids=["weights", "scale", "one backend", "a backend twice", "another Service", "matches"],
)
def test_what_routes_otherwise_than_written_is_drift(found):
    assert not routes_smi.follows(found, made(30))


def test_conditions_that_somebody_added_are_what_an_apply_leaves_and_a_patch_removes():
    found = split(("app-primary", 70), ("app-canary", 30), matches=[{"name": "staff"}], extra=1)

    assert {"spec": {"extra": None, "matches": None}} == routes_smi.foreign_parts(found)
    assert {} == routes_smi.foreign_parts(split())


def test_a_retreat_leaves_everybody_on_the_primary_and_nothing_beside():
    found = split(("app-canary", 100), service="other", matches=[{"name": "staff"}])
    patch = routes_smi.to_primary(found, TRAFFIC_SPLIT_V1ALPHA2)

    assert made(0)["spec"] | {"matches": None} == patch["spec"]


# --- what is refused ---


def test_X13_an_ab_plan_is_refused_since_without_conditions_everybody_would_get_the_canary():
    plan = CanarySpec(strategy=Strategy.AB, matches=(HEADER,))
    [words] = routes_smi.problems_of_plan(plan)

    assert "canaryd.io/match (header x-canary=yes)" in words
    assert "every user would get the canary" in words


def test_conditions_beside_weights_are_refused_as_well():
    [words] = routes_smi.problems_of_plan(CanarySpec(matches=(HEADER,)))
    assert "knows weights only" in words


def test_a_mirror_is_refused():
    [words] = routes_smi.problems_of_plan(CanarySpec(mirror=20))
    assert "cannot mirror" in words


def test_a_weight_that_is_no_share_is_refused_once():
    [words] = routes_smi.problems_of_plan(CanarySpec(weights=(20, 150)))
    assert "weight 150 cannot be written" in words


def test_everything_that_is_wrong_is_said_at_once():
    steps = (Step(verb=Verb.MATCH), Step(verb=Verb.MIRROR, number=10), Step(verb=Verb.ANALYZE))
    assert 2 == len(routes_smi.problems_of_plan(CanarySpec(steps=steps, matches=(HEADER,))))


@pytest.mark.parametrize("strategy", [Strategy.CANARY, Strategy.BLUE_GREEN, Strategy.DIRECT])
def test_plans_of_weights_alone_are_taken(strategy):
    assert () == routes_smi.problems_of_plan(CanarySpec(strategy=strategy))


def test_a_cluster_without_the_kind_is_named_with_what_to_do():
    words = routes_smi.why_not_served(routes_smi.versions("v1alpha3"))

    assert "trafficsplits.split.smi-spec.io (v1alpha3), which this cluster does not serve" in words
    assert "install the SMI CRDs" in words
