"""What is kept at admission, and from whom: tables of updates, and what is stored after each."""

import copy
from typing import Any

import pytest

from canaryd.core import names
from canaryd.core.keep import CONTROL_PLANE, keep
from tests.fakes.patches import apply_patch

DAEMON = "system:serviceaccount:canaryd:canaryd"
SERVICES = {"group": "", "version": "v1", "kind": "Service"}
DEPLOYMENTS = {"group": "apps", "version": "v1", "kind": "Deployment"}


def request(old: Any, new: Any, user: str = "gitops", **changes: Any) -> dict[str, Any]:
    kind = DEPLOYMENTS if "template" in new.get("spec", {}) else SERVICES
    return {
        "uid": "1",
        "kind": kind,
        "operation": "UPDATE" if old else "CREATE",
        "userInfo": {"username": user, "groups": ["system:authenticated"]},
        "object": new,
        "oldObject": old,
    } | changes


def stored(old: Any, new: Any, user: str = "gitops", **changes: Any) -> Any:
    """The object after admission, which never changes what it was given."""
    before = copy.deepcopy((old, new))
    made = apply_patch(new, keep(request(old, new, user, **changes), daemon=DAEMON))
    assert before == (old, new)
    return made


def apex(**changes: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "app",
            "labels": {names.LABEL_APEX: "app", names.LABEL_TARGET: "app", "team": "shop"},
            "annotations": {names.ORIGINAL_SELECTOR: '{"app":"app"}'},
        },
        "spec": {"selector": {"app": "app-primary"}, "ports": [{"port": 80}]},
    } | changes


def target(
    image: str = "one", *, replicas: int | None = 0, labels: Any = None, **annotations: str
) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": {"containers": [{"image": image}]}}}
    if replicas is not None:
        spec["replicas"] = replicas
    named = {f"{names.INTERNAL}{key}": value for key, value in annotations.items()}
    meta: dict[str, Any] = {"name": "app", "annotations": {"canaryd.io/enabled": "true"} | named}
    if labels:
        meta["labels"] = labels
    return {"metadata": meta, "spec": spec}


def managed(image: str = "one", **changes: Any) -> dict[str, Any]:
    return target(image, **{"managed": "true", "author": "alice"} | changes)


def author(deployment: Any) -> str | None:
    return (deployment["metadata"].get("annotations") or {}).get(names.AUTHOR)


# --- the apex Service ---


@pytest.mark.parametrize(
    "selector",
    [{"app": "app"}, {"app": "app-primary", "tier": "web"}, {}, None],
    ids=["the old one", "one more", "empty", "none"],
)
def test_the_selector_stays_whatever_another_writer_makes_of_it(selector):
    written = apex(
        spec={"ports": [{"port": 81}]} | ({} if selector is None else {"selector": selector})
    )
    made = stored(apex(), written)
    assert {"app": "app-primary"} == made["spec"]["selector"]
    assert [{"port": 81}] == made["spec"]["ports"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "app"},
        {"name": "app", "labels": None, "annotations": None},
        {"name": "app", "labels": {}, "annotations": {}},
        {"name": "app", "labels": {names.LABEL_APEX: "other"}},
        {"name": "app", "annotations": {names.ORIGINAL_SELECTOR: "{}"}},
    ],
)
def test_the_marks_of_an_apex_stay_and_nothing_that_users_write(metadata):
    made = stored(apex(), apex(metadata=metadata))["metadata"]
    assert {names.LABEL_APEX: "app", names.LABEL_TARGET: "app"} == made["labels"]
    assert {names.ORIGINAL_SELECTOR: '{"app":"app"}'} == made["annotations"]


def test_an_update_that_leaves_them_alone_needs_no_patch():
    relabelled = apex(
        metadata=apex()["metadata"] | {"labels": {**apex()["metadata"]["labels"], "a": "b"}}
    )
    assert [] == keep(request(apex(), relabelled), daemon=DAEMON)


def test_another_Service_is_nobodys_business():
    plain = {"metadata": {"name": "x"}, "spec": {"selector": {"app": "x"}}}
    marked = apex(spec={"selector": {"app": "y"}})
    # A mark that a user puts on is no mark of ours: what was there before counts.
    assert marked == stored(plain, marked)


# --- the target ---


@pytest.mark.parametrize("replicas", [3, 1, None])
def test_the_replicas_of_a_target_stay_and_the_rest_goes_through(replicas):
    made = stored(managed(), managed("two", replicas=replicas))
    assert 0 == made["spec"]["replicas"]
    assert [{"image": "two"}] == made["spec"]["template"]["spec"]["containers"]


def test_the_marks_of_a_target_stay():
    old = managed(labels={names.LABEL_TARGET: "app"})
    bare = {"metadata": {"name": "app"}, "spec": managed()["spec"]}
    made = stored(old, bare)["metadata"]
    assert {names.LABEL_TARGET: "app"} == made["labels"]
    assert {names.MANAGED: "true", names.AUTHOR: "alice"} == made["annotations"]


def test_leaving_goes_through():
    written = managed()
    del written["metadata"]["annotations"]["canaryd.io/enabled"]
    assert "canaryd.io/enabled" not in stored(managed(), written)["metadata"]["annotations"]


def test_a_Deployment_that_is_no_target_yet_is_scaled_as_its_owner_says():
    assert 3 == stored(target(), target(replicas=3))["spec"]["replicas"]


# --- who made the template ---


@pytest.mark.parametrize(
    ("old", "new", "noted"),
    [
        (None, target(), "bob"),
        (None, target(author="alice"), "bob"),
        (target(), target("two"), "bob"),
        (managed(), managed("two"), "bob"),
        (managed(), managed("two", author="mallory"), "bob"),
        (managed(), managed(author="bob"), "alice"),
        (managed(), managed(author=""), "alice"),
        (managed(), target(), "alice"),
        (managed(), {"metadata": {}, "spec": managed()["spec"]}, "alice"),
        (managed(), {"metadata": {"annotations": None}, "spec": managed("two")["spec"]}, "bob"),
        (target(), target(author="bob"), None),
        (target(), target(replicas=3), None),
    ],
)
def test_who_changes_the_template_is_noted_and_nobody_else(old, new, noted):
    assert noted == author(stored(old, new, "bob"))


@pytest.mark.parametrize(
    ("old", "new", "noted"),
    [
        (None, {}, None),
        (None, {names.AUTHOR: "bob"}, None),
        ({}, {}, None),
        ({}, {names.AUTHOR: "bob"}, None),
        ({names.AUTHOR: "alice"}, {}, "alice"),
        ({names.AUTHOR: "alice"}, {names.AUTHOR: "bob"}, "alice"),
    ],
)
def test_where_no_app_is_enrolled_nobody_is_noted_and_nobody_can_be(old, new, noted):
    def plain(image, annotations):
        return target(image) | {"metadata": {"annotations": annotations}}

    before = None if old is None else plain("one", old)
    assert noted == author(stored(before, plain("two", new), "bob"))


# --- who writes ---


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (apex(), apex(spec={"selector": {"app": "app"}})),
        (managed(), target("two", replicas=3)),
        (None, target()),
    ],
)
def test_canaryd_writes_what_it_likes(old, new):
    assert new == stored(old, new, DAEMON)


def test_controllers_of_the_cluster_may_scale_but_are_noted_like_everybody():
    groups = {"username": "system:serviceaccount:kube-system:x", "groups": [CONTROL_PLANE]}
    made = stored(managed(), managed("two", replicas=3), userInfo=groups)
    assert 3 == made["spec"]["replicas"]
    assert "system:serviceaccount:kube-system:x" == author(made)


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": "DELETE"},
        {"operation": "CONNECT"},
        {"subResource": "scale"},
        {"subResource": "status"},
        {"kind": {"group": "apps", "version": "v1", "kind": "StatefulSet"}},
        {"kind": {"group": "apps", "version": "v1beta1", "kind": "Deployment"}},
        {"kind": None},
    ],
)
def test_what_is_not_asked_for_passes(changes):
    assert [] == keep(request(managed(), managed("two", replicas=3), **changes), daemon=DAEMON)


@pytest.mark.parametrize(
    "junk",
    [
        {},
        {"object": None, "oldObject": None},
        {"object": [], "oldObject": 1, "userInfo": "x"},
        {"object": {"metadata": [], "spec": 1}, "oldObject": {"metadata": {"labels": 3}}},
        {"userInfo": {"username": None, "groups": 7}},
    ],
)
def test_junk_passes_without_a_fault(junk):
    for kind in (SERVICES, DEPLOYMENTS):
        for operation in ("CREATE", "UPDATE"):
            base = {"kind": kind, "operation": operation}
            assert [] == keep(base | junk, daemon=DAEMON)


def test_a_key_is_escaped_as_a_pointer_wants_it():
    [operation] = keep(request(managed(), managed("two"), "bob"), daemon=DAEMON)
    assert "/metadata/annotations/internal.canaryd.io~1author" == operation["path"]
