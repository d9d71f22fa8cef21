"""What an app needs around it, by provider: nobody is asked for routes that his provider does not use."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from canaryd.core import views
from canaryd.core.discovery import Surroundings, discover, wanted_names
from canaryd.core.kinds import TRAFFIC_SPLIT_V1ALPHA2
from canaryd.core.model import CanarySpec, Provider
from canaryd.core.reasons import Reason
from canaryd.core.snapshot import App, Obstacle
from canaryd.core.views import ObjectView, object_view
from tests.scenarios.manifests import NAMESPACE, deployment, service

LABELS = {"app": "app"}


def discovered(
    provider: Provider, splits: Sequence[ObjectView] = (), **around: Any
) -> tuple[App | None, tuple[Obstacle, ...]]:
    """An app with a Service and nothing else, but for what ``around`` says."""
    made = deployment(
        "app",
        image="app:1",
        replicas=2,
        annotations={"canaryd.io/enabled": "true"},
        pod_spec=None,
        labels=LABELS,
    )
    target = views.deployment_view({**made, "metadata": {**made["metadata"], "uid": "uid-app"}})
    assert target is not None
    seen = Surroundings(services=[views.service_view(service("app", LABELS))], **around)
    found = replace(seen, traffic_splits=splits)
    return discover(target, CanarySpec(provider=provider), found)


def split(name: str, apex: str, labels: dict[str, str] | None = None) -> ObjectView:
    return object_view(
        {
            "apiVersion": TRAFFIC_SPLIT_V1ALPHA2.api_version,
            "kind": TRAFFIC_SPLIT_V1ALPHA2.kind,
            "metadata": {"namespace": NAMESPACE, "name": name, "labels": labels or {}},
            "spec": {"service": apex, "backends": []},
        }
    )


@pytest.mark.parametrize("provider", [Provider.SMI, Provider.NONE])
def test_a_Service_is_enough_where_there_is_no_route_of_the_users(provider):
    app, obstacles = discovered(provider)

    assert () == obstacles
    assert app is not None
    assert ((), ()) == (app.ingresses, app.http_routes)


def test_with_nginx_the_same_app_lacks_an_ingress():
    app, obstacles = discovered(Provider.NGINX)

    assert app is None
    assert [Reason.INGRESS_NOT_FOUND] == [o.reason for o in obstacles]


def test_the_split_is_among_the_names_that_are_wanted_with_smi_and_with_nothing_else():
    for provider in (Provider.SMI, Provider.NONE):
        app, _ = discovered(provider)
        assert app is not None
        assert (provider is Provider.SMI) == ("TrafficSplit/app" in wanted_names(app))


def test_a_split_of_somebody_elses_under_our_name_is_a_conflict():
    taken = {"TrafficSplit/app": False}
    app, [obstacle] = discovered(Provider.SMI, taken=taken)

    assert app is None
    assert Reason.CONFLICT is obstacle.reason
    assert "TrafficSplit app exists and is not canaryd's" in obstacle.message
    assert () == discovered(Provider.NONE, taken=taken)[1]


def test_another_split_of_the_same_Service_is_a_conflict_whatever_its_name():
    _, [obstacle] = discovered(Provider.SMI, [split("theirs", "app")])

    assert Reason.CONFLICT is obstacle.reason
    assert "TrafficSplit theirs splits Service app already" in obstacle.message


@pytest.mark.parametrize(
    "splits",
    [
        [split("theirs", "other")],
        [split("app", "app", {"app.kubernetes.io/managed-by": "canaryd"})],
        [split("old", "app", {"app.kubernetes.io/managed-by": "canaryd"})],
    ],
    ids=["of another Service", "ours", "ours, of an earlier apex"],
)
def test_splits_that_are_none_of_its_business_stand_in_nobodys_way(splits):
    assert () == discovered(Provider.SMI, splits)[1]
