"""What is said on targets gets there, and never stands in the way of a rollout.

Saying why is the last of canaryd's promises. A right that is missing, or a webhook of somebody else
that refuses, is told in one line of log and tried again later; the rollout goes on meanwhile.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from canaryd.core.memory import timestamp
from canaryd.core.names import STATUS_MANAGER
from canaryd.core.told import Told, as_applied
from canaryd.core.views import DeploymentView, Key
from canaryd.ports.clock import Clock
from canaryd.ports.errors import Forbidden, Invalid, KubeError, NotFound, NotLeading
from canaryd.ports.kube import KubeApi, Manifest

log = logging.getLogger(__name__)

REFUSED_WAIT_S = 600.0
"""A refusal stays until a person acts; so often it is looked whether one did."""
FAILED_WAIT_S = 60.0
"""After what may pass; twice as long each time, up to that of a refusal."""
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Wait:
    """Until when a target is not written to, and how long that is in all."""

    until: float
    seconds: float


class Feedback:
    """Writes the conditions of targets.

    Args:
        api: where they are written.
        clock: for their times, and for when to try again.

    """

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._waiting: OrderedDict[Key, _Wait] = OrderedDict()

    async def tell(self, target: DeploymentView, told: Sequence[Told]) -> Manifest | None:
        """Make a target say this; the written object, or None when it could not be written.

        Raises:
            NotLeading: another process may be acting already.

        """
        key, now = target.id.key, self._clock.now()
        if key in self._waiting and self._waiting[key].until > now:
            return None
        manifest = as_applied(*key, told, target.told, timestamp(now))
        try:
            written = await self._api.apply(
                manifest, field_manager=STATUS_MANAGER, subresource="status"
            )
        except NotLeading:
            raise
        except NotFound:
            return None  # it is gone, and so is all that could be said of it
        except KubeError as error:
            self._wait(key, error)
            return None
        self._waiting.pop(key, None)
        return written

    def again_in_s(self, key: Key) -> float | None:
        """Seconds until what could not be told is tried again; None when nothing waits."""
        wait = self._waiting.get(key)
        if wait is None:
            return None
        left_s = wait.until - self._clock.now()
        if left_s <= 0:
            # Nothing was to be told in this look any more.
            del self._waiting[key]
            return None
        return left_s

    def _wait(self, key: Key, error: KubeError) -> None:
        before = self._waiting.get(key)
        wait_s = min(2 * before.seconds, REFUSED_WAIT_S) if before else FAILED_WAIT_S
        if isinstance(error, Forbidden | Invalid):
            wait_s = REFUSED_WAIT_S
        wait_s = max(wait_s, error.retry_after_s or 0.0)
        log.warning(
            "Deployment %s/%s: its status could not be written, again in %g s; the rollout goes on."
            " It needs patch on deployments/status, or canaryd.io/feedback: none. %s",
            *key,
            wait_s,
            error,
        )
        self._waiting[key] = _Wait(self._clock.now() + wait_s, wait_s)
        self._waiting.move_to_end(key)
        if len(self._waiting) > REMEMBERED:
            self._waiting.popitem(last=False)
