"""Parts of a controller for tests of one of them: stores that are filled by hand, an API that counts, apps as manifests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.core import views
from canaryd.core.kinds import Kind
from canaryd.kube.store import Store
from canaryd.ports.cache import Cache
from canaryd.ports.errors import NotFound

SHOP = "shop"
KEY = (SHOP, "app")
Manifest = dict[str, Any]


def make_cache(**others: Any) -> Cache:
    """A cache with empty stores of the real make."""
    made: dict[str, Any] = {
        "deployments": Store(views.deployment_view),
        "services": Store(views.service_view),
        "endpoint_slices": Store(
            views.endpoint_slice_view, indexers={"target": lambda s: [(s.id.namespace, s.target)]}
        ),
        "config_maps": Store(views.config_view),
        "secrets": Store(views.config_view),
        "namespaces": Store(views.config_view),
        "canaries": Store(views.canary_view),
        "http_routes": Store(views.http_route_view),
    }
    for name in ("ingresses", "autoscalers", "budgets", "policies", "traffic_splits"):
        made[name] = Store(views.object_view)
    return Cache(**made | others)


def deployment(
    name: str = "app",
    *,
    version: int = 100,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    image: str = "app:1",
    configs: tuple[str, ...] = (),
    secrets: tuple[str, ...] = (),
    optional: bool = False,
) -> Manifest:
    """An enrolled target, unless its annotations say otherwise."""
    sources = [{"configMapRef": {"name": n, "optional": optional}} for n in configs]
    sources += [{"secretRef": {"name": n, "optional": optional}} for n in secrets]
    container = {"name": "c", "image": image, "envFrom": sources}
    given = {"canaryd.io/enabled": "true"} if annotations is None else dict(annotations)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name, version, labels) | {"annotations": given},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container]},
            },
        },
        "status": {},
    }


def config(
    name: str,
    version: int = 100,
    kind: str = "ConfigMap",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": meta(name, version, labels) | {"annotations": dict(annotations or {})},
        "data": {"k": "v"},
    }


def meta(name: str, version: int = 100, labels: Mapping[str, str] | None = None) -> Manifest:
    return {
        "namespace": SHOP,
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "labels": dict(labels or {}),
    }


def view_of(manifest: Manifest) -> views.DeploymentView:
    view = views.deployment_view(manifest)
    assert view is not None
    return view


@dataclass
class CountingApi:
    """Objects by (kind, name), the requests made for them, and errors to raise instead of answering."""

    objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    """By verb."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    on_request: Callable[[str], None] = lambda _verb: None

    def put(self, manifest: Manifest) -> None:
        self.objects[manifest["kind"], manifest["metadata"]["name"]] = manifest

    async def get(
        self, kind: Kind, namespace: str | None, name: str, *, metadata_only: bool = False
    ) -> Manifest:
        self._note("get", kind.kind, name)
        try:
            return self.objects[kind.kind, name]
        except KeyError:
            raise NotFound(f"{kind.plural} {name!r} not found") from None

    async def list(self, kind: Kind, namespace: str | None, **selectors: Any) -> list[Manifest]:
        self._note("list", kind.kind, "")
        return [o for (k, _), o in self.objects.items() if k == kind.kind]

    async def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        self._note("create", manifest["kind"], manifest["metadata"]["name"])
        return manifest

    async def apply(self, manifest: Manifest, **how: Any) -> Manifest:
        self._note("apply", manifest["kind"], manifest["metadata"]["name"])
        return manifest

    async def merge_patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Any, *, subresource: str = ""
    ) -> Manifest:
        self._note(f"patch/{subresource}" if subresource else "patch", kind.kind, name)
        return {"metadata": {"resourceVersion": "500"}}

    async def delete(self, kind: Kind, namespace: str | None, name: str, **how: Any) -> None:
        self._note("delete", kind.kind, name)

    def _note(self, verb: str, kind: str, name: str) -> None:
        self.asked.append((verb, kind, name))
        self.on_request(verb)
        if verb in self.errors:
            raise self.errors[verb]


@dataclass
class Notes:
    """A log that is kept."""

    lines: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def info(self, event: str, **values: Any) -> None:
        self.lines.append(("info", event, values))

    def error(self, event: str, **values: Any) -> None:
        self.lines.append(("error", event, values))

    def exception(self, event: str, **values: Any) -> None:
        self.lines.append(("exception", event, values))

    def of(self, level: str) -> list[dict[str, Any]]:
        return [values for found, _, values in self.lines if found == level]
