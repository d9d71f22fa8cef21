"""Many apps that want a run at once get their turns by how long they wait."""

import pytest

from canaryd.controller.gather import NOT_ENROLLED
from canaryd.controller.turns import Turns, queue_place
from canaryd.core.decision import Decision, SaveState
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Snapshot
from canaryd.core.state import RolloutState, RunState
from canaryd.core.views import Identity, ObjectView


def canary(name, phase="Succeeded", queued_at=0.0):
    machine = {"phase": phase, "queued_at": queued_at, "reason": "Queued" if queued_at else "Idle"}
    return ObjectView(Identity("shop", name, name), {}, {}, {}, {"machine": machine})


BUSY = [canary("a", "Progressing"), canary("b", "Promoting"), canary("idle")]
WAITING = [canary("w1", queued_at=10.0), canary("w2", queued_at=20.0)]


@pytest.mark.parametrize(
    ("name", "place"),
    [("new", 4), ("w1", 2), ("w2", 3), ("a", 3)],
)
def test_a_place_counts_runs_under_way_and_whoever_waits_longer(name, place):
    assert place == queue_place(("shop", name), [*BUSY, *WAITING])


def test_those_who_began_to_wait_at_the_same_time_have_an_order_all_the_same():
    twins = [canary("w1", queued_at=10.0), canary("w2", queued_at=10.0)]
    assert [0, 1] == [queue_place(("shop", name), twins) for name in ("w1", "w2")]


@pytest.mark.parametrize("machine", [None, "x", {"queued_at": "soon"}])
def test_a_record_that_cannot_be_read_waits_for_nothing(machine):
    odd = ObjectView(Identity("shop", "odd", "u"), {}, {}, {}, {"machine": machine})
    assert 0 == queue_place(("shop", "new"), [odd])


def test_who_is_only_observed_takes_nobodys_turn():
    watched = canary("watched", "Progressing")
    watched.status["machine"]["observing"] = True
    assert 0 == queue_place(("shop", "new"), [watched])


def test_a_run_that_is_being_written_has_its_place_already():
    turns, begun = Turns(limit=1), RunState(id="r-1", revision="r", started_at=0.0)
    state = RolloutState(phase=Phase.PROGRESSING, run=begun)
    snap = Snapshot(key=("shop", "first"), target=None, resolution=NOT_ENROLLED, spec=None)
    begins = Decision(reason=Reason.NEW_REVISION, actions=(SaveState(state),))
    with turns.taken(snap, begins):
        assert 1 == turns.place(("shop", "second"), [canary("first")])
    assert 0 == turns.place(("shop", "second"), [canary("first")])
    with turns.taken(snap, Decision(reason=Reason.IDLE)):
        assert 0 == turns.place(("shop", "second"), [canary("first")])


def test_a_waiting_app_whose_run_is_being_written_is_counted_once():
    assert 1 == queue_place(("shop", "w2"), WAITING, {("shop", "w1")})
