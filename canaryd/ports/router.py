"""Who carries a traffic split.

One implementation for each provider in ``canaryd.routers``; every one passes
``tests/contract/test_routers.py``.
A plan a router cannot carry out is refused by :meth:`Router.validate`, never approximated.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from canaryd.core.model import CanarySpec, Provider, TrafficIdentity
from canaryd.core.routing import Routing
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

    async def write(self, app: App, routing: Routing) -> None:
        """Make the routing objects follow the user's routes and say exactly this."""
        ...

    async def retreat(self, key: Key) -> None:
        """Everything to the primary, on whatever routing objects of ours exist, without knowing
        the app.
        """
        ...

    async def cleanup(self, key: Key) -> None:
        """Delete every routing object of ours for a target, and take back what we wrote into those
        of the user.
        """
        ...

    def identity(self, app: App) -> TrafficIdentity:
        """How the data plane names this app's sides in its metrics."""
        ...

    def cautions(self, app: App) -> tuple[str, ...]:
        """What about the user's routes works, and will surprise during a run."""
        ...


@dataclass(frozen=True, slots=True)
class Routers:
    """The enabled providers, and the one an app has chosen among them.

    What another provider left behind, because the app chose differently before, is never forgotten:
    it counts as out of sync until it is gone.
    """

    enabled: Mapping[Provider, Router]

    def propagation_s(self, spec: CanarySpec | None) -> float:
        """Longest time between a write and its effect, in seconds; of all when none is chosen."""
        chosen = self.enabled.get(spec.provider) if spec is not None else None
        routers = [chosen] if chosen is not None else list(self.enabled.values())
        return max((router.propagation_s for router in routers), default=0.0)

    def validate(self, spec: CanarySpec) -> tuple[str, ...]:
        """Why this plan cannot be carried out, in words; empty when it can."""
        router = self.enabled.get(spec.provider)
        if router is None:
            listed = ", ".join(sorted(self.enabled)) or "none"
            return (
                (
                    f"canaryd.io/provider: {spec.provider} is not enabled in this canaryd"
                    f" (providers.{spec.provider}.enabled of its chart); enabled: {listed}"
                ),
            )
        return router.validate(spec)

    def read(self, app: App) -> RouteState:
        """What the routing objects say now."""
        state = self.enabled[app.spec.provider].read(app)
        return replace(state, in_sync=False) if self._left_behind(app) else state

    def orphans(self, key: Key) -> RouteState:
        """Routing objects of ours for a target, looked at without knowing the app: the ones that
        carry most, if there are several.
        """
        found = [router.orphans(key) for router in self.enabled.values()]
        return max(
            (state for state in found if state.routing is not None),
            key=lambda state: (state.carries_users, state.carries),
            default=RouteState(),
        )

    async def write(self, app: App, routing: Routing) -> None:
        """Make the routing objects say exactly this, and remove those of other providers."""
        await self.enabled[app.spec.provider].write(app, routing)
        for router in self._left_behind(app):
            await router.cleanup(app.target.key)

    async def retreat(self, key: Key) -> None:
        """Everything to the primary, whoever carries it."""
        for router in self._with_routes(key):
            await router.retreat(key)

    async def cleanup(self, key: Key) -> None:
        """Delete every routing object of ours for a target."""
        for router in self._with_routes(key):
            await router.cleanup(key)

    def identity(self, app: App) -> TrafficIdentity:
        """How the data plane names this app's sides in its metrics."""
        return self.enabled[app.spec.provider].identity(app)

    def cautions(self, app: App) -> tuple[str, ...]:
        """What about the user's routes works, and will surprise during a run."""
        router = self.enabled.get(app.spec.provider)
        return router.cautions(app) if router is not None else ()

    def _with_routes(self, key: Key) -> Iterator[Router]:
        return (r for r in self.enabled.values() if r.orphans(key).routing is not None)

    def _left_behind(self, app: App) -> list[Router]:
        chosen = self.enabled[app.spec.provider]
        return [r for r in self._with_routes(app.target.key) if r is not chosen]
