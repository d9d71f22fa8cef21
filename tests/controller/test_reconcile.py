"""One look: what went wrong becomes a word, a time to look again, and, where it stays, something to tell people."""

from dataclasses import dataclass, field

import pytest

from canaryd.controller import reconcile as module
from canaryd.controller.freshness import StaleCache
from canaryd.controller.gather import RECHECK_S, Gathered
from canaryd.controller.reconcile import Reconciler
from canaryd.controller.snapshots import NameTaken, SnapshotGone, StaleTarget
from canaryd.controller.trouble import (
    CONFLICT_BACKOFF_S,
    ERROR_BACKOFF_S,
    RETREAT_WAIT_S,
    STALE_WAIT_S,
)
from canaryd.controller.turns import Turns
from canaryd.core.decision import Decision, WriteRoute
from canaryd.core.reasons import Reason
from canaryd.core.routing import Routing
from canaryd.core.snapshot import Obstacle, RouteState
from canaryd.ports.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotLeading,
    ServerError,
    TooManyRequests,
    Unreachable,
)
from tests.controller.parts import KEY
from tests.controller.test_perform import a_snapshot
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.looptime


@dataclass
class World:
    """A reconciler whose parts are played."""

    monkeypatch: pytest.MonkeyPatch
    decision: Decision = field(default_factory=lambda: Decision(reason=Reason.IDLE))
    snapshot: object = field(default_factory=a_snapshot)
    gathering: Exception | None = None
    performing: Exception | None = None
    untold_s: float | None = None
    turns: Turns = field(default_factory=Turns)
    performed: int = 0
    obstructed: list[Obstacle] = field(default_factory=list)
    looks: list[tuple[object, Decision]] = field(default_factory=list)

    async def gather(self, key):
        if self.gathering is not None:
            raise self.gathering
        return Gathered(self.snapshot)

    def obstruct(self, key, obstacle):
        self.obstructed.append(obstacle)

    async def perform(self, gathered, decision):
        self.performed += 1
        if self.performing is not None:
            raise self.performing
        return self.untold_s

    def looked(self, snap, key, decision, seconds):
        self.looks.append((snap, decision))

    async def look(self, *, dry_run=False):
        self.monkeypatch.setattr(module, "decide", lambda snap, now: self.decision)
        reconciler = Reconciler(self, self, VirtualClock(), self, dry_run=dry_run)
        after = await reconciler.reconcile(KEY)
        ((_, decision),) = self.looks[-1:]
        return after, decision.reason, decision.message


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


@pytest.mark.parametrize(
    ("error", "after", "reason"),
    [
        (StaleCache("behind"), STALE_WAIT_S, Reason.CACHE_BEHIND),
        (StaleTarget("moved on"), CONFLICT_BACKOFF_S, Reason.CONFLICT),
        (Conflict("409"), CONFLICT_BACKOFF_S, Reason.CONFLICT),
        (NameTaken("taken"), CONFLICT_BACKOFF_S, Reason.CONFLICT),
        (ServerError("500"), ERROR_BACKOFF_S, Reason.API_ERROR),
        (Unreachable("gone"), ERROR_BACKOFF_S, Reason.API_ERROR),
        (NotLeading("lost"), ERROR_BACKOFF_S, Reason.API_ERROR),
        (Forbidden("403"), ERROR_BACKOFF_S, Reason.API_ERROR),
        (Invalid("422"), ERROR_BACKOFF_S, Reason.API_ERROR),
        (TooManyRequests("429", retry_after_s=7), 7, Reason.API_ERROR),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("step", ["gathering", "performing"])
async def test_each_trouble_has_its_word_its_message_and_its_time(
    world, step, error, after, reason
):
    setattr(world, step, error)
    assert (after, reason, str(error)) == await world.look()
    assert 1 == len(world.looks)


@pytest.mark.parametrize(
    "error", [NameTaken("taken"), SnapshotGone("gone"), Forbidden("403"), Invalid("422")]
)
async def test_a_refusal_that_stays_is_an_obstacle_of_the_next_look(world, error):
    world.performing = error
    await world.look()
    assert [str(error)] == [obstacle.message for obstacle in world.obstructed]


@pytest.mark.parametrize(
    "error", [Conflict("409"), ServerError("500"), Unreachable("gone"), StaleTarget("x")]
)
async def test_what_passes_by_itself_is_no_obstacle(world, error):
    world.performing = error
    await world.look()
    assert [] == world.obstructed


RETREAT = Decision(reason=Reason.ROLLED_BACK, actions=(WriteRoute(Routing(0)),))


@pytest.mark.parametrize(
    "error", [ServerError("500"), Conflict("409"), Forbidden("403"), Unreachable("x")]
)
async def test_a_retreat_that_failed_while_users_are_on_the_canary_is_tried_soon(world, error):
    world.decision, world.performing = RETREAT, error
    world.snapshot = a_snapshot(route=RouteState(routing=Routing(20)))
    assert RETREAT_WAIT_S == (await world.look())[0]
    assert [] == world.obstructed


async def test_with_nobody_on_the_canary_it_is_a_write_like_any_other(world):
    world.decision, world.performing = RETREAT, ServerError("500")
    world.snapshot = a_snapshot(route=RouteState(routing=Routing(0)))
    assert ERROR_BACKOFF_S == (await world.look())[0]


async def test_a_server_that_says_when_is_asked_then_also_for_a_retreat(world):
    world.decision, world.performing = RETREAT, TooManyRequests("429", retry_after_s=9)
    world.snapshot = a_snapshot(route=RouteState(routing=Routing(20)))
    assert 9 == (await world.look())[0]


async def test_a_defect_is_not_taken_for_trouble(world):
    world.performing = KeyError("oops")
    with pytest.raises(KeyError):
        await world.look()


async def test_the_decision_says_when_to_look_again(world):
    world.decision = Decision(reason=Reason.ANALYZING, requeue_after=3.0)
    assert 3.0 == (await world.look())[0]


async def test_an_obstacle_that_no_watch_tells_the_end_of_is_looked_at_again(world):
    world.snapshot = a_snapshot(obstacles=(Obstacle(Reason.CONFLICT, "taken"),))
    assert RECHECK_S == (await world.look())[0]
    world.snapshot = a_snapshot(obstacles=(Obstacle(Reason.SERVICE_NOT_FOUND, "none"),))
    assert (await world.look())[0] is None


async def test_a_dry_run_decides_tells_and_does_nothing(world):
    world.decision = Decision(
        reason=Reason.NEW_REVISION, actions=(WriteRoute(Routing(20)),), requeue_after=0.0
    )
    assert (None, Reason.NEW_REVISION, "") == await world.look(dry_run=True)
    assert 0 == world.performed


@pytest.mark.parametrize(
    ("after", "untold_s", "wanted"), [(None, None, None), (None, 10.0, 10.0), (0.0, 10.0, 0.0)]
)
async def test_what_could_not_be_told_is_looked_at_again_unless_something_comes_sooner(
    world, after, untold_s, wanted
):
    world.decision = Decision(reason=Reason.IDLE, requeue_after=after)
    world.untold_s = untold_s
    assert wanted == (await world.look())[0]
