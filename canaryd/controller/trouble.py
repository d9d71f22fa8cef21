"""What a look that went wrong comes to: the word for it, and when to look again.

A refusal that stays until a person acts (a taken name, a missing right, a record that was deleted,
an object that the API server or its admission does not accept) is an obstacle: the next look tells
it in status and Event.
Everything else passes by itself and is worth a line of log; it is tried again with backoff,
or when the server says so. Users who are to leave a canary do not wait for a long backoff.
"""

from dataclasses import replace

from canaryd.controller.freshness import StaleCache
from canaryd.controller.snapshots import NameTaken, SnapshotGone, StaleTarget
from canaryd.core.decision import Decision, WriteRoute
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Obstacle, Snapshot
from canaryd.ports.errors import Conflict, Forbidden, Invalid, KubeError

STALE_WAIT_S = 1.0
CONFLICT_BACKOFF_S = -0.05
ERROR_BACKOFF_S = -0.5
RETREAT_WAIT_S = 2.0
"""How often a retreat that could not be written is tried while users are still on the canary."""

Trouble = KubeError | StaleCache | StaleTarget


def decision_after(trouble: Trouble, *, retreating: bool = False) -> Decision:
    """What to say and when to look again; a negative time asks for backoff that begins there."""
    decision = _decision_after(trouble)
    after = decision.requeue_after
    if not retreating or after is None or after >= 0:
        return decision
    return replace(decision, requeue_after=RETREAT_WAIT_S)


def is_retreat(snap: Snapshot | None, decision: Decision | None) -> bool:
    """Whether a decision was to take users off a canary that has some."""
    if snap is None or decision is None or not snap.route.carries:
        return False
    return any(isinstance(a, WriteRoute) and a.is_retreat for a in decision.actions)


def _decision_after(trouble: Trouble) -> Decision:
    match trouble:
        case StaleCache():
            return Decision(
                reason=Reason.CACHE_BEHIND, message=str(trouble), requeue_after=STALE_WAIT_S
            )
        case StaleTarget() | Conflict():
            return Decision(
                reason=Reason.CONFLICT, message=str(trouble), requeue_after=CONFLICT_BACKOFF_S
            )
        case _:
            after = trouble.retry_after_s or ERROR_BACKOFF_S
            return Decision(reason=Reason.API_ERROR, message=str(trouble), requeue_after=after)


def obstacle_of(trouble: Trouble) -> Obstacle | None:
    """The obstacle that a write met with; None when it will pass."""
    match trouble:
        case NameTaken() | SnapshotGone():
            return Obstacle(Reason.CONFLICT, str(trouble))
        case Forbidden() | Invalid():
            return Obstacle(Reason.API_ERROR, str(trouble))
        case _:
            return None
