"""The status as people and tools read it: each condition claims what was seen, and nothing that was not."""

from canaryd.core.reasons import Reason
from tests.core.world import enrolled


def condition(world, kind):
    [found] = [c for c in world.status["conditions"] if c["type"] == kind]
    return found["status"], found["reason"]


# --- TrafficRouted ---


def test_routes_that_say_what_was_decided_are_applied():
    assert ("True", "Applied") == condition(enrolled(), "TrafficRouted")


def test_routes_behind_an_obstacle_are_unknown_for_the_reason_of_the_obstacle():
    world = enrolled()
    world.strangers = {"other": {"app": "app"}}  # a second Service that selects the pods
    world.settle(30)

    assert world.weight == 0
    assert ("Unknown", Reason.SERVICE_AMBIGUOUS) == condition(world, "TrafficRouted")


def test_routes_are_seen_again_once_the_obstacle_is_gone():
    world = enrolled()
    world.strangers = {"other": {"app": "app"}}
    world.settle(30)
    world.strangers = {}
    world.settle(30)

    assert ("True", "Applied") == condition(world, "TrafficRouted")
