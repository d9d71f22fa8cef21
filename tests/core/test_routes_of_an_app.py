"""Which routes belong to an app: those of its provider, found by the Service they lead to or by their name."""

import pytest

from canaryd.core import views
from canaryd.core.discovery import Surroundings, discover
from canaryd.core.model import CanarySpec, Provider
from canaryd.core.routing import Match, MatchKind

META = {"namespace": "shop", "uid": "u", "generation": 1}
TARGET = views.deployment_view(
    {
        "metadata": {**META, "name": "app", "annotations": {"canaryd.io/enabled": "true"}},
        "spec": {
            "selector": {"matchLabels": {"app": "app"}},
            "template": {"metadata": {"labels": {"app": "app"}}, "spec": {"containers": []}},
        },
    }
)
APEX = views.service_view(
    {
        "metadata": {**META, "name": "app"},
        "spec": {"selector": {"app": "app"}, "ports": [{"port": 80}]},
    }
)


def a_route(name, *backends, **rule):
    references = [{"name": backend, "port": 80} for backend in backends]
    return views.http_route_view(
        {
            "metadata": {**META, "name": name},
            "spec": {"rules": [{"backendRefs": references, **rule}]},
        }
    )


def an_ingress(name, backend):
    path = {"path": "/", "backend": {"service": {"name": backend, "port": {"number": 80}}}}
    return views.object_view(
        {"metadata": {**META, "name": name}, "spec": {"rules": [{"http": {"paths": [path]}}]}}
    )


def found(spec, *, routes=(), ingresses=()):
    """Names of the routes, and what stands in the way."""
    around = Surroundings(services=[APEX], ingresses=list(ingresses), http_routes=routes)
    app, obstacles = discover(TARGET, spec, around)
    listed = [r.id.name for r in (*app.http_routes, *app.ingresses)] if app else []
    return listed, [(str(o.reason), o.message) for o in obstacles]


def gateway(**changes):
    return CanarySpec(provider=Provider.GATEWAY, **changes)


def test_every_route_that_leads_to_the_service_belongs_to_the_app_in_the_order_of_names():
    routes = [a_route("web", "app"), a_route("other", "third"), a_route("api", "app")]

    assert (["api", "web"], []) == found(gateway(), routes=routes)


def test_a_route_that_is_named_is_the_only_one():
    routes = [a_route("web", "app"), a_route("api", "app")]

    assert (["api"], []) == found(gateway(routes=("api",)), routes=routes)


@pytest.mark.parametrize(
    ("spec", "routes", "reason", "words"),
    [
        (gateway(), [a_route("x", "third")], "RouteNotFound", "no HTTPRoute in namespace shop has"),
        (gateway(), None, "RouteNotFound", "is not installed in this cluster"),
        (
            gateway(routes=("lost",)),
            [a_route("web", "app")],
            "RouteNotFound",
            "HTTPRoute lost, named in canaryd.io/route, does not exist",
        ),
        (
            gateway(routes=("x",)),
            [a_route("x", "third")],
            "RouteInvalid",
            "no rule with Service app",
        ),
        (
            gateway(matches=(Match(MatchKind.HEADER, "x-canary"),)),
            [a_route("x", "app", matches=[{"headers": [{"name": "X-Canary", "value": "1"}]}])],
            "RouteInvalid",
            "looks at the header",
        ),
        (gateway(), [a_route("x", "app", "third")], "RouteInvalid", "also leads to third"),
    ],
    ids=["none", "no such kind", "lost", "leads elsewhere", "a header twice", "shared"],
)
def test_what_stands_in_the_way_is_one_sentence_with_a_name(spec, routes, reason, words):
    listed, [(given, message)] = found(spec, routes=routes)

    assert ([], reason) == (listed, given)
    assert words in message


@pytest.mark.parametrize("provider", [Provider.SMI, Provider.NONE, Provider.GATEWAY])
def test_no_other_provider_asks_for_an_ingress_or_takes_one(provider):
    spec, routes = CanarySpec(provider=provider), [a_route("web", "app")]
    listed, obstacles = found(spec, routes=routes, ingresses=[an_ingress("web", "app")])

    assert [] == obstacles
    assert (["web"] if provider is Provider.GATEWAY else []) == listed


def test_ingresses_need_no_routes():
    ingresses = [an_ingress("web", "app")]

    assert (["web"], []) == found(CanarySpec(), routes=None, ingresses=ingresses)
