"""Traffic by Gateway API: a canary beside the apex in the rules of the user's own HTTPRoutes.

Nothing is created. A write is a merge patch of ``spec.rules`` and of one annotation, with the
resourceVersion it was made from as precondition; when somebody was faster it is made anew of what
is there now. The order among several routes does not matter: a failure leaves a mix, which ``read``
reports as not in sync. On the way back every route is tried, whatever became of the others.

The status of a route is written by its readers, after the fact: a refusal is told as an obstacle
and never counts as a difference, since writing the same again would not change their mind.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from canaryd.core import limits_gateway, names, routes_gateway
from canaryd.core.kinds import HTTP_ROUTE
from canaryd.core.model import CanarySpec, Dialect, TrafficIdentity
from canaryd.core.routes_gateway import Parts
from canaryd.core.routing import PRIMARY_ONLY, Routing
from canaryd.core.snapshot import App, RouteState
from canaryd.core.subset import is_subset
from canaryd.core.views import JsonDict, Key, ObjectView, http_route_view
from canaryd.ports.cache import ReadStore
from canaryd.ports.errors import Conflict, Invalid, KubeError, NotFound
from canaryd.ports.kube import KubeApi
from canaryd.ports.router import Capabilities

TRIES = 3
"""How often a patch is made anew of what is there: readers write the status at the same time."""


class GatewayRouter:
    """Writes backends into HTTPRoutes.

    Args:
        api: where to write.
        http_routes: the watched HTTPRoutes.
        dialect: who reads them, as ``providers.gateway.dialect`` names it.
        propagation_s: how long its readers take to act.

    """

    def __init__(
        self,
        api: KubeApi,
        http_routes: ReadStore[ObjectView],
        *,
        dialect: str = "other",
        propagation_s: float = 3.0,
    ) -> None:
        self._api = api
        self._routes = http_routes
        self._dialect = dialect
        self._propagation_s = propagation_s

    @property
    def capabilities(self) -> Capabilities:
        mirror = self._dialect not in limits_gateway.WITHOUT_MIRROR
        return Capabilities(weight=True, header=True, cookie=True, mirror=mirror)

    @property
    def propagation_s(self) -> float:
        return self._propagation_s

    def validate(self, spec: CanarySpec) -> tuple[str, ...]:
        return limits_gateway.problems_of_plan(spec, self._dialect)

    def read(self, app: App) -> RouteState:
        said: list[Routing] = []
        in_sync, obstacles = True, list[str]()
        for main in app.http_routes:
            live = self._routes.get(main.id.namespace, main.id.name)
            if live is None:
                in_sync = False
                continue
            known = routes_gateway.with_recorded(_parts(app), live, app.target.name)
            routing = routes_gateway.routing_of(routes_gateway.rules_of(live), known)
            said.append(routing)
            in_sync = in_sync and self._follows(live, app, routing)
            if not routing.is_retreat and (words := routes_gateway.refusal_of(live)):
                obstacles.append(words)
        strays = self._strays(app)
        left = [self._said(route, app.target.key) for route in strays]
        return RouteState(
            routing=_widest([*said, *left]),
            in_sync=in_sync and len(set(said)) == 1 and not strays,
            orphaned=any(not routing.is_retreat for routing in left),
            obstacle="; ".join(obstacles),
            is_refused=bool(obstacles),
        )

    def orphans(self, key: Key) -> RouteState:
        ours = self._ours(key)
        return RouteState(
            routing=_widest(self._said(route, key) for route in ours),
            orphaned=any(self._leads_nowhere(route, key) for route in ours),
        )

    async def write(self, app: App, routing: Routing) -> None:
        if routing.is_retreat:
            await _each([*app.http_routes, *self._strays(app)], self._clearing(app.target.key, app))
            return
        for route in app.http_routes:
            await self._patch(route, lambda live: self._change(live, app, routing))
        await _each(self._strays(app), self._clearing(app.target.key))

    async def retreat(self, key: Key) -> None:
        await self.cleanup(key)

    async def cleanup(self, key: Key) -> None:
        await _each(self._ours(key), self._clearing(key))

    def identity(self, app: App) -> TrafficIdentity:
        parts = _parts(app)
        measured = limits_gateway.DIALECTS[self._dialect]
        ports = {
            str(reference.get("port", ""))
            for route in app.http_routes
            for rule in routes_gateway.rules_of(route)
            for reference in routes_gateway.references_of(rule)
            if parts.is_apex(reference)
        }
        return TrafficIdentity(
            namespace=app.target.namespace,
            target=app.target.name,
            apex=app.apex.id.name,
            canary_service=names.canary_name(app.apex.id.name),
            primary_service=names.primary_name(app.apex.id.name),
            ingresses=(),
            routes=tuple(route.id.name for route in app.http_routes),
            ports=tuple(sorted(ports)),
            dialect=measured if isinstance(measured, Dialect) else None,
        )

    def cautions(self, app: App) -> tuple[str, ...]:
        return tuple(
            caution
            for route in app.http_routes
            for caution in limits_gateway.cautions_of(route, _parts(app))
        )

    # --- what is there ----------------------------------------------------------------------------

    def _follows(self, live: ObjectView, app: App, routing: Routing) -> bool:
        """Whether a route says what we would write, and has nothing else of ours.

        Between runs the owner may have the canary's Service in it at weight 0: that is no traffic.
        """
        target, parts = app.target.name, _parts(app)
        if routing.is_retreat:
            return routes_gateway.mark_key(target) not in live.annotations
        return not routes_gateway.patch(live, target, parts, routing)

    def _said(self, route: ObjectView, key: Key) -> Routing:
        parts = routes_gateway.recorded(route, key[1])
        if parts is None:
            return PRIMARY_ONLY
        return routes_gateway.routing_of(routes_gateway.rules_of(route), parts)

    def _leads_nowhere(self, route: ObjectView, key: Key) -> bool:
        """Whether a route leads to the canary but not to the apex any more."""
        parts = routes_gateway.recorded(route, key[1])
        if parts is None:
            return False
        rules = routes_gateway.rules_of(route)
        return not any(routes_gateway.leads_to(rule, parts) for rule in rules) and not (
            routes_gateway.routing_of(rules, parts).is_retreat
        )

    def _ours(self, key: Key) -> list[ObjectView]:
        namespace, target = key
        mark = routes_gateway.mark_key(target)
        return [r for r in self._routes.list(namespace) if mark in r.annotations]

    def _strays(self, app: App) -> list[ObjectView]:
        """Routes with a record of a run of this target that are not the app's any more."""
        wanted = {main.id.name for main in app.http_routes}
        return [r for r in self._ours(app.target.key) if r.id.name not in wanted]

    # --- writing ----------------------------------------------------------------------------------

    def _change(self, live: ObjectView, app: App, routing: Routing) -> JsonDict:
        """The patch for a route; what cannot carry it any more is left as it is, to be looked at.

        Raises:
            Conflict: the route was changed such that it cannot.

        """
        parts, target = _parts(app), app.target.name
        if problem := limits_gateway.problem_of(live, parts, target, routing.mirror):
            raise Conflict(f"it was changed meanwhile, looking again: {problem}")
        return routes_gateway.patch(live, target, parts, routing)

    def _clearing(
        self, key: Key, app: App | None = None
    ) -> Callable[[ObjectView], Awaitable[None]]:
        """Take everything of ours out of a route: of the app's, and of what the record names."""

        def change(live: ObjectView) -> JsonDict:
            parts = routes_gateway.recorded(live, key[1]) or (_parts(app) if app else None)
            if parts is None:  # a record that nobody can read marks nothing
                return {"metadata": {"annotations": {routes_gateway.mark_key(key[1]): None}}}
            if app is not None and parts.apex == app.apex.id.name:
                parts = _parts(app)
            return routes_gateway.patch(live, key[1], parts, PRIMARY_ONLY)

        async def clear(route: ObjectView) -> None:
            with suppress(NotFound):  # the wish is fulfilled: no route, no users
                await self._patch(route, change)

        return clear

    async def _patch(self, route: ObjectView, change: Callable[[ObjectView], JsonDict]) -> None:
        """Patch a route as it is now.

        Raises:
            Invalid: a part of what was written is not kept here; it was taken back.
            KubeError: it could not be written.

        """
        live = self._routes.get(*route.id.key) or route
        for attempt in range(TRIES):
            if not (patch := change(live)):
                return
            try:
                written = await self._send(live, patch)
            except Conflict:
                if attempt == TRIES - 1:
                    raise
                live = http_route_view(await self._api.get(HTTP_ROUTE, *route.id.key))
            else:
                await self._check(live, written, patch)
                return

    async def _send(self, live: ObjectView, patch: JsonDict) -> ObjectView:
        precondition = {"resourceVersion": live.id.resource_version}
        metadata = precondition | patch.get("metadata", {})
        return http_route_view(
            await self._api.merge_patch(HTTP_ROUTE, *live.id.key, patch | {"metadata": metadata})
        )

    async def _check(self, before: ObjectView, after: ObjectView, patch: JsonDict) -> None:
        """See that the API server kept what was written: an older CRD drops what it does not know,
        and a mirror of 10 percent becomes one of everything.
        """
        wanted = (patch.get("spec") or {}).get("rules")
        kept = routes_gateway.rules_of(after)
        if wanted is None or is_subset(wanted, kept):
            return
        await self._send(
            after,
            {
                "spec": {"rules": routes_gateway.rules_of(before)},
                "metadata": {"annotations": _annotations_before(before, patch)},
            },
        )
        raise Invalid(
            f"HTTPRoute {after.id.name}: the API server did not keep all of its rules as they were"
            " written; percentages of mirrors need Gateway API 1.3 or newer. It was put back"
        )


def _parts(app: App) -> Parts:
    return Parts(app.target.namespace, app.apex.id.name, app.spec.matches)


def _annotations_before(before: ObjectView, patch: JsonDict) -> JsonDict:
    changed = (patch.get("metadata") or {}).get("annotations") or {}
    return {key: before.annotations.get(key) for key in changed}


async def _each(routes: Iterable[ObjectView], act: Callable[[ObjectView], Awaitable[None]]) -> None:
    """Do it for every route, and tell of the first failure afterwards.

    Raises:
        KubeError: one of them failed.

    """
    failures: list[KubeError] = []
    for route in routes:
        try:
            await act(route)
        except KubeError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _widest(said: Iterable[Routing]) -> Routing | None:
    """Of what several routes say, whatever may bring somebody to the canary; None of nothing."""
    listed = list(said)
    if not listed:
        return None
    matches = tuple(dict.fromkeys(match for routing in listed for match in routing.matches))
    return Routing(
        max(routing.weight for routing in listed),
        matches,
        max(routing.mirror for routing in listed),
    )
