"""Objects as users write them: pod templates with every place that names a config, selectors, labels.

Small alphabets on purpose: what collides in practice (a label that is also a value, a config named twice) has to
collide here within a few examples.
"""

from hypothesis import strategies as st

words = st.sampled_from(["a", "b", "app", "web", "x1"])
label_keys = st.sampled_from(["app", "name", "app.kubernetes.io/name", "team", "tier"])
label_values = st.sampled_from(["a", "b", "web", "a-primary", "x" * 63])
labels = st.dictionaries(label_keys, label_values, max_size=3)
config_names = st.sampled_from(["settings", "flags", "ca", "long.dotted.name"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("aB é\n", max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=5,
)
unknown_fields = st.dictionaries(st.sampled_from(["newField", "other"]), json_values, max_size=1)


def _reference(field):
    optional = st.fixed_dictionaries({}, optional={"optional": st.booleans()})
    return st.builds(lambda name, more: {field: name, **more}, config_names, optional)


def _keyed(field):
    return _reference(field).map(lambda reference: {**reference, "key": "k"})


variables = st.one_of(
    st.just({"name": "PLAIN", "value": "settings"}),
    _keyed("name").map(lambda r: {"name": "V", "valueFrom": {"configMapKeyRef": r}}),
    _keyed("name").map(lambda r: {"name": "V", "valueFrom": {"secretKeyRef": r}}),
    st.just({"name": "V", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
)
sources = st.one_of(
    _reference("name").map(lambda r: {"prefix": "P_", "configMapRef": r}),
    _reference("name").map(lambda r: {"secretRef": r}),
)
projected = st.one_of(
    _reference("name").map(lambda r: {"configMap": r}),
    _reference("name").map(lambda r: {"secret": r}),
    st.just({"serviceAccountToken": {"path": "token"}}),
)
volumes = st.one_of(
    _reference("name").map(lambda r: {"name": "v", "configMap": r}),
    _reference("secretName").map(lambda r: {"name": "v", "secret": r}),
    st.lists(projected, max_size=3).map(lambda s: {"name": "v", "projected": {"sources": s}}),
    st.just({"name": "v", "emptyDir": {}}),
)
containers = st.builds(
    lambda name, env, env_from, more: {"name": name, "env": env, "envFrom": env_from, **more},
    words,
    st.lists(variables, max_size=3),
    st.lists(sources, max_size=2),
    unknown_fields,
)
label_selectors = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": labels,
        "matchExpressions": st.lists(
            st.fixed_dictionaries(
                {
                    "key": label_keys,
                    "operator": st.sampled_from(["In", "NotIn", "Exists"]),
                    "values": st.lists(label_values, max_size=2),
                }
            ),
            max_size=2,
        ),
    },
)
affinity_terms = st.fixed_dictionaries(
    {"topologyKey": words}, optional={"labelSelector": label_selectors}
)
pod_affinities = st.fixed_dictionaries(
    {},
    optional={
        "requiredDuringSchedulingIgnoredDuringExecution": st.lists(affinity_terms, max_size=2),
        "preferredDuringSchedulingIgnoredDuringExecution": st.lists(
            affinity_terms.map(lambda term: {"weight": 1, "podAffinityTerm": term}), max_size=2
        ),
    },
)
pod_specs = st.builds(
    lambda parts, more: parts | more,
    st.fixed_dictionaries(
        {"containers": st.lists(containers, min_size=1, max_size=2)},
        optional={
            "initContainers": st.lists(containers, max_size=2),
            "ephemeralContainers": st.lists(containers, max_size=1),
            "volumes": st.lists(volumes, max_size=3),
            "imagePullSecrets": st.just([{"name": "settings"}]),
            "topologySpreadConstraints": st.lists(affinity_terms, max_size=2),
            "affinity": st.fixed_dictionaries(
                {}, optional={"podAffinity": pod_affinities, "podAntiAffinity": pod_affinities}
            ),
        },
    ),
    unknown_fields,
)
annotations = st.dictionaries(
    st.sampled_from(
        [
            "canaryd.io/interval",
            "internal.canaryd.io/managed",
            "kubectl.kubernetes.io/restartedAt",
            "prometheus.io/scrape",
        ]
    ),
    words,
    max_size=3,
)
templates = st.builds(
    lambda labels, annotations, spec: {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": spec,
    },
    labels,
    annotations,
    pod_specs,
)
