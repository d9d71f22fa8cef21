"""What a look that went wrong comes to: the word for it, and when to look again.

A refusal that stays until a person acts (a taken name, a missing right, an object that the API
server or its admission does not accept) is an obstacle: the next look tells it in status and Event.
Everything else passes by itself and is worth a line of log; it is tried again with backoff,
or when the server says so.
"""

from canaryd.controller.gather import StaleCache
from canaryd.controller.snapshots import NameTaken, StaleTarget
from canaryd.core.decision import Decision
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import Obstacle
from canaryd.ports.errors import Conflict, Forbidden, Invalid, KubeError

STALE_WAIT_S = 1.0
CONFLICT_BACKOFF_S = -0.05
ERROR_BACKOFF_S = -0.5

Trouble = KubeError | StaleCache | StaleTarget


def decision_after(trouble: Trouble) -> Decision:
    """What to say and when to look again; a negative time asks for backoff that begins there."""
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
        case NameTaken():
            return Obstacle(Reason.CONFLICT, str(trouble))
        case Forbidden() | Invalid():
            return Obstacle(Reason.API_ERROR, str(trouble))
        case _:
            return None
