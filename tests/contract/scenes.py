"""What the stories of routers are told with: an app whose routes are there, for each provider in its own objects.

A scene knows how its users write routes, what harm can be done to them, and what a data plane makes of them; the stories
do not. A provider that has no routes of the user's says so by ``mains`` and is spared those stories.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from canaryd.core import manifests, names, views
from canaryd.core.kinds import (
    ALL_KINDS,
    HTTP_ROUTE,
    INGRESS,
    OPTIONAL_KINDS,
    SERVICE,
    TRAFFIC_SPLIT_V1ALPHA2,
    Kind,
)
from canaryd.core.model import CanarySpec, Dialect, Provider
from canaryd.core.program import Strategy
from canaryd.core.snapshot import App
from canaryd.core.views import Identity, Key
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.store import Store
from canaryd.ports.router import Router
from canaryd.routers.gateway import GatewayRouter
from canaryd.routers.nginx import NginxRouter
from canaryd.routers.none import SelectorRouter
from canaryd.routers.smi import SmiRouter
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock
from tests.fakes.gateways import find_in_gateway
from tests.fakes.routes import PREFIX, DataPlaneKind, compile_routes, find_route
from tests.fakes.splits import linkerd_routes
from tests.scenarios.manifests import NAMESPACE, ingress, service

KEY: Key = (NAMESPACE, "app")
OTHER_KEY: Key = (NAMESPACE, "other")
Make = Callable[[KubeClient, Store[Any]], Router]
Manifest = dict[str, Any]
AnyScene = TypeVar("AnyScene", bound="Scene")


class Scene(ABC):
    """An app called ``app``, its Services, its routes under ``app.test``, and a router.

    What a scene is not asked to do by any story it may leave out.
    """

    kind: ClassVar[Kind]
    """Of the objects that route."""
    provider: ClassVar[Provider]
    mains: ClassVar[bool] = True
    """Whether users have routes of their own, of which an app may have several."""
    shares: ClassVar[bool] = True
    """Whether a part of the users can be sent to a canary; without, it is everybody or nobody."""
    plan: ClassVar[CanarySpec] = CanarySpec()
    """A plan that can be carried out."""
    project: ClassVar[Callable[[Manifest], Any]] = staticmethod(views.object_view)

    def __init__(self, server: FakeApiServer, store: Store[Any], router: Router) -> None:
        self.server = server
        self.store = store
        self.router = router

    def begin(self, *, neighbour: bool) -> None:
        """The app, and its neighbour if there is one, as they are before the first write."""
        self.put_main("app", "app.test")
        if neighbour:
            self.put_main("other", "other.test", "other")

    def some(self, weight: int) -> int:
        """A weight, or what comes nearest where there are no shares."""
        return weight if self.shares or not weight else 100

    def sync(self) -> None:
        """Bring the cache up to date, as a watch does."""
        live = self.server.objects(self.kind, NAMESPACE)
        for obj in live:
            self.store.observe(obj)
        seen = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in live}
        self.store.retain(seen, None, 2**62)

    def app(self, *mains: str, key: Key = KEY) -> App:
        """The app with these routes of the user's, ``app`` if none is named."""
        self.sync()
        apex = views.service_view(self.server.object(SERVICE, *key))
        routes = tuple(self.store.get(NAMESPACE, name) for name in mains or (key[1],))
        return App(
            target=Identity(*key, f"uid-{key[1]}"),
            spec=replace(self.plan, provider=self.provider),
            label="app",
            match_labels={"app": key[1]},
            apex=apex,
            **self.routes(routes),
        )

    def routes(self, routes: tuple[Any, ...]) -> dict[str, Any]:
        """The user's routes as an app has them."""
        return {}

    def state(self) -> dict[str, Any]:
        """What every routing object says, without what a write leaves behind in any case."""
        skipped = ("resourceVersion", "managedFields", "generation")
        found = {}
        for obj in self.server.objects(self.kind, NAMESPACE):
            meta = {k: v for k, v in obj["metadata"].items() if k not in skipped}
            found[meta["name"]] = {**obj, "metadata": meta}
        return found

    def versions(self) -> dict[str, str]:
        """The versions of all routing objects."""
        return {
            obj["metadata"]["name"]: obj["metadata"]["resourceVersion"]
            for obj in self.server.objects(self.kind, NAMESPACE)
        }

    @abstractmethod
    def share(self, path: str = "/", host: str = "app.test") -> int:
        """Percent of requests that a data plane sends to a canary."""

    @abstractmethod
    def tamper(self, weight: int) -> None:
        """Somebody changes what the route says."""

    def damage(self) -> None:
        """Somebody takes away by what the route is known for ours."""
        raise NotImplementedError

    def put_main(self, name: str, host: str, service: str = "app") -> None:
        """The user makes a route to a Service."""
        raise NotImplementedError

    def move(self, name: str = "app", path: str = "/moved") -> None:
        """The user moves what leads to the app to another path."""
        raise NotImplementedError

    def add_foreign_path(self, path: str) -> None:
        """The user adds a path that leads to another Service."""
        raise NotImplementedError

    def lose(self, name: str = "app") -> None:
        """The user's route does not lead to the app any more."""
        raise NotImplementedError


class NginxScene(Scene):
    """Canary Ingresses."""

    kind = INGRESS
    provider = Provider.NGINX
    prefix = PREFIX

    def routes(self, routes: tuple[Any, ...]) -> dict[str, Any]:
        return {"ingresses": routes}

    def canary(self, main: str = "app") -> Manifest:
        return self.server.object(INGRESS, NAMESPACE, f"{main}-canary")

    def share(self, path: str = "/", host: str = "app.test") -> int:
        routes = compile_routes(self.server.store, DataPlaneKind.TRAEFIK, "nginx", self.prefix)
        found = find_route(routes, host, path)
        assert found is not None
        return found.weight

    def tamper(self, weight: int) -> None:
        def change(live: Manifest) -> None:
            annotations = live["metadata"]["annotations"]
            key = next(k for k in annotations if k.endswith("/canary-weight"))
            annotations[key] = str(weight)

        self.server.edit(INGRESS, NAMESPACE, "app-canary", change)

    def damage(self) -> None:
        self.server.edit(INGRESS, NAMESPACE, "app-canary", _without_annotations)

    def put_main(self, name: str, host: str, service: str = "app") -> None:
        made = ingress(service, host)
        made["metadata"]["name"] = name
        self.server.put(made)

    def move(self, name: str = "app", path: str = "/moved") -> None:
        def change(live: Manifest) -> None:
            live["spec"]["rules"][0]["http"]["paths"][0]["path"] = path

        self.server.edit(INGRESS, NAMESPACE, name, change)

    def add_foreign_path(self, path: str) -> None:
        def add(live: Manifest) -> None:
            elsewhere = {"service": {"name": "other", "port": {"number": 80}}}
            added = {"path": path, "pathType": "Prefix", "backend": elsewhere}
            live["spec"]["rules"][0]["http"]["paths"].append(added)

        self.server.edit(INGRESS, NAMESPACE, "app", add)

    def lose(self, name: str = "app") -> None:
        self.server.remove(INGRESS, NAMESPACE, name)
        self.sync()


class HigressScene(NginxScene):
    """The same under another prefix of annotations."""

    prefix = "higress.example.io"


class GatewayScene(Scene):
    """Backends in the user's HTTPRoutes."""

    kind = HTTP_ROUTE
    provider = Provider.GATEWAY
    project = staticmethod(views.http_route_view)

    def routes(self, routes: tuple[Any, ...]) -> dict[str, Any]:
        return {"http_routes": routes}

    def share(self, path: str = "/", host: str = "app.test") -> int:
        found = find_in_gateway(self.server.store, host, path)
        assert found is not None
        return round(100 * found.weight / found.total)

    def tamper(self, weight: int) -> None:
        def change(live: Manifest) -> None:
            apex, canary = live["spec"]["rules"][0]["backendRefs"]
            apex["weight"], canary["weight"] = 100 - weight, weight

        self.server.edit(HTTP_ROUTE, NAMESPACE, "app", change)

    def damage(self) -> None:
        self.server.edit(HTTP_ROUTE, NAMESPACE, "app", _without_annotations)

    def put_main(self, name: str, host: str, service: str = "app") -> None:
        self.server.put(http_route(name, host, service))

    def move(self, name: str = "app", path: str = "/moved") -> None:
        def change(live: Manifest) -> None:
            live["spec"]["rules"][0]["matches"][0]["path"]["value"] = path

        self.server.edit(HTTP_ROUTE, NAMESPACE, name, change)

    def add_foreign_path(self, path: str) -> None:
        rule = http_route("", "", "other")["spec"]["rules"][0]
        rule["matches"] = [{"path": {"type": "PathPrefix", "value": path}}]
        self.server.edit(
            HTTP_ROUTE, NAMESPACE, "app", lambda live: live["spec"]["rules"].append(rule)
        )

    def lose(self, name: str = "app") -> None:
        def change(live: Manifest) -> None:
            for rule in live["spec"]["rules"]:
                for reference in rule["backendRefs"]:
                    if reference["name"] == "app":
                        reference["name"] = "other"

        self.server.edit(HTTP_ROUTE, NAMESPACE, name, change)
        self.sync()


class SmiScene(Scene):
    """A TrafficSplit."""

    kind = TRAFFIC_SPLIT_V1ALPHA2
    provider = Provider.SMI
    mains = False

    def begin(self, *, neighbour: bool) -> None:
        pass

    def share(self, path: str = "/", host: str = f"app.{NAMESPACE}") -> int:
        found = find_route(linkerd_routes(self.server.store), host, path)
        assert found is not None
        return round(100 * found.weight / found.total)

    def tamper(self, weight: int) -> None:
        def change(live: Manifest) -> None:
            for backend in live["spec"]["backends"]:
                is_canary = backend["service"] == "app-canary"
                backend["weight"] = weight if is_canary else 100 - weight

        self.server.edit(self.kind, NAMESPACE, "app", change)

    def damage(self) -> None:
        self.server.edit(self.kind, NAMESPACE, "app", lambda s: s["metadata"].update(labels={}))


class SelectorScene(Scene):
    """The selector of the user's Service, enrolled, with an analysed ReplicaSet beside."""

    kind = SERVICE
    provider = Provider.NONE
    mains = False
    shares = False
    plan = CanarySpec(strategy=Strategy.BLUE_GREEN)
    project = staticmethod(views.service_view)

    def begin(self, *, neighbour: bool) -> None:
        for name in ("app", "other") if neighbour else ("app",):
            owner = Identity(NAMESPACE, name, f"uid-{name}")
            apex = views.service_view(self.server.object(SERVICE, NAMESPACE, name))
            self.server.apply(manifests.primary_service(apex, owner, "app", name), "canaryd")
            canary = manifests.canary_service(apex, owner, {"app": name}, "7d9f")
            self.server.apply(canary, "canaryd")
            meta = {
                "labels": {names.LABEL_APEX: name, names.LABEL_TARGET: name},
                "annotations": {names.ORIGINAL_SELECTOR: json.dumps({"app": name})},
            }
            spec = {"selector": {"app": f"{name}-primary"}}
            self.server.patch(SERVICE, NAMESPACE, name, {"metadata": meta, "spec": spec})
        self.sync()

    def share(self, path: str = "/", host: str = "") -> int:
        selectors = [
            self.server.object(SERVICE, NAMESPACE, name)["spec"]["selector"]
            for name in ("app", "app-canary", "app-primary")
        ]
        return {True: 100, False: 0}[selectors.index(selectors[0], 1) == 1]

    def tamper(self, weight: int) -> None:
        side = "app-canary" if weight else "app-primary"
        selector = self.server.object(SERVICE, NAMESPACE, side)["spec"]["selector"]
        self.server.edit(SERVICE, NAMESPACE, "app", lambda s: s["spec"].update(selector=selector))

    def damage(self) -> None:
        own = {"app": "app"}
        self.server.edit(SERVICE, NAMESPACE, "app", lambda s: s["spec"].update(selector=own))


def _switcher(api: KubeClient, store: Store[Any]) -> Router:
    """A router by selectors, with pods behind the Services."""
    slices: Store[Any] = Store(
        views.endpoint_slice_view, indexers={"target": lambda s: [(s.id.namespace, s.target)]}
    )
    for name in ("app", "app-canary"):
        piece = endpoints(name)
        piece["metadata"]["labels"][names.LABEL_TARGET] = "app"
        slices.observe(piece)
    return SelectorRouter(api, store, slices)


def _without_annotations(live: Manifest) -> None:
    del live["metadata"]["annotations"]


def http_route(name: str, host: str, service: str = "app") -> Manifest:
    """A route of the user's, everything to one Service."""
    return {
        "apiVersion": HTTP_ROUTE.api_version,
        "kind": HTTP_ROUTE.kind,
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "parentRefs": [{"name": "web"}],
            "hostnames": [host],
            "rules": [{"backendRefs": [{"name": service, "port": 80}]}],
        },
    }


def endpoints(name: str) -> Manifest:
    """One ready pod behind a Service."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE,
            "name": f"{name}-1",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        "ports": [],
    }


@asynccontextmanager
async def playing(
    scene: type[AnyScene], make: Make, *, neighbour: bool = True
) -> AsyncIterator[AnyScene]:
    """A scene with a router, the app's route, and its neighbour's."""
    clock = VirtualClock()
    store: Store[Any] = Store(scene.project)
    async with FakeApiServer((*ALL_KINDS, *OPTIONAL_KINDS), clock) as server:
        server.ensure_namespace(NAMESPACE)
        for name in ("app", "app-canary", "app-primary", "other", "other-canary"):
            server.put(service(name, {"app": name}))
            server.put(endpoints(name))

        def observe(manifest: Manifest) -> None:
            if manifest["kind"] == scene.kind.kind:
                store.observe(manifest)

        connection = Connection(server=server.url)
        async with KubeClient(connection, clock=clock, observe=observe) as client:
            made = scene(server, store, make(client, store))
            made.begin(neighbour=neighbour)
            yield made


ROUTERS: Mapping[str, Callable[[], AbstractAsyncContextManager[Scene]]] = {
    "nginx": lambda: playing(NginxScene, NginxRouter),
    "nginx, another prefix": lambda: playing(
        HigressScene,
        lambda api, store: NginxRouter(
            api, store, prefix=HigressScene.prefix, dialect=Dialect.HIGRESS
        ),
    ),
    "gateway": lambda: playing(
        GatewayScene, lambda api, store: GatewayRouter(api, store, dialect="traefik")
    ),
    "smi": lambda: playing(SmiScene, SmiRouter),
    "none": lambda: playing(SelectorScene, _switcher),
}
"""A router is added by one line; the stories then run against it by themselves."""
