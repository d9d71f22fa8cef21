"""What belongs to a target: its Service, the routes of its provider, its autoscaler,
and everything else that selects its pods.

Nothing is guessed: two Services that fit, a route that cannot carry a canary,
a name that is taken, a policy that would cut the primary off are obstacles with a name,
and all of them are reported at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from canaryd.core import (
    keda,
    limits_gateway,
    manifests,
    names,
    routes_gateway,
    routes_nginx,
    routes_smi,
)
from canaryd.core.fingerprint import REVISION_CHARS
from canaryd.core.kinds import HTTP_ROUTE, SCALED_OBJECT
from canaryd.core.model import CanarySpec, IdlePolicy, Provider
from canaryd.core.owners import wish_of
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import App, Obstacle
from canaryd.core.views import ConfigView, DeploymentView, ObjectView, ServiceView, selects

MAX_SUBDOMAIN = 253
"""Characters in the names of most objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Objects of the target's namespace that might concern it."""

    services: Sequence[ServiceView] = ()
    ingresses: Sequence[ObjectView] = ()
    http_routes: Sequence[ObjectView] | None = ()
    """None: the cluster has no such kind."""
    traffic_splits: Sequence[ObjectView] = ()
    autoscalers: Sequence[ObjectView] = ()
    scalers: Sequence[ObjectView] | None = ()
    """None: this canaryd does not look at ScaledObjects (KEDA)."""
    budgets: Sequence[ObjectView] = ()
    policies: Sequence[ObjectView] = ()
    configs: Mapping[str, ConfigView] = field(default_factory=dict)
    """Those the target names, by ``kind/name``."""
    primary: DeploymentView | None = None
    taken: Mapping[str, bool] = field(default_factory=dict)
    """Names we want (``Kind/name``) that exist: True when the object is ours."""


def discover(
    target: DeploymentView, spec: CanarySpec, around: Surroundings
) -> tuple[App | None, tuple[Obstacle, ...]]:
    """Find what belongs to a target; the app is None when something stands in the way."""
    obstacles = [*_workload_obstacles(target), *_config_obstacles(target, spec, around)]
    label = _selector_label(target, spec, obstacles)
    if label is None:
        return None, tuple(obstacles)
    apex = _apex(target, spec, around, obstacles)
    if apex is None:
        return None, tuple(obstacles)
    ingresses, http_routes = _routes(target, spec, apex, around, obstacles)
    autoscaler, scaler = _autoscaling(target, spec, around, obstacles)
    labels = manifests.primary_labels(target, label)
    app = App(
        target=target.id,
        spec=spec,
        label=label,
        match_labels=target.match_labels,
        match_expressions=target.match_expressions,
        apex=apex,
        ingresses=ingresses,
        http_routes=http_routes,
        autoscaler=autoscaler,
        scaler=scaler,
        budgets=tuple(
            b
            for b in around.budgets
            if not b.is_ours
            and manifests.needs_primary_twin(
                b.spec.get("selector") or {}, target.template_labels, labels
            )
            and _budget_is_covered(b, target, label)
        ),
        policies=tuple(
            p
            for p in around.policies
            if not p.is_ours
            and manifests.network_policy_concerns(p, target.template_labels, labels)
        ),
    )
    obstacles.extend(_uncovered_policies(app, target, labels))
    obstacles.extend(_conflicts(app, around.taken))
    return (None if obstacles else app), tuple(obstacles)


def wanted_names(app: App) -> tuple[str, ...]:
    """Every name (``Kind/name``) canaryd wants to write for an app."""
    return (
        f"Deployment/{names.primary_name(app.target.name)}",
        f"Service/{names.primary_name(app.apex.id.name)}",
        f"Service/{names.canary_name(app.apex.id.name)}",
        *(f"Ingress/{names.canary_name(i.id.name)}" for i in app.ingresses),
        *((f"TrafficSplit/{app.apex.id.name}",) if app.spec.provider is Provider.SMI else ()),
        *(
            f"HorizontalPodAutoscaler/{names.primary_name(a.id.name)}"
            for a in (app.autoscaler,)
            if a is not None
        ),
        *(
            f"{SCALED_OBJECT.kind}/{names.primary_name(scaler.id.name)}"
            for scaler in (app.scaler,)
            if scaler is not None
        ),
        *(f"PodDisruptionBudget/{names.primary_name(b.id.name)}" for b in app.budgets),
        *(f"NetworkPolicy/{names.primary_name(p.id.name)}" for p in app.policies),
    )


def _workload_obstacles(target: DeploymentView) -> Iterable[Obstacle]:
    name = target.id.name
    if target.recreates:
        yield Obstacle(
            Reason.WORKLOAD_UNSUPPORTED,
            f"Deployment {name} has strategy Recreate: two versions must never run at once, which a"
            " canary needs. Use RollingUpdate, or remove canaryd.io/enabled",
        )
    if target.paused:
        yield Obstacle(
            Reason.WORKLOAD_UNSUPPORTED,
            f"Deployment {name} is paused (spec.paused); resume it with kubectl rollout resume",
        )
    if (
        len(names.snapshot_name(name, "0" * REVISION_CHARS)) > MAX_SUBDOMAIN
        or len(names.primary_name(name)) > names.MAX_NAME
    ):
        yield Obstacle(
            Reason.WORKLOAD_UNSUPPORTED,
            f"Deployment name {name} is too long: {name}-primary must fit in {names.MAX_NAME}"
            " characters",
        )


def _selector_label(
    target: DeploymentView, spec: CanarySpec, obstacles: list[Obstacle]
) -> str | None:
    label = manifests.selector_label(target, spec)
    if label is None:
        wanted = f" {spec.selector_label}" if spec.selector_label else ""
        obstacles.append(
            Obstacle(
                Reason.WORKLOAD_UNSUPPORTED,
                f"Deployment {target.id.name} has no selector label{wanted} under"
                " spec.selector.matchLabels; name one of its labels in canaryd.io/selector-label",
            )
        )
    elif not manifests.tells_apart(target, label):
        value = names.primary_label_value(target.match_labels[label])
        obstacles.append(
            Obstacle(
                Reason.WORKLOAD_UNSUPPORTED,
                f"Deployment {target.id.name} leaves out {label}={value} in"
                " spec.selector.matchExpressions: its primary, whose pods carry that label, could"
                " not select them. Name another label of spec.selector.matchLabels in"
                " canaryd.io/selector-label, or create the Deployment anew without that value",
            )
        )
    return label


def _config_obstacles(
    target: DeploymentView, spec: CanarySpec, around: Surroundings
) -> Iterable[Obstacle]:
    for reference in target.references if spec.config_tracking else ():
        copied = names.config_copy_name(reference.name, "0" * REVISION_CHARS)
        is_copied = wish_of(around.configs.get(reference.key)).is_copied
        is_copied = is_copied and reference.key not in spec.config_exclude
        if is_copied and len(copied) > MAX_SUBDOMAIN:
            kind = "ConfigMap" if reference.kind == "configmap" else "Secret"
            yield Obstacle(
                Reason.WORKLOAD_UNSUPPORTED,
                f"{kind} name {reference.name} is too long: its versioned copies are named"
                f" {names.config_copy_name(reference.name, 'HASH')}, which must fit in"
                f" {MAX_SUBDOMAIN} characters. Name it in canaryd.io/config-exclude to share it,"
                f' or annotate it with canaryd.io/copy: "false"',
            )


def _apex(
    target: DeploymentView, spec: CanarySpec, around: Surroundings, obstacles: list[Obstacle]
) -> ServiceView | None:
    users = [s for s in around.services if not s.is_ours]
    fitting = [
        s
        for s in users
        if selects(s.original_selector(), target.template_labels)
        and s.labels.get(names.LABEL_APEX, target.id.name) == target.id.name
    ]
    if spec.service:
        named = next((s for s in users if s.id.name == spec.service), None)
        if named is None:
            obstacles.append(
                Obstacle(
                    Reason.SERVICE_NOT_FOUND,
                    f"Service {spec.service}, named in canaryd.io/service, does not exist in"
                    f" namespace {target.id.namespace} or has no selector",
                )
            )
            return None
        if named not in fitting:
            obstacles.append(
                Obstacle(
                    Reason.SERVICE_NOT_FOUND,
                    f"Service {spec.service}, named in canaryd.io/service, does not select the pods"
                    f" of Deployment {target.id.name}; compare its spec.selector with the labels of"
                    " the pod template",
                )
            )
            return None
        chosen = named
    elif not fitting:
        obstacles.append(
            Obstacle(
                Reason.SERVICE_NOT_FOUND,
                f"no Service in namespace {target.id.namespace} selects the pods of Deployment"
                f" {target.id.name}; create one, or name it in canaryd.io/service",
            )
        )
        return None
    elif len(fitting) > 1:
        listed = ", ".join(sorted(s.id.name for s in fitting))
        obstacles.append(
            Obstacle(
                Reason.SERVICE_AMBIGUOUS,
                f"Services {listed} all select the pods of Deployment {target.id.name}; name the"
                " one users call in canaryd.io/service",
            )
        )
        return None
    else:
        chosen = fitting[0]
    if len(names.primary_name(chosen.id.name)) > names.MAX_NAME:
        obstacles.append(
            Obstacle(
                Reason.WORKLOAD_UNSUPPORTED,
                f"Service name {chosen.id.name} is too long: {names.primary_name(chosen.id.name)}"
                f" must fit in {names.MAX_NAME} characters",
            )
        )
    others = sorted(s.id.name for s in fitting if s.id.name != chosen.id.name)
    if others and spec.idle is IdlePolicy.SCALE_TO_ZERO:
        obstacles.append(
            Obstacle(
                Reason.SERVICE_AMBIGUOUS,
                f"Service {', '.join(others)} selects the same pods as {chosen.id.name} and would"
                f" lose its endpoints when Deployment {target.id.name} is scaled to zero between"
                ' runs; set canaryd.io/idle: "keep", or give that Service another selector',
            )
        )
    return chosen


def _routes(
    target: DeploymentView,
    spec: CanarySpec,
    apex: ServiceView,
    around: Surroundings,
    obstacles: list[Obstacle],
) -> tuple[tuple[ObjectView, ...], tuple[ObjectView, ...]]:
    """The user's Ingresses and HTTPRoutes that lead to the apex, as the provider needs them."""
    match spec.provider:
        case Provider.NGINX:
            return _ingresses(spec, apex, around, obstacles), ()
        case Provider.GATEWAY:
            return (), _http_routes(target, spec, apex, around, obstacles)
        case Provider.SMI:
            obstacles.extend(
                Obstacle(Reason.CONFLICT, words)
                for words in routes_smi.rivals_of(apex.id.name, around.traffic_splits)
            )
            return (), ()
        case Provider.NONE:
            return (), ()
        case _:
            assert_never(spec.provider)


def _http_routes(
    target: DeploymentView,
    spec: CanarySpec,
    apex: ServiceView,
    around: Surroundings,
    obstacles: list[Obstacle],
) -> tuple[ObjectView, ...]:
    if around.http_routes is None:
        text = f"{HTTP_ROUTE.kind} ({HTTP_ROUTE.api_version}) is not installed in this cluster"
        advice = "install the CRDs of the Gateway API, or choose another canaryd.io/provider"
        obstacles.append(Obstacle(Reason.ROUTE_NOT_FOUND, f"{text}; {advice}"))
        return ()
    parts = routes_gateway.Parts(apex.id.namespace, apex.id.name, spec.matches)
    users = {route.id.name: route for route in around.http_routes}
    chosen = [users[name] for name in spec.routes if name in users]
    obstacles.extend(
        Obstacle(
            Reason.ROUTE_NOT_FOUND,
            f"HTTPRoute {name}, named in canaryd.io/route, does not exist in namespace"
            f" {apex.id.namespace}",
        )
        for name in spec.routes
        if name not in users
    )
    if not spec.routes:
        chosen = [
            route
            for route in users.values()
            if any(routes_gateway.leads_to(rule, parts) for rule in routes_gateway.rules_of(route))
        ]
        if not chosen:
            obstacles.append(
                Obstacle(
                    Reason.ROUTE_NOT_FOUND,
                    f"no HTTPRoute in namespace {apex.id.namespace} has Service {apex.id.name} as"
                    " a backend; create one, or name it in canaryd.io/route",
                )
            )
    mirror = max((stage.mirror for stage in spec.stages), default=0)
    obstacles.extend(
        Obstacle(Reason.ROUTE_INVALID, problem)
        for route in chosen
        if (problem := limits_gateway.problem_of(route, parts, target.id.name, mirror))
    )
    return tuple(sorted(chosen, key=lambda route: route.id.name))


def _ingresses(
    spec: CanarySpec, apex: ServiceView, around: Surroundings, obstacles: list[Obstacle]
) -> tuple[ObjectView, ...]:
    users = {i.id.name: i for i in around.ingresses if not i.is_ours}
    if spec.ingresses:
        obstacles.extend(
            Obstacle(
                Reason.INGRESS_NOT_FOUND,
                f"Ingress {name}, named in canaryd.io/ingress, does not exist in namespace"
                f" {apex.id.namespace}",
            )
            for name in spec.ingresses
            if name not in users
        )
        chosen = [users[name] for name in spec.ingresses if name in users]
    else:
        chosen = [i for i in users.values() if routes_nginx.leads_to(i, apex.id.name)]
        if not chosen:
            obstacles.append(
                Obstacle(
                    Reason.INGRESS_NOT_FOUND,
                    f"no Ingress in namespace {apex.id.namespace} has Service {apex.id.name} as a"
                    " backend; create one, or name it in canaryd.io/ingress",
                )
            )
    canaries = [i for i in users.values() if routes_nginx.is_canary(i)]
    obstacles.extend(
        Obstacle(Reason.INGRESS_INVALID, problem)
        for ingress in chosen
        if (problem := routes_nginx.problem_of(ingress, apex.id.name, canaries))
    )
    return tuple(sorted(chosen, key=lambda i: i.id.name))


def _autoscaling(
    target: DeploymentView, spec: CanarySpec, around: Surroundings, obstacles: list[Obstacle]
) -> tuple[ObjectView | None, ObjectView | None]:
    """The target's HorizontalPodAutoscaler or its ScaledObject; neither, when it has none."""
    if spec.autoscaler == "none":
        return None, None
    name = target.id.name
    for scaler in around.scalers or ():
        named = spec.autoscaler in ("auto", scaler.id.name)
        if named and not scaler.is_ours and keda.scales(scaler, name):
            obstacles.extend(_scaler_obstacles(scaler))
            return None, scaler
    for hpa in around.autoscalers:
        reference = hpa.spec.get("scaleTargetRef") or {}
        is_its = reference.get("kind") == "Deployment" and reference.get("name") == name
        if hpa.is_ours or not is_its:
            continue
        if keda.is_made_by_keda(hpa):
            if around.scalers is None:
                obstacles.append(_unseen_scaler(hpa, name))
        elif spec.autoscaler in ("auto", hpa.id.name):
            return hpa, None
    if spec.autoscaler != "auto":
        obstacles.append(
            Obstacle(
                Reason.WORKLOAD_UNSUPPORTED,
                f"HorizontalPodAutoscaler or ScaledObject {spec.autoscaler}, named in"
                f" canaryd.io/autoscaler, does not exist or does not scale Deployment {name}",
            )
        )
    return None, None


def _scaler_obstacles(scaler: ObjectView) -> Iterable[Obstacle]:
    copied = names.primary_name(scaler.id.name)
    if len(copied) > names.MAX_NAME:
        yield Obstacle(
            Reason.WORKLOAD_UNSUPPORTED,
            f"ScaledObject name {scaler.id.name} is too long: {copied} must fit in"
            f" {names.MAX_NAME} characters",
        )


def _unseen_scaler(hpa: ObjectView, target: str) -> Obstacle:
    """KEDA would wake the target between runs, and fight every step."""
    owner = hpa.controller.partition("/")[2]
    return Obstacle(
        Reason.WORKLOAD_UNSUPPORTED,
        f"ScaledObject {owner} (KEDA) scales Deployment {target}, and this canaryd does not look"
        " after ScaledObjects: install it with autoscalers.keda.enabled, or set"
        ' canaryd.io/autoscaler: "none" to leave it alone',
    )


def _uncovered_policies(
    app: App, target: DeploymentView, primary_labels: Mapping[str, str]
) -> Iterable[Obstacle]:
    for policy in app.policies:
        made = manifests.network_policy_copy(policy, app.target, app.label, app.value)
        if not manifests.network_policy_is_covered(
            made, policy, target.template_labels, primary_labels
        ):
            yield Obstacle(
                Reason.NETWORK_POLICY_UNMATCHED,
                f"NetworkPolicy {policy.id.name} selects the pods of Deployment {target.id.name} in"
                " a way that cannot be rewritten for the primary (label"
                f" {app.label}={names.primary_label_value(app.value)}): the primary would be cut"
                f" off. Select by {app.label} with matchLabels or In",
            )


def _budget_is_covered(budget: ObjectView, target: DeploymentView, label: str) -> bool:
    """Whether a copy would guard the primary; one that would not must not be made."""
    made = manifests.disruption_budget_copy(budget, target.id, label, target.match_labels[label])
    labels = manifests.primary_labels(target, label)
    return manifests.budget_is_covered(made, target.template_labels, labels)


def _conflicts(app: App, taken: Mapping[str, bool]) -> Iterable[Obstacle]:
    for name in wanted_names(app):
        if name in taken and not taken[name]:
            kind, _, bare = name.partition("/")
            yield Obstacle(
                Reason.CONFLICT,
                f"{kind} {bare} exists and is not canaryd's; rename or delete it, or do not enrol"
                f" Deployment {app.target.name}",
            )
