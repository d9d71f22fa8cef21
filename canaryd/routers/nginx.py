"""Traffic by the ingress-nginx annotation dialect: one canary Ingress per main Ingress.

The user's Ingress is never written. Ours is applied whole, so that a changed host or path,
a removed annotation and a hand-edited weight are all repaired by the same write.
An apply leaves alone what somebody else added; of that, what routes is removed by a patch.
With several Ingresses, raising writes them one after the other and a failure leaves a mix of the
old and the new weight,
which ``read`` reports as not in sync: the next look repairs it.
"""

from collections.abc import Iterable
from contextlib import suppress

from canaryd.core import cautions_nginx, names, routes_nginx
from canaryd.core.kinds import INGRESS
from canaryd.core.model import CanarySpec, Dialect, TrafficIdentity
from canaryd.core.routing import PRIMARY_ONLY, Routing
from canaryd.core.snapshot import App, RouteState
from canaryd.core.subset import is_subset
from canaryd.core.views import JsonDict, Key, ObjectView, object_view
from canaryd.ports.cache import ReadStore
from canaryd.ports.errors import NotFound
from canaryd.ports.kube import KubeApi
from canaryd.ports.router import Capabilities


class NginxRouter:
    """Writes canary Ingresses.

    Args:
        api: where to write.
        ingresses: the watched Ingresses.
        prefix: annotation prefix of the ingress controller.
        dialect: whose annotations they are, as ``providers.nginx.dialect`` names it.
        propagation_s: how long its readers take to act.

    """

    def __init__(
        self,
        api: KubeApi,
        ingresses: ReadStore[ObjectView],
        *,
        prefix: str = "nginx.ingress.kubernetes.io",
        dialect: Dialect = Dialect.INGRESS_NGINX,
        propagation_s: float = 2.0,
    ) -> None:
        self._api = api
        self._ingresses = ingresses
        self._prefix = prefix
        self._dialect = dialect
        self._propagation_s = propagation_s

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(weight=True, header=True, cookie=True)

    @property
    def propagation_s(self) -> float:
        return self._propagation_s

    def validate(self, spec: CanarySpec) -> tuple[str, ...]:
        weights = [stage.weight for stage in spec.stages]
        found = routes_nginx.problems_of_routing(
            spec.matches, weights, is_exclusive=self._dialect is Dialect.HIGRESS
        )
        if any(stage.mirror for stage in spec.stages):
            why = (
                "canaryd.io/mirror: Ingress annotations cannot mirror to a canary; remove it, or"
                " use the gateway provider"
            )
            found = (*found, why)
        return found

    def read(self, app: App) -> RouteState:
        said: list[Routing] = []
        in_sync = True
        for main in app.ingresses:
            live = self._ingresses.get(main.id.namespace, names.canary_name(main.id.name))
            routing = None
            if live is not None and live.is_copy_for(app.target.name):
                routing = routes_nginx.routing_of(live, self._prefix)
            if live is None or routing is None:
                in_sync = False
                continue
            said.append(routing)
            in_sync = in_sync and self._follows(live, app, main, routing)
        # A copy without a main Ingress makes ingress-nginx drop the canary of all the others.
        strays = self._strays(app)
        return RouteState(
            routing=_widest(said),
            in_sync=in_sync and len(set(said)) == 1 and not strays,
            orphaned=bool(strays),
        )

    def orphans(self, key: Key) -> RouteState:
        ours = self._ours(key)
        said = [routes_nginx.routing_of(i, self._prefix) or PRIMARY_ONLY for i in ours]
        mains = [
            self._ingresses.get(i.id.namespace, i.id.name.removesuffix("-canary")) for i in ours
        ]
        return RouteState(routing=_widest(said), orphaned=any(main is None for main in mains))

    async def write(self, app: App, routing: Routing) -> None:
        for main in app.ingresses:
            applied = await self._api.apply(self._manifest(app, main, routing))
            live = object_view(applied)
            if foreign := routes_nginx.foreign_parts(live, self._prefix, routing.matches):
                await self._api.merge_patch(
                    INGRESS, main.id.namespace, names.canary_name(main.id.name), foreign
                )
        for stray in self._strays(app):
            await self._api.delete(INGRESS, stray.id.namespace, stray.id.name, uid=stray.id.uid)

    async def retreat(self, key: Key) -> None:
        for ingress in self._ours(key):
            foreign = routes_nginx.foreign_parts(ingress, self._prefix).get("metadata", {})
            annotations = foreign.get("annotations", {}) | {f"{self._prefix}/canary-weight": "0"}
            with suppress(NotFound):  # the wish is fulfilled: no route, no users
                await self._api.merge_patch(
                    INGRESS,
                    ingress.id.namespace,
                    ingress.id.name,
                    {"metadata": {"annotations": annotations}},
                )

    async def cleanup(self, key: Key) -> None:
        for ingress in self._ours(key):
            await self._api.delete(
                INGRESS, ingress.id.namespace, ingress.id.name, uid=ingress.id.uid
            )

    def identity(self, app: App) -> TrafficIdentity:
        return TrafficIdentity(
            namespace=app.target.namespace,
            target=app.target.name,
            apex=app.apex.id.name,
            canary_service=names.canary_name(app.apex.id.name),
            primary_service=names.primary_name(app.apex.id.name),
            ingresses=tuple(
                (main.id.name, app.apex.id.name, path.port)
                for main in app.ingresses
                for path in {
                    p.port: p for p in routes_nginx.backend_paths(main, app.apex.id.name)
                }.values()
            ),
            dialect=self._dialect,
        )

    def cautions(self, app: App) -> tuple[str, ...]:
        taken = {main.id.name for main in app.ingresses}
        others = [
            i
            for i in self._ingresses.list(app.target.namespace)
            if not i.is_ours and i.id.name not in taken
        ]
        return tuple(
            caution
            for main in app.ingresses
            for caution in cautions_nginx.cautions_of(
                main, app.apex.id.name, others, prefix=self._prefix
            )
        )

    def _manifest(self, app: App, main: ObjectView, routing: Routing) -> JsonDict:
        return routes_nginx.canary_ingress(
            main,
            app.target,
            apex=app.apex.id.name,
            prefix=self._prefix,
            routing=routing,
            ingress_class=app.spec.ingress_class,
        )

    def _follows(self, live: ObjectView, app: App, main: ObjectView, routing: Routing) -> bool:
        """Whether a canary Ingress says what we would write, and nothing else that routes."""
        wanted = self._manifest(app, main, routing)
        annotations = wanted["metadata"]["annotations"]
        legacy = routes_nginx.CLASS_ANNOTATION
        # Whichever way the main Ingress names its class, only that one may stand on the copy. A
        # name that the cluster's default class added to a copy that wants none is not ours to take.
        names_class_once = (legacy in live.annotations) == (legacy in annotations) and not (
            legacy in annotations and live.spec.get("ingressClassName")
        )
        return (
            is_subset(wanted["spec"], live.spec)
            and is_subset(annotations, live.annotations)
            and names_class_once
            and not routes_nginx.foreign_parts(live, self._prefix, routing.matches)
        )

    def _ours(self, key: Key) -> list[ObjectView]:
        namespace, target = key
        return [i for i in self._ingresses.list(namespace) if i.is_copy_for(target)]

    def _strays(self, app: App) -> list[ObjectView]:
        """Canary Ingresses of ours whose main Ingress is not among the app's any more."""
        wanted = {names.canary_name(main.id.name) for main in app.ingresses}
        return [i for i in self._ours(app.target.key) if i.id.name not in wanted]


def _widest(said: Iterable[Routing]) -> Routing | None:
    """Of what several Ingresses say, whatever may bring somebody to the canary; None of nothing."""
    listed = list(said)
    if not listed:
        return None
    matches = tuple(dict.fromkeys(match for routing in listed for match in routing.matches))
    return Routing(max(routing.weight for routing in listed), matches)
