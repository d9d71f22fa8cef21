"""What canaryd writes for any app: pods of primary and canary never meet, nothing is lost, no name is too long."""

import copy
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from canaryd.core import manifests, names
from canaryd.core.discovery import Surroundings, discover, wanted_names
from canaryd.core.fingerprint import copy_digest
from canaryd.core.model import CanarySpec
from canaryd.core.views import (
    Identity,
    ObjectView,
    deployment_view,
    label_selector_matches,
    selects,
    service_view,
)
from tests.properties.strategies import (
    annotations,
    label_keys,
    label_values,
    labels,
    templates,
    words,
)

OWNER = Identity("shop", "app", "uid")
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
tracking = st.sampled_from(
    [*names.TRACKING_KEYS, *(domain + "x" for domain in names.TRACKING_DOMAINS)]
)
long_values = st.from_regex(LABEL, fullmatch=True) | st.integers(1, 63).map(lambda n: "x" * n)


@st.composite
def apps(draw):
    """A Deployment's template with the selector that selects its pods, and the label to rewrite."""
    template = draw(templates)
    match = draw(st.dictionaries(label_keys, label_values, min_size=1, max_size=2))
    template["metadata"]["labels"] |= match
    return template, match, draw(st.sampled_from(sorted(match)))


def primary_of(template, match, label, **more):
    snapshot = {"template": template, "configs": {}, **more}
    return manifests.primary_manifest(
        snapshot, OWNER, revision="0" * 10, label=label, match_labels=match, replicas=2
    )


# --- the primary ---


@given(apps())
def test_no_selector_of_one_side_selects_pods_of_the_other(app):
    template, match, label = app
    made = primary_of(template, match, label)["spec"]
    pods = made["template"]["metadata"]["labels"]

    assert selects(made["selector"]["matchLabels"], pods)
    assert not selects(match, pods)
    assert not selects(made["selector"]["matchLabels"], template["metadata"]["labels"])


@given(apps())
def test_the_primarys_pods_carry_every_label_but_the_one_as_before(app):
    template, match, label = app
    pods = primary_of(template, match, label)["spec"]["template"]["metadata"]["labels"]
    before = template["metadata"]["labels"]

    assert before | {label: pods[label]} == pods
    assert names.primary_label_value(match[label]) == pods[label]


def inner_selectors(spec):
    """Every label selector in a pod spec that is about the pods' own spread."""
    for constraint in spec.get("topologySpreadConstraints") or ():
        yield constraint.get("labelSelector")
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = (spec.get("affinity") or {}).get(kind) or {}
        for term in rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            yield term.get("labelSelector")
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted["podAffinityTerm"].get("labelSelector")


@given(apps())
def test_a_selector_in_the_template_that_meant_the_apps_own_pods_means_the_primarys(app):
    template, match, label = app
    made = primary_of(template, match, label)["spec"]["template"]
    old, new = template["metadata"]["labels"], made["metadata"]["labels"]

    before, after = inner_selectors(template["spec"]), inner_selectors(made["spec"])
    for was, now in zip(before, after, strict=True):
        excludes = any(
            e["key"] == label and e["operator"] == "NotIn" and new[label] in e["values"]
            for e in (was or {}).get("matchExpressions") or ()
        )
        if was is not None and label_selector_matches(was, old) and not excludes:
            assert label_selector_matches(now, new)


@given(apps())
def test_a_template_loses_and_gains_nothing_else(app):
    template, match, label = app
    before = copy.deepcopy(template)
    made = primary_of(template, match, label)["spec"]["template"]

    assert before == template
    for part in ("topologySpreadConstraints", "affinity"):
        template["spec"].pop(part, None)
        made["spec"].pop(part, None)
    assert template["metadata"]["annotations"] == made["metadata"]["annotations"]
    assert template["spec"] == made["spec"]


@given(apps(), st.dictionaries(tracking | words, words))
def test_no_tracking_mark_reaches_the_primary(app, marks):
    template, match, label = app
    metadata = primary_of(template, match, label, labels=marks)["metadata"]
    ours = {names.LABEL_TARGET, names.LABEL_ROLE, names.MANAGED_BY}

    assert not [key for key in metadata["labels"] if names.is_tracking_key(key) and key not in ours]
    assert {names.REVISION} == set(metadata["annotations"])
    kept = {k: v for k, v in marks.items() if not names.is_tracking_key(k)}
    assert kept.items() <= metadata["labels"].items()


@given(
    apps(),
    st.fixed_dictionaries(
        {},
        optional={
            "maxSurge": st.sampled_from([0, "0%", 1, "25%", "100%"]),
            "maxUnavailable": st.sampled_from([0, 1, "25%", "100%"]),
        },
    ),
)
def test_the_primary_serves_while_it_rolls_and_can_roll(app, rolling):
    template, match, label = app
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    made = primary_of(template, match, label, deployment={"strategy": strategy})["spec"]["strategy"]

    assert 0 == made["rollingUpdate"]["maxUnavailable"]
    assert made["rollingUpdate"]["maxSurge"] not in (0, "0", "0%")


# --- copies ---


def by_name(label, value):
    return {"matchLabels": {label: value}}


def by_list(label, value):
    return {"matchExpressions": [{"key": label, "operator": "In", "values": ["other", value]}]}


@given(st.sampled_from([by_name, by_list]), label_keys, label_values, labels)
def test_a_copied_budget_covers_the_primary_as_the_original_covers_the_target(
    selects_by, label, value, more
):
    more.pop(label, None)
    target = more | {label: value}
    primary = target | {label: names.primary_label_value(value)}
    selector = {"matchLabels": dict(more)} | selects_by(label, value)
    assert manifests.needs_primary_twin(selector, target, primary)
    budget = ObjectView(Identity("shop", "b", "b"), {}, {}, {"selector": selector})

    made = manifests.disruption_budget_copy(budget, OWNER, label, value)["spec"]["selector"]

    assert {"matchLabels": dict(more)} | selects_by(label, value) == budget.spec["selector"]
    assert label_selector_matches(made, primary)
    assert not label_selector_matches(made, target)


@given(
    st.sampled_from(["ConfigMap", "Secret"]),
    st.dictionaries(words, words),
    st.dictionaries(tracking | words, words),
    annotations,
)
def test_a_config_copy_is_exact_and_immutable_and_carries_no_mark(kind, data, marks, notes):
    config = {
        "kind": kind,
        "metadata": {"namespace": "shop", "name": "c", "labels": marks, "annotations": notes},
        "data": data,
        "type": "Opaque",
    }
    before = json.dumps(config)
    made = manifests.config_copy(config, OWNER, "c-1")
    ours = {names.LABEL_TARGET, names.LABEL_ROLE, names.MANAGED_BY}

    assert before == json.dumps(config)
    assert (data, "Opaque", True) == (made["data"], made["type"], made["immutable"])
    assert not [k for k in made["metadata"]["labels"] if names.is_tracking_key(k) and k not in ours]
    assert {names.SOURCE} == set(made["metadata"]["annotations"])


# --- names ---


def a_target(name, pod_spec):
    return deployment_view(
        {
            "metadata": {
                "namespace": "shop",
                "name": name,
                "annotations": {"canaryd.io/enabled": "true"},
            },
            "spec": {
                "selector": {"matchLabels": {"app": "a"}},
                "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod_spec},
            },
        }
    )


def an_apex(name="app"):
    return service_view(
        {
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]},
        }
    )


@given(long_values)
def test_the_primarys_label_value_is_a_valid_one_and_another_one(value):
    made = names.primary_label_value(value)

    assert LABEL.fullmatch(made)
    assert value != made


@given(st.lists(long_values, unique=True, max_size=30), st.text("xy", min_size=56, max_size=56))
def test_two_label_values_never_end_as_one(values, prefix):
    alike = [prefix + end for end in ("", "a", "b", "ab", "1234567")]
    different = sorted({*values, *alike})

    assert len(different) == len({names.primary_label_value(value) for value in different})


@given(st.integers(230, 253), words, words)
def test_the_name_of_a_config_copy_tells_contents_apart_and_is_a_valid_one_or_refused(
    length, one, other
):
    name = "a" * length
    digests = {content: copy_digest("app", "configmap", content) for content in (one, other)}
    copies = {names.config_copy_name(name, digest) for digest in digests.values()}
    reads = {"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": name}}]}]}
    _, obstacles = discover(
        a_target("app", reads), CanarySpec(), Surroundings(services=[an_apex()])
    )

    assert len({one, other}) == len(copies)
    too_long = any(len(copied) > 253 for copied in copies)
    assert too_long == any("is too long" in obstacle.message for obstacle in obstacles)


@given(st.integers(1, 70), st.integers(1, 63), st.integers(1, 253))
def test_every_name_we_want_is_one_the_server_takes_or_an_obstacle_says_why(app, service, ingress):
    target, apex = a_target("a" * app, {}), an_apex("s" * service)
    path = {
        "path": "/",
        "pathType": "Prefix",
        "backend": {"service": {"name": "s" * service, "port": {"number": 80}}},
    }
    main = ObjectView(
        Identity("shop", "i" * ingress, "i"), {}, {}, {"rules": [{"http": {"paths": [path]}}]}
    )
    found, obstacles = discover(
        target, CanarySpec(), Surroundings(services=[apex], ingresses=[main])
    )

    assert (found is None) == bool(obstacles)
    for wanted in wanted_names(found) if found else ():
        kind, _, name = wanted.partition("/")
        assert len(name) <= (253 if kind == "Ingress" else 63)
