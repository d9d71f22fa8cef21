"""What users and strangers can put in canaryd's way: one value per trouble, with how it is caused and how it is mended.

The scenarios of bad input walk this table; what must be true of all of it (said clearly, nothing touched, healed by
itself, nobody else held up) is written once, there. Every app here uses a ConfigMap and a Secret.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from canaryd.core import names
from canaryd.core.fingerprint import (
    content_fingerprint,
    copy_digest,
    revision_of,
    template_fingerprint,
)
from canaryd.core.kinds import (
    CANARY,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    HORIZONTAL_POD_AUTOSCALER,
    INGRESS,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SECRET,
    SERVICE,
    Kind,
)
from canaryd.core.reasons import Reason
from tests.scenarios.harness import NAMESPACE, Story, ingress, plan, service

Act = Callable[[Story, str], None]
"""Something done to the world for the app of this name."""


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong.

    Args:
        name: in the test's id.
        reason: the word for it, in condition, Event and journal.
        says: what the message must contain; ``{app}`` stands for the app's name.
        cause: brings it about.
        repair: what the person does who read the message.
    """

    name: str
    reason: Reason
    says: tuple[str, ...]
    cause: Act
    repair: Act

    def __str__(self) -> str:
        return self.name

    def words(self, app: str) -> list[str]:
        return [text.format(app=app) for text in self.says]


# --- the world ----------------------------------------------------------------------------------


def deploy(told: Story, name: str = "app", **annotations: str | None) -> None:
    """An app that uses a ConfigMap and a Secret."""
    told.server.put(config("ConfigMap", f"{name}-settings", {"colour": "blue"}))
    told.server.put(config("Secret", f"{name}-keys", {"key": "c2VjcmV0"}))
    container = {
        "name": "app",
        "image": "app:1",
        "ports": [{"containerPort": 8080}],
        "envFrom": [
            {"configMapRef": {"name": f"{name}-settings"}},
            {"secretRef": {"name": f"{name}-keys"}},
        ],
    }
    told.deploy(
        name,
        annotations=plan(**annotations),
        host=f"{name}.test",
        pod_spec={"containers": [container]},
    )


def config(kind: str, name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": meta(name), "data": data}


def meta(name: str) -> dict[str, Any]:
    return {"namespace": NAMESPACE, "name": name}


def belongings(told: Story) -> dict[str, Any]:
    """Everything in the namespace that a user made, as it stands, its status aside."""
    found = {}
    for kind in told.server.store.kinds:
        if kind in (CANARY, REPLICA_SET, ENDPOINT_SLICE) or not kind.namespaced:
            continue
        for obj in told.server.objects(kind, NAMESPACE):
            kept = {k: v for k, v in obj.items() if k not in ("metadata", "status")}
            for part in ("labels", "annotations", "ownerReferences", "finalizers"):
                kept[part] = obj["metadata"].get(part) or {}
            kept["annotations"] = without_controllers_marks(kept["annotations"])
            found[f"{kind.kind}/{obj['metadata']['name']}"] = kept
    return found


def without_controllers_marks(annotations: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in annotations.items() if not k.startswith("deployment.kubernetes.io/")}


def edit(kind: Kind, suffix: str, change: Callable[[dict[str, Any]], None]) -> Act:
    """Change the object ``<app><suffix>``."""

    def act(told: Story, app: str) -> None:
        told.server.edit(kind, NAMESPACE, app + suffix, change)

    return act


def put(make: Callable[[str], dict[str, Any]]) -> Act:
    def act(told: Story, app: str) -> None:
        told.server.put(make(app))

    return act


def remove(kind: Kind, suffix: str) -> Act:
    def act(told: Story, app: str) -> None:
        told.server.remove(kind, NAMESPACE, app + suffix)

    return act


def both(*acts: Act) -> Act:
    def act(told: Story, app: str) -> None:
        for one in acts:
            one(told, app)

    return act


def annotate(**values: str | None) -> Act:
    def act(told: Story, app: str) -> None:
        told.annotate(app, **values)

    return act


# --- bad annotations ----------------------------------------------------------------------------


CONFIGURATION = (
    Trouble(
        "an unknown key",
        Reason.CONFIG_INVALID,
        ("canaryd.io/wieghts", "not a known key", "canaryd.io/weights"),
        annotate(wieghts="5,50"),
        annotate(wieghts=None),
    ),
    Trouble(
        "a bad value",
        Reason.CONFIG_INVALID,
        ("canaryd.io/interval", '"10 minutes"', "10m"),
        annotate(interval="10 minutes"),
        annotate(interval="10s"),
    ),
    Trouble(
        "several errors",
        Reason.CONFIG_INVALID,
        ("canaryd.io/interval", "canaryd.io/weights", "canaryd.io/colour"),
        annotate(interval="soon", weights="50,20", colour="blue"),
        annotate(interval="10s", weights="20,50", colour=None),
    ),
)

# --- what is missing, doubled or shaped in a way that cannot be worked with ------------------------


def _second_service(app: str) -> dict[str, Any]:
    return service(f"{app}-too", {"app": app})


def _only_paths(ingress: dict[str, Any]) -> None:
    ingress["spec"]["rules"] = [r for r in ingress["spec"]["rules"] if r.get("http")]


def _add_empty_rule(ingress: dict[str, Any]) -> None:
    ingress["spec"]["rules"].append({"host": "empty.test"})


def _make_recreate(deployment: dict[str, Any]) -> None:
    deployment["spec"]["strategy"] = {"type": "Recreate"}


def _make_rolling(deployment: dict[str, Any]) -> None:
    deployment["spec"]["strategy"] = {"type": "RollingUpdate"}


def _pause(deployment: dict[str, Any]) -> None:
    deployment["spec"]["paused"] = True


def _resume(deployment: dict[str, Any]) -> None:
    del deployment["spec"]["paused"]


def network_policy(name: str, selector: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(name),
        "spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [{}]},
    }


def _narrow_policy(app: str) -> dict[str, Any]:
    other = {"key": "app", "operator": "NotIn", "values": [f"{app}-primary"]}
    named = {"key": "app", "operator": "Exists"}
    return network_policy(f"{app}-guard", {"matchExpressions": [other, named]})


def _ingress(app: str) -> dict[str, Any]:
    return ingress(app, f"{app}.test")


def _own_canary(app: str) -> dict[str, Any]:
    made = ingress(f"{app}-by-hand", f"{app}.test")
    made["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/canary": "true"}
    made["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "preview"
    return made


SURROUNDINGS = (
    Trouble(
        "no Service",
        Reason.SERVICE_NOT_FOUND,
        ("no Service", "Deployment {app}"),
        remove(SERVICE, ""),
        put(lambda app: service(app, {"app": app})),
    ),
    Trouble(
        "two Services",
        Reason.SERVICE_AMBIGUOUS,
        ("{app}, {app}-too", "canaryd.io/service"),
        put(_second_service),
        remove(SERVICE, "-too"),
    ),
    Trouble(
        "no Ingress",
        Reason.INGRESS_NOT_FOUND,
        ("no Ingress", "Service {app}"),
        remove(INGRESS, ""),
        put(_ingress),
    ),
    Trouble(
        "an Ingress rule without paths",
        Reason.INGRESS_INVALID,
        ("Ingress {app}", "empty.test", "no http paths"),
        edit(INGRESS, "", _add_empty_rule),
        edit(INGRESS, "", _only_paths),
    ),
    Trouble(
        "a canary Ingress made by hand",
        Reason.INGRESS_INVALID,
        ("Ingress {app}", "Ingress {app}-by-hand", "only the oldest counts"),
        put(_own_canary),
        remove(INGRESS, "-by-hand"),
    ),
    Trouble(
        "no ConfigMap",
        Reason.CONFIG_MISSING,
        ("ConfigMap {app}-settings", "Deployment {app}"),
        remove(CONFIG_MAP, "-settings"),
        put(lambda app: config("ConfigMap", f"{app}-settings", {"colour": "blue"})),
    ),
    Trouble(
        "no Secret",
        Reason.CONFIG_MISSING,
        ("Secret {app}-keys", "Deployment {app}"),
        remove(SECRET, "-keys"),
        put(lambda app: config("Secret", f"{app}-keys", {"key": "c2VjcmV0"})),
    ),
    Trouble(
        "strategy Recreate",
        Reason.WORKLOAD_UNSUPPORTED,
        ("Deployment {app}", "Recreate"),
        edit(DEPLOYMENT, "", _make_recreate),
        edit(DEPLOYMENT, "", _make_rolling),
    ),
    Trouble(
        "paused",
        Reason.WORKLOAD_UNSUPPORTED,
        ("Deployment {app}", "paused", "kubectl rollout resume"),
        edit(DEPLOYMENT, "", _pause),
        edit(DEPLOYMENT, "", _resume),
    ),
    Trouble(
        "a NetworkPolicy that cannot be copied",
        Reason.NETWORK_POLICY_UNMATCHED,
        ("NetworkPolicy {app}-guard", "{app}-primary"),
        put(_narrow_policy),
        remove(NETWORK_POLICY, "-guard"),
    ),
)

# --- what only another object can mend ------------------------------------------------------------


def deployment_of(told: Story, app: str) -> dict[str, Any]:
    """The app's Deployment as its team would write it again."""
    found = told.server.object(DEPLOYMENT, NAMESPACE, app)
    kept = {"namespace": NAMESPACE, "name": app, "annotations": found["metadata"]["annotations"]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": kept, "spec": found["spec"]}


def remade(change: Callable[[dict[str, Any]], None]) -> Act:
    """Delete the Deployment and make it anew, changed."""

    def act(told: Story, app: str) -> None:
        made = deployment_of(told, app)
        change(made)
        told.server.remove(DEPLOYMENT, NAMESPACE, app)
        told.server.put(made)

    return act


def _select_by_expression(deployment: dict[str, Any]) -> None:
    primary = f"{deployment['metadata']['name']}-primary"
    expression = {"key": "app", "operator": "NotIn", "values": [primary]}
    deployment["spec"]["selector"]["matchExpressions"] = [expression]


def _select_by_labels(deployment: dict[str, Any]) -> None:
    del deployment["spec"]["selector"]["matchExpressions"]


def _point_at(told: Story, app: str, old: str, new: str) -> None:
    """Give the Service another name, and let the Ingress lead to it."""
    told.server.remove(SERVICE, NAMESPACE, old)
    told.server.put(service(new, {"app": app}))

    def change(found: dict[str, Any]) -> None:
        found["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = new

    told.server.edit(INGRESS, NAMESPACE, app, change)


LONG_SERVICE = "s" * 60
LONG_CONFIG = ".".join(["c" * 62] * 4)


def _use_long_config(told: Story, app: str) -> None:
    told.server.put(config("ConfigMap", LONG_CONFIG, {"colour": "green"}))

    def change(found: dict[str, Any]) -> None:
        sources = found["spec"]["template"]["spec"]["containers"][0]["envFrom"]
        sources.append({"configMapRef": {"name": LONG_CONFIG}})

    told.server.edit(DEPLOYMENT, NAMESPACE, app, change)


SHAPES = (
    Trouble(
        "matchExpressions",
        Reason.WORKLOAD_UNSUPPORTED,
        ("Deployment {app} leaves out app={app}-primary", "matchExpressions", "selector-label"),
        remade(_select_by_expression),
        remade(_select_by_labels),
    ),
    Trouble(
        "a Service whose name is too long",
        Reason.WORKLOAD_UNSUPPORTED,
        (f"Service name {LONG_SERVICE} is too long", "63 characters"),
        lambda told, app: _point_at(told, app, app, LONG_SERVICE),
        lambda told, app: _point_at(told, app, LONG_SERVICE, app),
    ),
    Trouble(
        "a ConfigMap whose name is too long",
        Reason.WORKLOAD_UNSUPPORTED,
        (f"ConfigMap name {LONG_CONFIG} is too long", "canaryd.io/config-exclude"),
        _use_long_config,
        annotate(config_exclude=f"configmap/{LONG_CONFIG}"),
    ),
)

# --- names that are taken -----------------------------------------------------------------------


def foreign_deployment(name: str) -> dict[str, Any]:
    labels = {"app": f"foreign-{name}"}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "foreign:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name),
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
    }


def foreign_ingress(name: str) -> dict[str, Any]:
    path = {
        "path": "/foreign",
        "pathType": "Prefix",
        "backend": {"service": {"name": "foreign", "port": {"number": 80}}},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta(name),
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{"host": f"{name}.foreign", "http": {"paths": [path]}}],
        },
    }


def autoscaler(name: str, target: str) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta(name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 2,
            "maxReplicas": 4,
        },
    }


def budget(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    }


def _foreign_policy(app: str) -> dict[str, Any]:
    return network_policy(f"{app}-primary", {"matchLabels": {"app": "foreign"}})


def _own_policy(app: str) -> dict[str, Any]:
    return network_policy(app, {"matchLabels": {"app": app}})


def taken(kind: Kind, suffix: str, cause: Act) -> Trouble:
    says = (f"{kind.kind} {{app}}{suffix}", "not canaryd's", "rename or delete it")
    name = f"{kind.kind} app{suffix} is somebody else's"
    return Trouble(name, Reason.CONFLICT, says, cause, remove(kind, suffix))


TAKEN_NAMES = (
    taken(DEPLOYMENT, "-primary", put(lambda app: foreign_deployment(f"{app}-primary"))),
    taken(SERVICE, "-primary", put(lambda app: service(f"{app}-primary", {"app": "foreign"}))),
    taken(SERVICE, "-canary", put(lambda app: service(f"{app}-canary", {"app": "foreign"}))),
    taken(INGRESS, "-canary", put(lambda app: foreign_ingress(f"{app}-canary"))),
    taken(
        HORIZONTAL_POD_AUTOSCALER,
        "-primary",
        both(
            put(lambda app: autoscaler(f"{app}-primary", "foreign")),
            put(lambda app: autoscaler(app, app)),
        ),
    ),
    taken(
        POD_DISRUPTION_BUDGET,
        "-primary",
        both(
            put(lambda app: budget(f"{app}-primary", {"app": "foreign"})),
            put(lambda app: budget(app, {"app": app})),
        ),
    ),
    taken(NETWORK_POLICY, "-primary", both(put(_foreign_policy), put(_own_policy))),
)


# --- names that only a look at the contents tells -------------------------------------------------


def config_copy_name(told: Story, app: str) -> str:
    """Name of the copy that the app's ConfigMap gets, as it is now."""
    name = f"{app}-settings"
    content = content_fingerprint(told.server.object(CONFIG_MAP, NAMESPACE, name))
    return names.config_copy_name(name, copy_digest(app, "configmap", content))


def snapshot_name(told: Story, app: str, image: str = "") -> str:
    """Name of the ControllerRevision of the app as it is now, or would be with another image."""
    template = told.server.object(DEPLOYMENT, NAMESPACE, app)["spec"]["template"]
    if image:
        template["spec"]["containers"][0]["image"] = image
    contents = {
        key: content_fingerprint(told.server.object(kind, NAMESPACE, key.partition("/")[2]))
        for key, kind in ((f"configmap/{app}-settings", CONFIG_MAP), (f"secret/{app}-keys", SECRET))
    }
    return names.snapshot_name(app, revision_of(template_fingerprint(template), contents))


def _take_copy(told: Story, app: str) -> None:
    told.server.put(config("ConfigMap", config_copy_name(told, app), {"colour": "red"}))


def _free_copy(told: Story, app: str) -> None:
    told.server.remove(CONFIG_MAP, NAMESPACE, config_copy_name(told, app))


def take_snapshot_name(told: Story, app: str, image: str = "") -> None:
    told.server.put(
        {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": meta(snapshot_name(told, app, image)),
            "revision": 1,
            "data": {},
        }
    )


def free_snapshot_name(told: Story, app: str, image: str = "") -> None:
    told.server.remove(CONTROLLER_REVISION, NAMESPACE, snapshot_name(told, app, image))


HIDDEN_NAMES = (
    Trouble(
        "a config copy's name is taken",
        Reason.CONFLICT,
        ("ConfigMap {app}-settings-", "not canaryd's", "rename or delete it"),
        _take_copy,
        _free_copy,
    ),
    Trouble(
        "a ControllerRevision's name is taken",
        Reason.CONFLICT,
        ("ControllerRevision {app}-canaryd-", "not canaryd's", "rename or delete it"),
        take_snapshot_name,
        free_snapshot_name,
    ),
)
