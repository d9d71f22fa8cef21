"""What is kept of a Deployment: what costs most to read is read again only when it can have changed."""

from typing import Any

import pytest

from canaryd.core.views import DeploymentView, deployment_view

Manifest = dict[str, Any]


def deployment(image: str = "app:1", *, generation: int = 3, uid: str = "u1") -> Manifest:
    source = {"configMapRef": {"name": f"config-of-{image.replace(':', '-')}"}}
    container = {"name": "app", "image": image, "envFrom": [source]}
    return {
        "metadata": {
            "namespace": "shop",
            "name": "app",
            "uid": uid,
            "generation": generation,
            "annotations": {"canaryd.io/enabled": "true"},
        },
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {
                "metadata": {"labels": {"app": "app"}},
                "spec": {"containers": [container]},
            },
        },
        "status": {"readyReplicas": 1},
    }


def view(manifest: Manifest, earlier: DeploymentView | None = None) -> DeploymentView:
    made = deployment_view(manifest, earlier)
    assert made is not None
    return made


def of_template(made: DeploymentView) -> tuple[Any, ...]:
    return made.fingerprint, made.references


def test_a_template_is_not_read_again_while_the_generation_is_the_same():
    """Shown by a template that changed all the same, as no API server lets it."""
    first = view(deployment("app:1"))
    again = view(deployment("app:2"), first)

    assert of_template(first) == of_template(again)


def test_everything_else_is_read_again():
    first = view(deployment())
    changed = deployment()
    changed["status"] = {"readyReplicas": 2, "observedGeneration": 3}
    changed["metadata"]["labels"] = {"team": "web"}
    changed["metadata"]["resourceVersion"] = "77"
    changed["metadata"]["deletionTimestamp"] = "2026-11-24T20:00:00Z"

    again = view(changed, first)

    assert view(changed) == again
    assert ("77", True, 2, {"team": "web"}) == (
        again.id.resource_version,
        again.id.deleting,
        again.ready,
        again.labels,
    )


def test_a_new_generation_is_read_whole():
    first = view(deployment("app:1"))
    second = deployment("app:2", generation=4)

    assert of_template(view(second)) == of_template(view(second, first))
    assert of_template(first) != of_template(view(second))


def test_a_namesake_of_the_same_generation_is_read_whole():
    first = view(deployment("app:1"))
    second = deployment("app:2", uid="u2")

    assert of_template(view(second)) == of_template(view(second, first))


@pytest.mark.parametrize("missing", ["generation", "uid"])
def test_what_does_not_say_which_state_of_which_object_it_is_is_read_whole(missing):
    manifests = [deployment("app:1"), deployment("app:2")]
    for manifest in manifests:
        del manifest["metadata"][missing]
    first, second = manifests

    assert of_template(view(second)) == of_template(view(second, view(first)))


def test_a_generation_that_went_back_is_read_whole():
    first = view(deployment("app:1", generation=7))
    restored = deployment("app:2", generation=5)

    assert of_template(view(restored)) == of_template(view(restored, first))


def test_a_deployment_that_lost_its_keys_is_of_no_interest_whatever_it_was():
    first = view(deployment())
    left = deployment()
    left["metadata"]["annotations"] = {}

    assert deployment_view(left, first) is None
