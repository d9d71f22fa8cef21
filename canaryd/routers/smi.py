"""Traffic by SMI: one TrafficSplit per app, named as the apex and wholly ours.

It is applied whole, so that a weight, a backend or a condition changed by hand is repaired by the
same write; of what an apply leaves alone, what routes is removed by a patch. Which version of the
kind is spoken is whatever the API server serves, see ``core.routes_smi`` for the order; the watch
finds it out, and this module asks for it anew at every write.

A mesh that is not told of the split any more sends users to the apex itself: without a split, as
before enrolment and after leaving, nobody is lost. While there is one, requests of the mesh go to
the primary's own Service, past the apex, so the split must be gone and forgotten by the mesh before
the primary's Service or pods are.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from canaryd.core import names, routes_smi
from canaryd.core.kinds import Kind
from canaryd.core.model import CanarySpec, Dialect, TrafficIdentity
from canaryd.core.routing import PRIMARY_ONLY, Routing
from canaryd.core.snapshot import App, RouteState
from canaryd.core.views import JsonDict, Key, ObjectView, object_view
from canaryd.ports.cache import ReadStore
from canaryd.ports.errors import NotFound
from canaryd.ports.kube import KubeApi
from canaryd.ports.router import Capabilities


class SmiRouter:
    """Writes TrafficSplits.

    Args:
        api: where to write.
        splits: the watched TrafficSplits, of whatever version.
        routes: the watched HTTPRoutes, where they are watched, for cautions only.
        kind: tells the version that is served now.
        choices: every version that may be spoken, for what is said when none is served.
        dialect: whose metrics count requests.
        propagation_s: how long the mesh takes to act.

    """

    def __init__(
        self,
        api: KubeApi,
        splits: ReadStore[ObjectView],
        *,
        routes: ReadStore[ObjectView] | None = None,
        kind: Callable[[], Kind] = lambda: routes_smi.PREFERENCE[0],
        choices: Iterable[Kind] = routes_smi.PREFERENCE,
        dialect: Dialect = Dialect.LINKERD,
        propagation_s: float = 3.0,
    ) -> None:
        self._api = api
        self._splits = splits
        self._routes = routes
        self._kind = kind
        self._choices = tuple(choices)
        self._dialect = dialect
        self._propagation_s = propagation_s

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(weight=True)

    @property
    def propagation_s(self) -> float:
        return self._propagation_s

    def validate(self, spec: CanarySpec) -> tuple[str, ...]:
        found = routes_smi.problems_of_plan(spec)
        if self._splits.is_served:
            return found
        return (*found, routes_smi.why_not_served(self._choices))

    def read(self, app: App) -> RouteState:
        strays, live = self._strays(app), self._live(app)
        routing = _routing_of(live) if live is not None else None
        if live is None or routing is None:
            return RouteState(routing=_widest(strays), orphaned=bool(strays))
        return RouteState(
            routing=_widest([live, *strays]),
            in_sync=routes_smi.follows(live, self._manifest(app, routing)) and not strays,
            orphaned=bool(strays),
        )

    def orphans(self, key: Key) -> RouteState:
        return RouteState(routing=_widest(self._ours(key)))

    async def write(self, app: App, routing: Routing) -> None:
        manifest = self._manifest(app, routing)
        held = self._live(app)
        if held is not None and routes_smi.has_other_types(held, self._kind()):
            await self._patch(held, {"spec": manifest["spec"]})
        live = object_view(await self._api.apply(manifest))
        if foreign := routes_smi.foreign_parts(live):
            await self._patch(live, foreign)
        for stray in self._strays(app):
            await self._delete(stray)

    async def retreat(self, key: Key) -> None:
        for split in self._ours(key):
            with suppress(NotFound):  # the wish is fulfilled: no split, no users
                await self._patch(split, routes_smi.to_primary(split, self._kind()))

    async def cleanup(self, key: Key) -> None:
        for split in self._ours(key):
            await self._delete(split)

    def identity(self, app: App) -> TrafficIdentity:
        return TrafficIdentity(
            namespace=app.target.namespace,
            target=app.target.name,
            apex=app.apex.id.name,
            canary_service=names.canary_name(app.apex.id.name),
            primary_service=names.primary_name(app.apex.id.name),
            ingresses=(),
            dialect=self._dialect,
        )

    def cautions(self, app: App) -> tuple[str, ...]:
        routes = self._routes.list(app.target.namespace) if self._routes is not None else ()
        return routes_smi.cautions_of(app.apex.id.name, routes)

    def _manifest(self, app: App, routing: Routing) -> JsonDict:
        return routes_smi.traffic_split(
            self._kind(), app.target, apex=app.apex.id.name, weight=routing.weight
        )

    def _live(self, app: App) -> ObjectView | None:
        """Our split of this app."""
        found = self._splits.get(app.target.namespace, app.apex.id.name)
        return found if found is not None and found.is_copy_for(app.target.name) else None

    async def _patch(self, split: ObjectView, patch: Mapping[str, object]) -> None:
        await self._api.merge_patch(self._kind(), split.id.namespace, split.id.name, patch)

    async def _delete(self, split: ObjectView) -> None:
        await self._api.delete(self._kind(), split.id.namespace, split.id.name, uid=split.id.uid)

    def _ours(self, key: Key) -> list[ObjectView]:
        namespace, target = key
        return [s for s in self._splits.list(namespace) if s.is_copy_for(target)]

    def _strays(self, app: App) -> list[ObjectView]:
        """Splits of ours that are named after another apex than the present one."""
        return [s for s in self._ours(app.target.key) if s.id.name != app.apex.id.name]


def _routing_of(split: ObjectView) -> Routing | None:
    """What a split of ours says; it is named after its apex, and the canary after that."""
    return routes_smi.routing_of(split, names.canary_name(split.id.name))


def _widest(splits: Iterable[ObjectView]) -> Routing | None:
    """Of what several splits say, whatever may bring somebody to the canary; None without any."""
    said = [_routing_of(split) or PRIMARY_ONLY for split in splits]
    return max(said, key=lambda routing: routing.weight, default=None)
