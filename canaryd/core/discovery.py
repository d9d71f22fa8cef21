"""What belongs to a target: its Service, its Ingresses, its autoscaler,
and everything else that selects its pods.

Nothing is guessed: two Services that fit, an Ingress that cannot carry a canary,
a name that is taken, a policy that would cut the primary off are obstacles with a name,
and all of them are reported at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from canaryd.core import manifests, names, routes_nginx
from canaryd.core.fingerprint import REVISION_CHARS
from canaryd.core.model import CanarySpec, IdlePolicy
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import App, Obstacle
from canaryd.core.views import DeploymentView, ObjectView, ServiceView, selects

MAX_SUBDOMAIN = 253
"""Characters in the names of most objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Objects of the target's namespace that might concern it."""

    services: Sequence[ServiceView] = ()
    ingresses: Sequence[ObjectView] = ()
    autoscalers: Sequence[ObjectView] = ()
    budgets: Sequence[ObjectView] = ()
    policies: Sequence[ObjectView] = ()
    primary: DeploymentView | None = None
    taken: Mapping[str, bool] = field(default_factory=dict)
    """Names we want (``Kind/name``) that exist: True when the object is ours."""


def discover(
    target: DeploymentView, spec: CanarySpec, around: Surroundings
) -> tuple[App | None, tuple[Obstacle, ...]]:
    """Find what belongs to a target; the app is None when something stands in the way."""
    obstacles = [*_workload_obstacles(target), *_config_obstacles(target, spec)]
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
        return None, tuple(obstacles)
    apex = _apex(target, spec, around, obstacles)
    if apex is None:
        return None, tuple(obstacles)
    ingresses = _ingresses(spec, apex, around, obstacles)
    labels = manifests.primary_labels(target, label)
    app = App(
        target=target.id,
        spec=spec,
        label=label,
        match_labels=target.match_labels,
        apex=apex,
        ingresses=ingresses,
        autoscaler=_autoscaler(target, spec, around.autoscalers, obstacles),
        budgets=tuple(
            b
            for b in around.budgets
            if not b.is_ours
            and manifests.needs_primary_twin(
                b.spec.get("selector") or {}, target.template_labels, labels
            )
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
        *(
            f"HorizontalPodAutoscaler/{names.primary_name(a.id.name)}"
            for a in (app.autoscaler,)
            if a is not None
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
    if target.has_match_expressions:
        yield Obstacle(
            Reason.WORKLOAD_UNSUPPORTED,
            f"Deployment {name} selects its pods by matchExpressions; canaryd needs"
            " spec.selector.matchLabels alone",
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


def _config_obstacles(target: DeploymentView, spec: CanarySpec) -> Iterable[Obstacle]:
    for reference in target.references if spec.config_tracking else ():
        copied = names.config_copy_name(reference.name, "0" * REVISION_CHARS)
        if reference.key not in spec.config_exclude and len(copied) > MAX_SUBDOMAIN:
            kind = "ConfigMap" if reference.kind == "configmap" else "Secret"
            yield Obstacle(
                Reason.WORKLOAD_UNSUPPORTED,
                f"{kind} name {reference.name} is too long: its versioned copies are named"
                f" {names.config_copy_name(reference.name, 'HASH')}, which must fit in"
                f" {MAX_SUBDOMAIN} characters. Name it in canaryd.io/config-exclude to share it",
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


def _autoscaler(
    target: DeploymentView,
    spec: CanarySpec,
    autoscalers: Sequence[ObjectView],
    obstacles: list[Obstacle],
) -> ObjectView | None:
    if spec.autoscaler == "none":
        return None
    for hpa in autoscalers:
        reference = hpa.spec.get("scaleTargetRef") or {}
        named = spec.autoscaler in ("auto", hpa.id.name)
        if (
            named
            and not hpa.is_ours
            and reference.get("kind") == "Deployment"
            and reference.get("name") == target.id.name
        ):
            return hpa
    if spec.autoscaler != "auto":
        obstacles.append(
            Obstacle(
                Reason.WORKLOAD_UNSUPPORTED,
                f"HorizontalPodAutoscaler {spec.autoscaler}, named in canaryd.io/autoscaler, does"
                f" not exist or does not scale Deployment {target.id.name}",
            )
        )
    return None


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


def _conflicts(app: App, taken: Mapping[str, bool]) -> Iterable[Obstacle]:
    for name in wanted_names(app):
        if name in taken and not taken[name]:
            kind, _, bare = name.partition("/")
            yield Obstacle(
                Reason.CONFLICT,
                f"{kind} {bare} exists and is not canaryd's; rename or delete it, or do not enrol"
                f" Deployment {app.target.name}",
            )
