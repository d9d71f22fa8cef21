"""What is read of a ScaledObject, what its sleep is made of, and how the primary's copy differs."""

from typing import Any

import pytest

from canaryd.core import keda, names
from canaryd.core.keda import EXCLUDED_LABELS, NAME_LABEL, PAUSED, PAUSED_REPLICAS
from canaryd.core.names import ORIGINAL_PAUSE
from canaryd.core.views import Identity, ObjectView, object_view

OWNER = Identity("shop", "app", "uid-app")
BOTH = {PAUSED: "true", PAUSED_REPLICAS: "3"}


def scaler(
    annotations: dict[str, str] | None = None, *, name: str = "app", labels: Any = None, **spec: Any
) -> ObjectView:
    given = {"scaleTargetRef": {"name": "app"}, "triggers": []} | spec
    return ObjectView(Identity("shop", name, "uid"), labels or {}, annotations or {}, given)


def written(view: ObjectView, patch: dict[str, str | None]) -> ObjectView:
    """The object after a merge patch of its annotations."""
    merged = {k: v for k, v in (dict(view.annotations) | patch).items() if v is not None}
    return scaler(merged)


# --- what it scales ---


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"name": "app"}, True),
        ({"kind": "Deployment", "name": "app"}, True),
        ({"kind": "StatefulSet", "name": "app"}, False),
        ({"name": "other"}, False),
        ({}, False),
    ],
)
def test_a_deployment_is_meant_when_no_kind_is_named(reference, expected):
    assert expected == keda.scales(scaler(scaleTargetRef=reference), "app")


def test_an_autoscaler_is_known_as_kedas_by_its_owner_and_is_not_ours_whatever_its_labels():
    owner = {"kind": "ScaledObject", "name": "app-primary", "controller": True}
    meta = {"namespace": "shop", "name": "x", "labels": names.ownership_labels("app")}
    made = object_view({"metadata": meta | {"ownerReferences": [owner]}})
    assert (True, False) == (keda.is_made_by_keda(made), made.is_ours)
    ours = object_view({"metadata": meta | {"ownerReferences": [owner | {"controller": False}]}})
    assert (False, True) == (keda.is_made_by_keda(ours), ours.is_ours)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, True),
        ({"minReplicaCount": 0}, True),
        ({"minReplicaCount": 1}, False),
        ({"minReplicaCount": 2, "idleReplicaCount": 0}, True),
    ],
)
def test_it_may_go_to_zero_unless_it_has_a_minimum_and_no_idle_count(bounds, expected):
    assert expected == keda.may_go_to_zero(scaler(**bounds))


# --- sleep ---


@pytest.mark.parametrize(
    "before",
    [
        {},
        {PAUSED: "true"},
        {PAUSED: "false"},
        {PAUSED_REPLICAS: "3"},
        {PAUSED_REPLICAS: "0"},
        BOTH,
        {"example.com/note": "x", "autoscaling.keda.sh/paused-scale-in": "true"},
    ],
)
def test_who_sleeps_and_wakes_is_as_before_however_often(before):
    view = scaler(before)
    for _ in range(2):
        asleep = written(view, keda.to_sleep(view))
        assert keda.is_asleep(asleep)
        assert keda.own_pause(view) == keda.own_pause(asleep)
        again = written(asleep, keda.to_sleep(asleep))
        assert asleep == again
        view = written(asleep, keda.to_wake(asleep))
        assert before == view.annotations
        assert not keda.is_asleep(view)


@pytest.mark.parametrize(
    ("before", "edit", "after"),
    [
        ({}, {PAUSED: None}, {}),
        ({}, {PAUSED_REPLICAS: "2"}, {PAUSED_REPLICAS: "2"}),
        ({PAUSED_REPLICAS: "3"}, {PAUSED_REPLICAS: "2"}, {PAUSED_REPLICAS: "2"}),
        ({PAUSED: "true"}, {PAUSED: None}, {}),
        ({}, {PAUSED: "false"}, {PAUSED: "false"}),
        (BOTH, {PAUSED: "false"}, {PAUSED: "false", PAUSED_REPLICAS: "3"}),
        ({PAUSED: "true"}, {ORIGINAL_PAUSE: "{"}, {}),
        ({PAUSED: "true"}, {ORIGINAL_PAUSE: "[1]"}, {}),
    ],
)
def test_what_the_user_writes_in_its_sleep_holds_when_it_wakes(before, edit, after):
    view = scaler(before)
    edited = written(written(view, keda.to_sleep(view)), edit)
    asleep = written(edited, keda.to_sleep(edited))
    assert keda.is_asleep(asleep)
    assert after == written(asleep, keda.to_wake(asleep)).annotations


@pytest.mark.parametrize(
    ("pause", "expected"),
    [
        ({}, False),
        ({PAUSED: "false"}, False),
        ({PAUSED: "F"}, False),
        ({PAUSED: "true"}, True),
        ({PAUSED: "yes"}, True),
        ({PAUSED: "false", PAUSED_REPLICAS: "1"}, True),
    ],
)
def test_a_pause_is_read_as_keda_reads_it_also_through_ours(pause, expected):
    view = scaler(pause, minReplicaCount=1)
    asleep = written(view, keda.to_sleep(view))
    assert (expected, expected) == (keda.is_paused_by_user(view), keda.is_paused_by_user(asleep))
    assert expected != keda.scales_canary(view)


# --- the copy ---


def copied(view: ObjectView, **options: Any) -> dict[str, Any]:
    return keda.scaler_copy(view, OWNER, **options)


def test_the_copy_scales_the_primary_and_what_is_new_to_this_code_comes_along():
    triggers = [{"type": "kafka", "metadata": {"topic": "t"}, "authenticationRef": {"name": "a"}}]
    view = scaler(
        minReplicaCount=2,
        triggers=triggers,
        scaleTargetRef={"name": "app", "envSourceContainerName": "c"},
        fallback={"replicas": 3},
        somethingNew={"a": 1},
    )
    spec = copied(view)["spec"]
    assert {"name": "app-primary", "envSourceContainerName": "c"} == spec["scaleTargetRef"]
    assert (triggers, {"replicas": 3}, {"a": 1}, 2) == (
        spec["triggers"],
        spec["fallback"],
        spec["somethingNew"],
        spec["minReplicaCount"],
    )
    assert {"name": "app", "envSourceContainerName": "c"} == view.spec["scaleTargetRef"]


@pytest.mark.parametrize(
    ("bounds", "at_least", "expected"),
    [
        ({}, 0, 1),
        ({"minReplicaCount": 0}, 0, 1),
        ({"minReplicaCount": 3}, 0, 3),
        ({"minReplicaCount": 3}, 5, 5),
        ({"minReplicaCount": 3, "maxReplicaCount": 4}, 5, 4),
        ({}, 200, 100),
    ],
)
def test_the_copy_never_goes_to_zero_nor_below_what_a_run_began_with(bounds, at_least, expected):
    spec = copied(scaler(**bounds), at_least=at_least)["spec"]
    assert expected == spec["minReplicaCount"]


def test_the_copy_has_no_idle_count():
    spec = copied(scaler(minReplicaCount=2, idleReplicaCount=0))["spec"]
    assert "idleReplicaCount" not in spec


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("app", None, None),
        ("app", "app-hpa", "app-hpa-primary"),
        ("a" * 47, None, "app-primary"),
        ("a" * 46, None, None),
    ],
)
def test_the_autoscaler_of_the_copy_has_a_name_of_its_own_that_fits(name, given, expected):
    advanced = {"restoreToOriginalReplicaCount": True}
    if given:
        advanced["horizontalPodAutoscalerConfig"] = {"name": given, "behavior": {"a": 1}}
    found = copied(scaler(name=name, advanced=advanced))["spec"]["advanced"]
    assert expected == (found.get("horizontalPodAutoscalerConfig") or {}).get("name")
    assert found["restoreToOriginalReplicaCount"]
    if given:
        assert {"a": 1} == found["horizontalPodAutoscalerConfig"]["behavior"]


def test_the_copy_has_kedas_label_for_itself_and_hides_our_labels_from_its_autoscaler():
    view = scaler(labels={NAME_LABEL: "app", "team": "shop", "argocd.argoproj.io/instance": "x"})
    metadata = copied(view)["metadata"]
    assert ("app-primary", "shop") == (metadata["labels"][NAME_LABEL], metadata["labels"]["team"])
    assert "argocd.argoproj.io/instance" not in metadata["labels"]
    hidden = set(metadata["annotations"][EXCLUDED_LABELS].split(","))
    assert {names.MANAGED_BY, names.LABEL_TARGET, names.LABEL_ROLE} == hidden


@pytest.mark.parametrize(
    ("pause", "expected"),
    [
        ({}, {}),
        ({PAUSED: "true"}, {PAUSED: "true"}),
        ({PAUSED_REPLICAS: "3"}, {PAUSED_REPLICAS: "3"}),
        (BOTH, BOTH),
        ({PAUSED_REPLICAS: "0"}, {PAUSED: "true"}),
        ({PAUSED_REPLICAS: "none"}, {PAUSED: "true"}),
        (
            {"autoscaling.keda.sh/paused-scale-in": "true"},
            {"autoscaling.keda.sh/paused-scale-in": "true"},
        ),
        ({"example.com/note": "x"}, {}),
    ],
)
def test_the_copy_takes_the_users_switches_over_and_never_our_pause_nor_a_zero(pause, expected):
    view = scaler(pause)
    asleep = written(view, keda.to_sleep(view))
    for original in (view, asleep):
        annotations = copied(original)["metadata"]["annotations"]
        found = {k: v for k, v in annotations.items() if k.startswith(keda.DOMAIN)}
        assert expected == found
    assert copied(view) == copied(asleep)


# --- what may surprise ---


@pytest.mark.parametrize(
    ("metadata", "is_named"),
    [
        ({"query": 'sum(rate(x{deployment="app"}[1m]))'}, True),
        ({"query": 'sum(rate(x{pod=~"app-.*"}[1m]))'}, True),
        ({"query": "sum(rate(x{pod=~'app-.*'}[1m]))"}, True),
        ({"query": 'sum(rate(x{app="other"}[1m]))'}, False),
        ({"query": 'sum(rate(x{deployment="app-primary"}[1m]))'}, False),
        ({"query": 'sum(rate(x{deployment="myapp"}[1m]))'}, False),
        ({"query": 'sum(rate(x{deployment="apple"}[1m]))'}, False),
        ({"topic": "app", "lagThreshold": "5"}, True),
        ({"queueName": "orders", "value": 5}, False),
        ({}, False),
    ],
)
def test_a_trigger_names_the_target_where_a_text_says_its_name(metadata, is_named):
    view = scaler(triggers=[{"type": "prometheus", "metadata": metadata}])
    expected = ("prometheus",) if is_named else ()
    assert expected == keda.triggers_of_the_target(view, {"app"})
