"""Copies for the primary: whether they say of the primary what the original says of the target."""

from typing import Any

import pytest

from canaryd.core import manifests
from canaryd.core.views import (
    DeploymentView,
    Identity,
    ObjectView,
    deployment_view,
    label_selector_matches,
)

OWNER = Identity("shop", "app", "uid-app")
TARGET = {"app": "app", "tier": "web"}
PRIMARY = {"app": "app-primary", "tier": "web"}
OTHER = {"app": "other", "tier": "web"}


def an_object(**spec: Any) -> ObjectView:
    return ObjectView(Identity("shop", "it", "uid-it"), {}, {}, spec)


def where(operator: str, *values: str, key: str = "app") -> dict[str, Any]:
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


# --- the primary's own selector ---


def a_target(selector: dict[str, Any], **labels: str) -> DeploymentView:
    template = {"metadata": {"labels": TARGET | labels, "annotations": {"canaryd.io/x": "x"}}}
    meta = {"namespace": "shop", "name": "app"}
    found = deployment_view(
        {"metadata": meta, "spec": {"selector": selector, "template": template}}
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("expressions", "rewritten"),
    [
        ([], []),
        ([where("In", "web", key="tier")], [where("In", "web", key="tier")]),
        ([where("Exists", key="tier")], [where("Exists", key="tier")]),
        ([where("DoesNotExist", key="batch")], [where("DoesNotExist", key="batch")]),
        ([where("NotIn", "api", key="tier")], [where("NotIn", "api", key="tier")]),
        ([where("In", "app")], [where("In", "app-primary")]),
        ([where("In", "other", "app")], [where("In", "other", "app-primary")]),
        ([where("NotIn", "other")], [where("NotIn", "other")]),
        ([where("Exists")], [where("Exists")]),
    ],
)
def test_the_primarys_selector_is_the_targets_with_the_labels_value_rewritten(
    expressions, rewritten
):
    selector = {"matchLabels": {"app": "app"}} | (
        {"matchExpressions": expressions} if expressions else {}
    )
    target = a_target(selector)
    assert selector == manifests.target_selector(target)
    assert manifests.tells_apart(target, "app")
    made = manifests.primary_selector("app", target.match_labels, target.match_expressions)
    assert {"app": "app-primary"} == made["matchLabels"]
    assert rewritten == made.get("matchExpressions", [])
    assert list(target.match_expressions) == expressions


def test_a_selector_that_leaves_the_primary_out_by_name_cannot_be_rewritten_and_that_is_seen():
    selector = {
        "matchLabels": {"app": "app", "tier": "web"},
        "matchExpressions": [where("NotIn", "other", "app-primary")],
    }
    assert not manifests.tells_apart(a_target(selector), "app")
    assert manifests.tells_apart(a_target(selector), "tier")


# --- budgets ---


def copied(selector: dict[str, Any]) -> dict[str, Any]:
    budget = an_object(selector=selector, maxUnavailable=1)
    return manifests.disruption_budget_copy(budget, OWNER, "app", "app")


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"app": "app"}},
        {"matchLabels": {"app": "app"}, "matchExpressions": [where("Exists", key="tier")]},
        {"matchExpressions": [where("In", "app")]},
        {"matchExpressions": [where("In", "app", "other")]},
        {"matchExpressions": [where("In", "app"), where("NotIn", "other")]},
    ],
    ids=["by label", "and by another", "by a list of one", "by a list", "and not by another"],
)
def test_a_budget_that_selects_by_the_label_is_copied_to_where_the_primary_is(selector):
    assert manifests.needs_primary_twin(selector, TARGET, PRIMARY)
    assert manifests.budget_is_covered(copied(selector), TARGET, PRIMARY)


@pytest.mark.parametrize(
    "selector",
    [
        {"matchExpressions": [where("NotIn", "app-primary")]},
        {"matchExpressions": [where("NotIn", "other", "app-primary")]},
        {"matchExpressions": [where("In", "app"), where("NotIn", "app-primary")]},
        {"matchLabels": {"tier": "web"}, "matchExpressions": [where("NotIn", "app-primary")]},
    ],
    ids=["not the primary", "one of several", "after a list", "beside a label"],
)
def test_a_budget_that_leaves_the_primary_out_by_name_cannot_be_copied_to_it_and_that_is_seen(
    selector,
):
    assert manifests.needs_primary_twin(selector, TARGET, PRIMARY)
    assert not manifests.budget_is_covered(copied(selector), TARGET, PRIMARY)


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"matchLabels": {"tier": "web"}},
        {"matchExpressions": [where("Exists")]},
        {"matchExpressions": [where("NotIn", "other")]},
    ],
    ids=["all", "by another label", "any value", "not others"],
)
def test_a_budget_that_takes_in_the_primary_as_it_is_needs_no_copy(selector):
    assert not manifests.needs_primary_twin(selector, TARGET, PRIMARY)


def test_a_copy_that_selects_the_target_too_covers_nothing():
    """A pod that two budgets select cannot be evicted: the API server refuses, whatever they allow."""
    both = {"spec": {"selector": {"matchLabels": {"tier": "web"}}}}
    assert not manifests.budget_is_covered(both, TARGET, PRIMARY)


def test_a_copy_without_a_selector_covers_nothing():
    """An absent selector is none in policy/v1, and the empty one is all."""
    assert not manifests.budget_is_covered({"spec": {"maxUnavailable": 1}}, TARGET, PRIMARY)


def test_the_other_apps_of_a_budget_stay_with_the_original_alone():
    selector = copied({"matchExpressions": [where("In", "other", "app")]})["spec"]["selector"]

    assert label_selector_matches(selector, PRIMARY)
    assert not label_selector_matches(selector, OTHER)
    assert {"matchExpressions": [where("In", "app-primary")]} == selector


def test_a_list_that_does_not_have_the_target_is_copied_as_it_is():
    selector = {"matchLabels": {"app": "app"}, "matchExpressions": [where("NotIn", "other", "x")]}
    assert [where("NotIn", "other", "x")] == copied(selector)["spec"]["selector"][
        "matchExpressions"
    ]


# --- autoscalers ---


def metric(kind: str, name: str, **selector: Any) -> dict[str, Any]:
    return {"type": kind.title(), kind: {"metric": {"name": name, "selector": selector}}}


def test_metrics_of_an_autoscaler_that_name_the_target_by_its_label_are_found():
    hpa = an_object(
        metrics=[
            {"type": "Resource", "resource": {"name": "cpu"}},
            metric("pods", "rps", matchLabels={"app": "app", "verb": "GET"}),
            metric("external", "queue", matchExpressions=[where("In", "app", "other")]),
            metric("object", "hits", matchLabels={"app": "other"}),
            metric("external", "lag", matchLabels={"queue": "app"}),
            metric("external", "age"),
            {"type": "External", "external": {"metric": {"name": "bare"}}},
        ]
    )
    assert ("rps", "queue") == manifests.metrics_of_the_target(hpa, "app", "app")


def test_an_autoscaler_without_metrics_names_nobody():
    assert () == manifests.metrics_of_the_target(an_object(), "app", "app")
    assert () == manifests.metrics_of_the_target(an_object(metrics=None), "app", "app")
