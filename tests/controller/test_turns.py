"""Many apps that want a run at once get their turns by how long they wait."""

import pytest

from canaryd.controller.turns import queue_place
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
