"""Decisions as values: what to do, in which order, and why.

The shell performs the actions one after the other and stops at the first that fails,
except for a retreat (:attr:`WriteRoute.is_retreat`), which is tried all the same:
taking users off a bad version must not wait for a status write.
Asking the world is an action too: the next snapshot holds the answers.
"""

from dataclasses import dataclass, field
from typing import Literal

from canaryd.core.kinds import Kind
from canaryd.core.model import HookSpec, LoadTestSpec, MetricCheck, Side
from canaryd.core.reasons import Reason
from canaryd.core.routing import Routing
from canaryd.core.state import RolloutState
from canaryd.core.told import Told
from canaryd.core.views import JsonDict, ObjectView, ServiceView

Severity = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class SaveState:
    """Write the state (and the status derived from it) to the Canary, creating it when needed."""

    state: RolloutState


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """Record the target's present revision: config copies, then the ControllerRevision.

    Refused when the live target is not of ``fingerprint`` any more.
    """

    revision: str
    fingerprint: str
    contents: tuple[tuple[str, str], ...]
    """(``kind/name``, content fingerprint) of the configs to copy; others the primary shares with
    the target.
    """


@dataclass(frozen=True, slots=True)
class CopyConfig:
    """Make the copy of a config (``kind/name``) that holds this content, if the config still does.

    Refused when it does not any more.
    """

    key: str
    content: str


@dataclass(frozen=True, slots=True)
class ApplyPrimary:
    """Make the primary run a recorded revision."""

    revision: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of an object we own."""

    manifest: JsonDict = field(hash=False)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object we own; ``uid`` is a precondition."""

    kind: Kind
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class SwitchApex:
    """Set the selector of the user's Service; ``keep_record`` marks it as ours and records the
    original, else both go.
    """

    apex: ServiceView
    selector: tuple[tuple[str, str], ...]
    keep_record: bool


@dataclass(frozen=True, slots=True)
class WriteRoute:
    """Make the routes say who gets to the canary."""

    routing: Routing

    @property
    def is_retreat(self) -> bool:
        """Takes everything off the canary."""
        return self.routing.is_retreat


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Delete the canary route objects."""


@dataclass(frozen=True, slots=True)
class ScaleTarget:
    """Set the target's replicas, through the scale subresource."""

    replicas: int


@dataclass(frozen=True, slots=True)
class ScalePrimary:
    """Set the primary's replicas, through the scale subresource."""

    replicas: int


@dataclass(frozen=True, slots=True)
class PutToSleep:
    """Pause the user's ScaledObject, recording what it said."""

    scaler: ObjectView


@dataclass(frozen=True, slots=True)
class WakeUp:
    """Give the user's ScaledObject back as it was."""

    scaler: ObjectView


@dataclass(frozen=True, slots=True)
class MarkTarget:
    """Add or remove the mark by which the admission policy knows a target."""

    managed: bool


@dataclass(frozen=True, slots=True)
class WriteFeedback:
    """Make the target's status say this, and nothing else of ours.

    An aside: where it is refused the rest of the decision is carried out all the same.
    """

    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class RestoreTemplate:
    """Give the target the template of a recorded revision back."""

    revision: str


@dataclass(frozen=True, slots=True)
class CollectGarbage:
    """Delete snapshots other than these revisions, and config copies that no kept snapshot uses."""

    keep: frozenset[str]


@dataclass(frozen=True, slots=True)
class DeleteOwned:
    """Delete everything we made for the app: route, Services, satellites, primary, copies,
    snapshots, in that order.

    Config copies that the target's own template names (after :class:`RestoreTemplate`) stay.
    """


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the Canary object: the app is not ours any more."""


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Take a command off the Canary: it is done, or refused, and on record."""

    key: str


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask the world; ``id`` names run and evaluation,
    so that an answer never counts twice.
    """

    id: str
    what: MetricCheck | HookSpec | LoadTestSpec
    since: float = 0.0
    side: Side = Side.CANARY
    """Whom a metric is asked about."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Start asking; the app is looked at again when the answers are there."""

    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class StopAsking:
    """Cancel what is still being asked, load tests first: the run is over (case X23)."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Call hooks whose answer decides nothing: post-rollout and event hooks."""

    hooks: tuple[HookSpec, ...]
    occasion: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell people: an Event on the Deployment and the Canary, and event hooks.

    ``brief`` Events go on the Deployment alone.
    """

    reason: Reason
    message: str
    severity: Severity = "Normal"
    brief: bool = False


Action = (
    SaveState
    | StoreSnapshot
    | CopyConfig
    | ApplyPrimary
    | Apply
    | Delete
    | SwitchApex
    | WriteRoute
    | RemoveRoute
    | ScaleTarget
    | ScalePrimary
    | PutToSleep
    | WakeUp
    | MarkTarget
    | WriteFeedback
    | RestoreTemplate
    | CollectGarbage
    | DeleteOwned
    | Forget
    | Dismiss
    | Ask
    | StopAsking
    | Notify
    | Emit
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one look at an app led to.

    ``requeue_after`` is in seconds: 0 looks again at once, None waits for something to change.
    """

    reason: Reason
    message: str = ""
    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
