"""What works, and will surprise: traps around an app that are told before they cost something.

A caution stops nothing; what must not be done at all is an obstacle (:mod:`discovery`). Each names
the object, what will happen, and what to do.
"""

from collections.abc import Iterable

from canaryd.core import keda, manifests
from canaryd.core.discovery import Surroundings
from canaryd.core.model import IdlePolicy
from canaryd.core.owners import config_problems
from canaryd.core.snapshot import App
from canaryd.core.views import DeploymentView

CAUTIONS_CAP = 10


def cautions_of(
    app: App,
    target: DeploymentView,
    around: Surroundings,
    of_routes: Iterable[str] = (),
    *,
    is_kept: bool,
) -> tuple[str, ...]:
    """Every caution about an app, at most :data:`CAUTIONS_CAP`; ``of_routes`` is what its provider
    of traffic has to say.

    ``is_kept``: selectors and replicas are kept at admission.
    """
    found = [*_other_writers(app, target, is_kept=is_kept), *_budgets(app, target, around)]
    found += _configs(around)
    found += of_routes
    found += _scalers(app, around)
    if app.autoscaler is not None:
        found += [
            f"HorizontalPodAutoscaler {app.autoscaler.id.name}: metric {metric} selects the target"
            f" by {app.label}; the primary's copy has the same selector. Check what it measures"
            for metric in manifests.metrics_of_the_target(app.autoscaler, app.label, app.value)
        ]
    return tuple(dict.fromkeys(found))[:CAUTIONS_CAP]


def _other_writers(app: App, target: DeploymentView, *, is_kept: bool) -> Iterable[str]:
    """A GitOps tool that will put back what canaryd sets, with nothing to keep it (design 2)."""
    if is_kept:
        return
    keeps_pods = app.spec.idle is IdlePolicy.KEEP
    cure = "install canaryd with admission.keep"
    if app.apex.git_selector and not keeps_pods:
        yield (
            f"{app.apex.git_selector} holds the selector of Service {app.apex.id.name} and will put"
            f" it back: users then get no answer until canaryd points it at the primary again."
            f' {cure}, or set canaryd.io/idle: "keep"'
        )
    if target.git_replicas and not keeps_pods:
        yield (
            f"{target.git_replicas} holds spec.replicas of Deployment {target.id.name} and will"
            " start pods that nobody needs at every sync."
            f" {cure}, or leave replicas out of Git, or have the tool ignore the field"
        )


def _configs(around: Surroundings) -> Iterable[str]:
    """What the owner of a config wrote on it and did not mean so."""
    for key, config in sorted(around.configs.items()):
        kind = "ConfigMap" if key.startswith("configmap/") else "Secret"
        for problem in config_problems(config.annotations):
            counts = '; meanwhile it counts as "true"' if problem.value else ""
            yield f"{kind} {config.id.name}: {problem.message}{counts}"


def _scalers(app: App, around: Surroundings) -> Iterable[str]:
    if app.scaler is not None:
        yield from keda.cautions(app.scaler, app.target.name, app.value)
    elif app.spec.autoscaler == "none" and app.spec.idle is IdlePolicy.SCALE_TO_ZERO:
        for scaler in around.scalers or ():
            if not scaler.is_ours and keda.scales(scaler, app.target.name):
                yield (
                    f"ScaledObject {scaler.id.name} scales Deployment {app.target.name} from zero"
                    " between runs whenever a trigger is active, and canaryd scales it back. Leave"
                    ' canaryd.io/autoscaler out, or set canaryd.io/idle: "keep"'
                )


def _budgets(app: App, target: DeploymentView, around: Surroundings) -> Iterable[str]:
    primary = manifests.primary_labels(target, app.label)
    for budget in around.budgets:
        selector = budget.spec.get("selector") or {}
        if budget.is_ours or budget in app.budgets:
            continue
        if manifests.needs_primary_twin(selector, target.template_labels, primary):
            yield (
                f"PodDisruptionBudget {budget.id.name} leaves the primary's pods out in a way that"
                f" cannot be rewritten: they have no budget. Select by {app.label} with matchLabels"
                " or In"
            )
