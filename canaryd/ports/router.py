"""Who carries a traffic split.

Implemented by ``canaryd.routers.nginx.NginxRouter``; every implementation passes
``tests/contract/test_routers.py``.
A plan a router cannot carry out is refused by :meth:`Router.validate`, never approximated.
"""

from dataclasses import dataclass
from typing import Protocol

from canaryd.core.model import CanarySpec, TrafficIdentity
from canaryd.core.snapshot import App, RouteState
from canaryd.core.views import Key


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a router can do."""

    weight: bool = False
    header: bool = False
    cookie: bool = False
    mirror: bool = False


class Router(Protocol):
    """One provider of traffic."""

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it."""
        ...

    @property
    def propagation_s(self) -> float:
        """Longest time between a write and its effect on traffic, in seconds."""
        ...

    def validate(self, spec: CanarySpec) -> tuple[str, ...]:
        """Why this plan cannot be carried out, in words; empty when it can."""
        ...

    def read(self, app: App) -> RouteState:
        """What the routing objects say now, from the cache."""
        ...

    def orphans(self, key: Key) -> RouteState:
        """Routing objects of ours for a target, looked at without knowing the app."""
        ...

    async def write(self, app: App, weight: int) -> None:
        """Make the routing objects follow the user's routes and say this weight."""
        ...

    async def retreat(self, key: Key) -> None:
        """Weight 0 on whatever routing objects of ours exist, without knowing the app."""
        ...

    async def cleanup(self, key: Key) -> None:
        """Delete every routing object of ours for a target."""
        ...

    def identity(self, app: App) -> TrafficIdentity:
        """How the data plane names this app's sides in its metrics."""
        ...
