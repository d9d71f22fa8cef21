"""After every single action of every run, an interruption followed by a fresh look ends where it would have ended without it."""

import pytest

from tests.core.world import PLAN, World

STORIES = {
    "a good release": (set(), set(), set(), ["B"], True),
    "a bad release": ({"B"}, set(), set(), ["B"], True),
    "a release whose pods never get ready": (set(), {"B"}, set(), ["B"], True),
    "a promotion whose primary does not roll out": (set(), set(), {"B"}, ["B"], True),
    "a second revision in mid-run": (set(), set(), set(), ["B", "C"], True),
    "a bad revision, then a good one": ({"B"}, set(), set(), ["B", "C"], True),
    "a revert in mid-run": (set(), set(), set(), ["B", "A"], True),
    "leaving after a good release": (set(), set(), set(), ["B"], False),
    "leaving after a bad release": ({"B"}, set(), set(), ["B"], False),
}


def tell(story: str, crash_at: int) -> World:
    """One story from enrolment on, with the daemon dying once, after ``crash_at`` actions."""
    bad, broken, primary_broken, revisions, stays = STORIES[story]
    world = World(
        bad=bad, broken=broken, primary_broken=primary_broken, plan=dict(PLAN), budget=crash_at
    )
    world.settle(30)
    for revision in revisions:
        world.deploy(revision)
        world.settle(8)
    world.settle(250)
    if not stays:
        world.enabled = False
        world.settle(60)
    return world


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_a_crash_after_any_action_ends_where_no_crash_ends(story):
    undisturbed = tell(story, -1)
    assert undisturbed.violations == []

    for crash_at in range(undisturbed.performed):
        disturbed = tell(story, crash_at)

        assert disturbed.outcome() == undisturbed.outcome(), f"crash after action {crash_at}"
        assert disturbed.violations == [], f"crash after action {crash_at}"
