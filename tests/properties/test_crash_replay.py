"""After every single action of every story, an interruption followed by a fresh look ends where it would have ended without it.

The interruptions are the daemon's death, which loses all it held in memory, and a refused request, after which only
retreats are still tried. A replay starts from a copy of the world before the look that is interrupted, so that a story
of n actions costs n times its end and not n times itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.core.phase import Phase
from tests.core.world import PLAN, World

Step = Callable[[World], object]


def deploy(template: str) -> Step:
    return lambda world: world.deploy(template)


@dataclass(frozen=True)
class Wait:
    """Let time pass; the one step that is taken look by look."""

    seconds: float

    def __call__(self, world: World) -> None:
        world.settle(self.seconds)


def change(**values: Any) -> Step:
    def make(world: World) -> None:
        for name, value in values.items():
            setattr(world, name, value)

    return make


def until(claim: Callable[[World], bool]) -> Step:
    """Wait for something that every telling of the story comes to, if not at the same second."""

    def go_on(world: World) -> None:
        for _ in range(600):
            if claim(world):
                return
            world.settle(0.5)
        raise AssertionError(f"it never came to that: {world.outcome()}")

    return go_on


def at_weight(weight: int) -> Step:
    return until(lambda world: world.weight == weight)


def in_phase(phase: Phase) -> Step:
    return until(lambda world: world.state is not None and world.state.phase is phase)


ENROL = Wait(30)
END = Wait(250)


@dataclass(frozen=True)
class Story:
    """What happens to an app, enrolment included, and what the world is like."""

    steps: tuple[Step, ...]
    world: dict[str, Any] = field(default_factory=dict)


GATED = {
    **PLAN,
    "hook.open": "confirm-rollout svc://gate/open",
    "hook.smoke": "pre-rollout svc://gate/smoke",
    "hook.go": "confirm-promotion svc://gate/go",
}

STORIES = {
    "enrolling": Story((ENROL,)),
    "a good release": Story((ENROL, deploy("B"), END)),
    "a bad release": Story((ENROL, deploy("B"), END), {"bad": {"B"}}),
    "a release whose pods never get ready": Story((ENROL, deploy("B"), END), {"broken": {"B"}}),
    "a promotion whose primary does not roll out": Story(
        (ENROL, deploy("B"), END), {"primary_broken": {"B"}}
    ),
    "a release behind three hooks": Story((ENROL, deploy("B"), END), {"plan": GATED}),
    "an autoscaled app": Story((ENROL, deploy("B"), END), {"autoscaled": True}),
    "a release of an app that keeps its pods": Story(
        (ENROL, deploy("B"), END), {"plan": {**PLAN, "idle": "keep"}}
    ),
    "a second revision in mid-run": Story((ENROL, deploy("B"), Wait(8), deploy("C"), END)),
    "a second revision during promotion": Story(
        (ENROL, deploy("B"), in_phase(Phase.PROMOTING), deploy("C"), END)
    ),
    "a bad revision, then a good one": Story(
        (ENROL, deploy("B"), Wait(40), deploy("C"), END), {"bad": {"B"}}
    ),
    "a revert in mid-run": Story((ENROL, deploy("B"), Wait(8), deploy("A"), END)),
    "a revert at weight": Story((ENROL, deploy("B"), at_weight(50), deploy("A"), END)),
    "a revert during promotion": Story(
        (ENROL, deploy("B"), in_phase(Phase.PROMOTING), deploy("A"), END)
    ),
    "a config change alone": Story((ENROL, lambda world: world.configure("2"), END)),
    "a bad config change alone": Story(
        (ENROL, lambda world: world.configure("2"), END), {"bad": {"2"}}
    ),
    "a config change at weight": Story(
        (ENROL, deploy("B"), at_weight(20), lambda world: world.configure("2"), END)
    ),
    "a config change of an app that keeps its pods": Story(
        (ENROL, lambda world: world.configure("2"), END), {"plan": {**PLAN, "idle": "keep"}}
    ),
    "the canary lost at weight": Story(
        (ENROL, deploy("B"), at_weight(50), change(down={"app": 2}), Wait(7), change(down={}), END)
    ),
    "the weight edited by hand in mid-run": Story(
        (ENROL, deploy("B"), at_weight(20), change(weight=90), END)
    ),
    "the apex selector edited by hand in mid-run": Story(
        (ENROL, deploy("B"), at_weight(20), change(apex_selector={"app": "app"}), END)
    ),
    "the primary deleted in mid-run": Story(
        (ENROL, deploy("B"), at_weight(20), change(primary=None), END)
    ),
    "the primary's template edited by hand": Story((ENROL, change(primary_edited=True), END)),
    "replicas asked for while idle": Story(
        (ENROL, lambda world: setattr(world.target, "replicas", 4), END)
    ),
    "the record deleted while idle": Story((ENROL, change(machine=None), END)),
    "leaving after a good release": Story(
        (ENROL, deploy("B"), END, change(enabled=False), Wait(60))
    ),
    "leaving after a bad release": Story(
        (ENROL, deploy("B"), END, change(enabled=False), Wait(60)), {"bad": {"B"}}
    ),
    "leaving in mid-run": Story(
        (ENROL, deploy("B"), at_weight(20), change(enabled=False), Wait(120))
    ),
    "leaving while enrolling": Story((Wait(1), change(enabled=False), Wait(60))),
    "leaving, and coming back while it leaves": Story(
        (ENROL, change(enabled=False), Wait(3), change(enabled=True), END)
    ),
    "the target deleted in mid-run": Story(
        (
            ENROL,
            deploy("B"),
            at_weight(20),
            World.delete_target,
            Wait(5),
            World.collect,
            Wait(30),
        )
    ),
    "the target deleted and made anew": Story(
        (
            ENROL,
            World.delete_target,
            Wait(5),
            World.collect,
            lambda world: world.recreate_target("B"),
            END,
        )
    ),
}


@dataclass(frozen=True)
class Place:
    """A point of a story from which it can be told on."""

    world: World
    left: tuple[Step, ...]
    """What is still to come, whole steps."""
    until: float = 0.0
    """When the wait ends that is under way."""

    def tell_on(self, arm: Callable[[World, int], None], number: int) -> World:
        """How it ends with an interruption after that many actions of the whole story."""
        world = self.world.copy()
        arm(world, number - world.performed)
        for _ in world.turns(self.until):
            pass
        for step in self.left:
            step(world)
        return world


def tell(story: Story) -> tuple[World, list[Place]]:
    """The story without interruption: how it ends, and the places it comes by."""
    world = World(plan=dict(PLAN))
    for name, value in story.world.items():
        setattr(world, name, value)
    places = []
    for number, step in enumerate(story.steps):
        places.append(Place(world.copy(), story.steps[number:]))
        if isinstance(step, Wait):
            end = world.now + step.seconds
            for _ in world.turns(end):
                if places[-1].world.performed < world.performed:
                    places.append(Place(world.copy(), story.steps[number + 1 :], end))
        else:
            step(world)
    return world, places


def interrupted(
    places: list[Place], actions: int, arm: Callable[[World, int], None]
) -> Iterator[tuple[int, World]]:
    """The same story once for each action, interrupted after that many."""
    for number in range(actions):
        place = next(p for p in reversed(places) if p.world.performed <= number)
        yield number, place.tell_on(arm, number)


def die(world: World, actions: int) -> None:
    world.budget = actions


def be_refused(world: World, actions: int) -> None:
    world.refuse_at = actions


@pytest.mark.slow
@pytest.mark.parametrize("arm", [die, be_refused], ids=["crash", "refusal"])
@pytest.mark.parametrize("story", STORIES)
def test_an_interruption_after_any_action_ends_where_no_interruption_ends(story, arm):
    undisturbed, places = tell(STORIES[story])
    assert undisturbed.violations == []
    assert undisturbed.performed > 0

    for number, disturbed in interrupted(places, undisturbed.performed, arm):
        assert undisturbed.outcome() == disturbed.outcome(), f"after action {number}"
        assert disturbed.violations == [], f"after action {number}"
