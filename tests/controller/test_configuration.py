"""Which configuration is in force: the layers, the last valid one, a run's own; and what is read only once."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from canaryd.controller.configuration import REMEMBERED, Configuration, configure, read_layers
from canaryd.core.state import Phase, RolloutState, RunState
from canaryd.core.views import ConfigView, Identity, object_view
from tests.controller.parts import SHOP, deployment, view_of

ANNOTATIONS = {"canaryd.io/enabled": "true", "canaryd.io/weights": "20,50"}
BAD = ANNOTATIONS | {"canaryd.io/interval": "soon"}


def target(annotations=ANNOTATIONS):
    return view_of(deployment(annotations=annotations))


def namespace(**annotations):
    given = {f"defaults.canaryd.io/{key}": value for key, value in annotations.items()}
    return ConfigView(Identity("", SHOP, "uid"), {}, given, "1")


def look(
    annotations=ANNOTATIONS, scope=None, controller=MappingProxyType({}), canary=None, state=None
) -> Configuration:
    return configure(target(annotations), scope, controller, canary, state)


def canary_of(configured):
    values = {
        key: {"value": entry.value, "from": entry.origin}
        for key, entry in configured.resolution.values.items()
    }
    return object_view({"metadata": {"namespace": SHOP, "name": "app"}, "spec": {"values": values}})


# --- what is in force ---


def test_annotations_that_can_be_read_are_in_force_and_what_the_next_run_pins():
    found = look()

    assert (20, 50) == found.spec.weights
    assert found.spec == found.fresh
    assert {"weights": "20,50"} == dict(found.plan)


def test_the_last_valid_configuration_stays_in_force_of_an_app_that_is_enrolled():
    canary = canary_of(look())

    enrolled = look(BAD, canary=canary, state=RolloutState(phase=Phase.SUCCEEDED, promoted="r1"))
    assert ["interval"] == [problem.key for problem in enrolled.resolution.problems]
    assert (20, 50) == enrolled.spec.weights

    assert look(BAD, canary=canary).spec is None


def test_a_run_goes_by_the_plan_it_began_with_and_the_next_by_the_present_one():
    run = RunState(id="r2-1", revision="r2", started_at=0.0, plan={"weights": "5,10"})
    found = look(state=RolloutState(phase=Phase.PROGRESSING, promoted="r1", run=run))

    assert ((5, 10), (20, 50)) == (found.spec.weights, found.fresh.weights)


# --- what is read only once ---


def test_the_same_annotations_are_read_once_also_by_another_look_at_another_view():
    assert look().resolution is look(dict(ANNOTATIONS)).resolution


@pytest.mark.parametrize(
    "changed",
    [
        {"annotations": ANNOTATIONS | {"canaryd.io/weights": "5,10"}},
        {"scope": namespace(interval="30s")},
        {"controller": {"interval": "30s"}},
    ],
    ids=["of the Deployment", "of the Namespace", "of the installation"],
)
def test_a_change_of_any_layer_is_seen_and_so_is_its_undoing(changed):
    before, after, again = look(), look(**changed), look()

    assert before.resolution.spec != after.resolution.spec
    assert before.digest != after.digest
    assert before == again


def test_an_annotation_of_ours_that_comes_to_the_pod_template_is_seen():
    manifest = deployment(annotations=ANNOTATIONS)
    assert configure(view_of(manifest), None, {}, None, None).spec is not None

    manifest["spec"]["template"]["metadata"]["annotations"] = {"canaryd.io/weights": "1"}
    found = configure(view_of(manifest), None, {}, None, None)
    assert ["weights"] == [problem.key for problem in found.resolution.problems]


def test_so_much_is_remembered_and_no_more():
    for number in range(REMEMBERED + 20):
        look(ANNOTATIONS | {"canaryd.io/max-duration": f"{number + 1}m"})
    assert REMEMBERED == read_layers.cache_info().currsize


def test_a_run_of_the_plan_of_another_reads_its_own():
    plans = [{"weights": f"{n}"} for n in (5, 6, 5)]
    runs = [RunState(id="r2-1", revision="r2", started_at=0.0, plan=plan) for plan in plans]
    states = [replace(RolloutState(phase=Phase.PROGRESSING), run=run) for run in runs]
    assert [(5,), (6,), (5,)] == [look(state=state).spec.weights for state in states]
