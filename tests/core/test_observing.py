"""``mode: observe``: everything is judged, nothing is touched."""

from canaryd.core.decision import Ask, Emit, SaveState, StopAsking
from canaryd.core.phase import Phase
from tests.core.world import PLAN, World, enrolled, revision

OBSERVE = PLAN | {"mode": "observe"}


def observed(**changes: object) -> World:
    world = World(plan=OBSERVE, **changes)
    world.settle(60)
    return world


def touched(world: World) -> set[str]:
    """Kinds of actions beyond telling and remembering."""
    harmless = (Ask, Emit, SaveState, StopAsking)
    return {
        type(a).__name__ for _, d in world.log for a in d.actions if not isinstance(a, harmless)
    }


def results(world: World) -> list[str]:
    return [entry.result for entry in world.state.history]


def test_an_observed_app_is_left_alone():
    world = observed()
    assert (Phase.INITIALIZED, {"app": "app"}, 2) == (
        world.state.phase,
        world.apex_selector,
        world.target.replicas,
    )
    assert (set(), None, None) == (touched(world), world.primary, world.routing)


def test_a_good_revision_would_have_been_promoted():
    world = observed()
    world.deploy("B")
    world.settle(120)
    assert ["WouldPromote"] == results(world)
    assert (revision("B"), set()) == (world.state.promoted, touched(world))


def test_a_bad_revision_would_have_been_rolled_back_and_stays_where_it_is():
    world = observed(bad_target={"B"})
    world.deploy("B")
    world.settle(120)
    assert ["WouldRollBack"] == results(world)
    assert ("B", 2, set()) == (world.target.template, world.target.replicas, touched(world))


def test_a_rolling_update_that_never_ends_would_have_been_rolled_back():
    world = observed(broken={"B"})
    world.deploy("B")
    world.settle(180)
    assert ["WouldRollBack"] == results(world)


def test_a_newer_revision_is_judged_in_place_of_the_one_before():
    world = observed()
    world.deploy("B")
    world.settle(5)
    world.deploy("C")
    world.settle(120)
    assert ["Superseded", "WouldPromote"] == results(world)


def test_an_app_that_is_to_be_enforced_is_enrolled_with_what_was_learned():
    world = observed()
    world.deploy("B")
    world.settle(120)
    world.plan = PLAN
    world.settle(120)
    assert (Phase.INITIALIZED, "B") == (world.state.phase, world.primary.template)
    assert ["WouldPromote"] == results(world)
    assert [] == world.violations


def test_an_enrolled_app_that_is_to_be_observed_is_given_back_first():
    world = enrolled()
    world.plan = OBSERVE
    world.settle(240)
    assert ({"app": "app"}, None, 2) == (world.apex_selector, world.primary, world.target.replicas)
    assert world.state.observing
    assert [] == world.violations


def test_a_command_about_an_observed_app_is_refused():
    world = observed()
    world.ask("undo")
    world.settle(2)
    assert "only observed" in world.state.commands[-1].refusal


def test_an_observed_app_that_leaves_leaves_nothing():
    world = observed()
    world.enabled = False
    world.settle(10)
    assert (None, {"Forget"}) == (world.machine, touched(world))
    assert {"app": "app"} == world.apex_selector


def test_what_stands_in_the_way_of_observing_is_told():
    world = observed(ingress=False)
    assert "no Ingress" in world.state.message
    assert "IngressNotFound" in world.emitted
    world.ingress = True
    world.settle(60)
    assert world.state.observing


def test_an_enrolled_app_whose_record_was_lost_is_given_back_before_it_is_observed():
    world = enrolled()
    world.machine, world.plan = None, OBSERVE
    world.settle(300)
    assert ({"app": "app"}, None, 2) == (world.apex_selector, world.primary, world.target.replicas)
    assert world.state.observing
    assert [] == world.violations
