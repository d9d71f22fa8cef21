"""The history is for people and forgets; what a decision needs of the past is known without it."""

from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.rollout.facts import close_run
from canaryd.core.rollout.promotion import kept_revisions
from canaryd.core.state import HISTORY_CAP, RolloutState, RunState
from tests.core.world import PLAN, enrolled, revision

ONE_RESULT = {**PLAN, "history-limit": "1"}


def after(*ended):
    """A state after runs of these revisions, with their results."""
    state = RolloutState(phase=Phase.SUCCEEDED)
    for number, (name, result) in enumerate(ended):
        run = RunState(id=f"{name}-{number}", revision=name, started_at=float(number))
        state = RolloutState(
            phase=Phase.PROGRESSING, run=run, history=state.history, promotions=state.promotions
        )
        state = close_run(state, number + 0.5, result, Reason.PROMOTED)
    return state


def test_revisions_promoted_before_many_failures_are_kept_all_the_same():
    failures = [(f"bad-{n}", "Failed") for n in range(HISTORY_CAP)]
    state = after(("a", "Succeeded"), ("b", "Succeeded"), ("c", "Succeeded"), *failures)

    assert {"Failed"} == {entry.result for entry in state.history}
    assert {"b", "c"} == kept_revisions(state, 2)


def test_a_revision_that_was_promoted_twice_counts_once_and_as_the_later():
    state = after(("a", "Succeeded"), ("b", "Succeeded"), ("a", "Succeeded"))
    assert ("b", "a") == state.promotions


def test_as_many_promoted_revisions_are_remembered_as_a_history_may_have():
    state = after(*((f"r-{n}", "Succeeded") for n in range(HISTORY_CAP + 2)))
    assert (HISTORY_CAP, "r-2") == (len(state.promotions), state.promotions[0])


def test_an_app_that_released_before_the_oldest_result_says_so_when_a_run_is_taken_back():
    world = enrolled(plan=ONE_RESULT, bad={"C"})
    world.deploy("B")
    world.settle(120)
    world.deploy("C")
    world.settle(120)
    assert ["Failed"] == [entry.result for entry in world.state.history]

    world.deploy("D")
    while world.weight != 20:
        world.settle(1)
    world.deploy("B")
    world.settle(120)

    assert world.state.promoted == revision("B")
    assert world.state.phase is Phase.SUCCEEDED
    assert (revision("A"), revision("B")) == world.state.promotions
