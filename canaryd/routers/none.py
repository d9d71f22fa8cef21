"""Traffic without a router: the selector of the apex Service is the route, so it is all or nothing.

For blue/green beside anything that follows a Service: kube-proxy, a headless name, an ingress
controller of any make. Weight 0 is the primary's selector, weight 100 exactly what the canary
Service selects, so that only pods of the analysed revision are behind either. Nothing between can
be said, and nothing is approximated: such plans are refused.

The selector is the user's field, marked and recorded at enrolment by whoever switches it first
(``SwitchApex``); a Service without the mark has not been switched and is left alone here. Nobody
counts requests on this way, so the built-in metrics have no source: a plan must judge by queries of
its own, by hooks, or by load tests.
"""

from collections.abc import Iterator
from typing import Final

from canaryd.core import manifests, names
from canaryd.core.kinds import SERVICE
from canaryd.core.model import CanarySpec, TrafficIdentity
from canaryd.core.routing import PRIMARY_ONLY, Routing
from canaryd.core.snapshot import App, RouteState
from canaryd.core.subset import merge_diff
from canaryd.core.views import EndpointSliceView, Key, ServiceView
from canaryd.ports.cache import ReadStore
from canaryd.ports.errors import Conflict
from canaryd.ports.kube import KubeApi
from canaryd.ports.router import Capabilities

EVERYBODY: Final = Routing(100)


class SelectorRouter:
    """Switches the apex Service between the primary's pods and the canary's.

    Args:
        api: where to write.
        services: the watched Services.
        slices: the watched EndpointSlices, indexed by ``target``.
        propagation_s: how long whoever follows a Service takes to act.

    """

    def __init__(
        self,
        api: KubeApi,
        services: ReadStore[ServiceView],
        slices: ReadStore[EndpointSliceView],
        *,
        propagation_s: float = 3.0,
    ) -> None:
        self._api = api
        self._services = services
        self._slices = slices
        self._propagation_s = propagation_s

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    @property
    def propagation_s(self) -> float:
        return self._propagation_s

    def validate(self, spec: CanarySpec) -> tuple[str, ...]:
        return (*_problems_of_routing(spec), *_problems_of_metrics(spec))

    def read(self, app: App) -> RouteState:
        apex = self._apex(app)
        if dict(apex.selector) == manifests.apex_selector(apex, app.label, app.value):
            return RouteState(routing=PRIMARY_ONLY, in_sync=True)
        if _leads_to_canary(apex):
            canary = self._canary(app)
            is_exact = canary is not None and _has_pods(canary) and apex.selector == canary.selector
            return RouteState(
                routing=EVERYBODY, in_sync=is_exact, obstacle=self._lag(app) if is_exact else ""
            )
        if _is_switched(apex):
            return RouteState()  # somebody else's selector: nobody knows who gets where
        return RouteState(routing=PRIMARY_ONLY, in_sync=True)

    def orphans(self, key: Key) -> RouteState:
        return RouteState(routing=EVERYBODY) if any(self._leading(key)) else RouteState()

    async def write(self, app: App, routing: Routing) -> None:
        apex, canary = self._apex(app), self._canary(app)
        if not _is_switched(apex):
            if routing.weight:
                raise Conflict(f"Service {apex.id.name} is not canaryd's to switch yet")
            return
        if routing.weight and (canary is None or not _has_pods(canary)):
            name = names.canary_name(apex.id.name)
            raise Conflict(f"Service {name} selects no pods that Service {apex.id.name} could have")
        await self._select(
            apex,
            manifests.apex_selector_for(
                apex, app.label, app.value, routing, canary.selector if canary else {}
            ),
        )

    async def retreat(self, key: Key) -> None:
        for apex in self._leading(key):
            name = names.primary_name(apex.id.name)
            primary = self._services.get(apex.id.namespace, name)
            if primary is None or not primary.is_ours:
                raise Conflict(f"Service {name}, which tells the primary's pods, is gone")
            await self._select(apex, dict(primary.selector))

    async def cleanup(self, key: Key) -> None:
        await self.retreat(key)  # there is no object to delete

    def identity(self, app: App) -> TrafficIdentity:
        return TrafficIdentity(
            namespace=app.target.namespace,
            target=app.target.name,
            apex=app.apex.id.name,
            canary_service=names.canary_name(app.apex.id.name),
            primary_service=names.primary_name(app.apex.id.name),
            ingresses=(),
            is_counted=False,
        )

    def cautions(self, app: App) -> tuple[str, ...]:
        if app.apex.cluster_ip != "None":
            return ()
        caution = (
            f"Service {app.apex.id.name} is headless: clients go on to the pods whose addresses"
            " they looked up before it was switched. Set canaryd.io/scale-down-delay above the time"
            " they keep them"
        )
        return (caution,)

    def _apex(self, app: App) -> ServiceView:
        """The apex as it is now: the app may have been seen before our own last write."""
        return self._services.get(app.apex.id.namespace, app.apex.id.name) or app.apex

    def _canary(self, app: App) -> ServiceView | None:
        name = names.canary_name(app.apex.id.name)
        found = self._services.get(app.apex.id.namespace, name)
        return found if found is not None and found.is_ours else None

    def _leading(self, key: Key) -> Iterator[ServiceView]:
        """Apex Services of a target that lead to the canary."""
        namespace, target = key
        return (
            service
            for service in list(self._services.list(namespace))
            if service.labels.get(names.LABEL_APEX) == target and _leads_to_canary(service)
        )

    def _lag(self, app: App) -> str:
        """Why the selector has no effect yet, in words; empty when it has."""
        ready: dict[str, set[str]] = {}
        for piece in self._slices.by("target", app.target.key):
            ready.setdefault(piece.service, set()).update(piece.ready)
        behind = ready.get(app.apex.id.name, set())
        if behind and behind <= ready.get(names.canary_name(app.apex.id.name), set()):
            return ""
        return f"Service {app.apex.id.name} does not lead to the canary's pods alone yet"

    async def _select(self, apex: ServiceView, wanted: dict[str, str]) -> None:
        if diff := merge_diff(apex.selector, wanted):
            await self._api.merge_patch(
                SERVICE,
                apex.id.namespace,
                apex.id.name,
                {
                    "metadata": {"resourceVersion": apex.id.resource_version},
                    "spec": {"selector": diff},
                },
            )


def _is_switched(apex: ServiceView) -> bool:
    """Whether enrolment has taken the selector over; a lost record is for the guards to mend."""
    return names.LABEL_APEX in apex.labels


def _leads_to_canary(apex: ServiceView) -> bool:
    """Whether an apex selects pods of one ReplicaSet, which only we make it do."""
    key = names.POD_TEMPLATE_HASH
    return key in apex.selector and apex.selector[key] != apex.original_selector().get(key)


def _has_pods(canary: ServiceView) -> bool:
    return canary.selector.get(names.POD_TEMPLATE_HASH, names.NO_PODS) != names.NO_PODS


def _problems_of_routing(spec: CanarySpec) -> Iterator[str]:
    weights = dict.fromkeys(stage.weight for stage in spec.stages)
    parts = [f"{weight}" for weight in weights if weight not in (0, 100)]
    all_or_nothing = "with canaryd.io/provider: none a Service leads to one side or the other"
    if parts:
        yield (
            f"weight {', '.join(parts)} cannot be written: {all_or_nothing}; use strategy"
            " blue-green, or another provider"
        )
    if spec.promotion_step_weight != 100:
        yield (
            f"canaryd.io/promotion-step-weight: {spec.promotion_step_weight} cannot be written:"
            f" {all_or_nothing}; remove it, or use another provider"
        )
    if spec.matches or any(stage.matched for stage in spec.stages):
        yield (
            "canaryd.io/match: a Service does not look at requests; use strategy blue-green, or the"
            " gateway or nginx provider"
        )
    if any(stage.mirror for stage in spec.stages):
        yield "canaryd.io/mirror: a Service cannot mirror; remove it, or use the gateway provider"


def _problems_of_metrics(spec: CanarySpec) -> Iterator[str]:
    """Built-ins that nothing could ever answer: every run would wait for them in vain."""
    if spec.load_tests:
        return
    for check in spec.metrics:
        if check.builtin is not None:
            key = f"{names.PREFIX}metric.{check.name}"
            yield (
                f"{key}: nobody counts requests with canaryd.io/provider: none; judge by a query"
                f" ({key}.query), or add {names.PREFIX}load-test.<name>, whose requests count"
            )
