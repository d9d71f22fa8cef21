import re

import pytest

from canaryd.core.model import Dialect, Side, TrafficIdentity
from canaryd.metrics.builtin_queries import (
    select_latencies,
    select_requests,
    select_targets,
)

ONE = TrafficIdentity(
    namespace="shop",
    target="podinfo",
    apex="podinfo",
    canary_service="podinfo-canary",
    primary_service="podinfo-primary",
    ingresses=(("podinfo", "podinfo", "80"),),
)
ROUTED = TrafficIdentity(
    namespace="shop",
    target="podinfo",
    apex="web",
    canary_service="web-canary",
    primary_service="web-primary",
    ingresses=(),
    routes=("public.v2",),
    ports=("80", "9898"),
)
TWO = TrafficIdentity(
    namespace="shop",
    target="podinfo",
    apex="podinfo",
    canary_service="podinfo-canary",
    primary_service="podinfo-primary",
    ingresses=(("public.v2", "podinfo", "http"), ("partner", "podinfo", "80")),
)


@pytest.mark.parametrize(
    ("dialect", "identity", "side", "expected"),
    [
        (
            Dialect.TRAEFIK,
            ONE,
            Side.CANARY,
            (
                "traefik_service_requests_total{"
                'exported_service="shop-podinfo-podinfo-80-canary@kubernetesingressnginx"}'
                " or traefik_service_requests_total{"
                'service="shop-podinfo-podinfo-80-canary@kubernetesingressnginx",exported_service=""}'
            ),
        ),
        (
            Dialect.TRAEFIK,
            ONE,
            Side.PRIMARY,
            (
                "traefik_service_requests_total{"
                'exported_service="shop-podinfo-podinfo-80@kubernetesingressnginx"}'
                " or traefik_service_requests_total{"
                'service="shop-podinfo-podinfo-80@kubernetesingressnginx",exported_service=""}'
            ),
        ),
        (
            Dialect.TRAEFIK,
            TWO,
            Side.CANARY,
            (
                "traefik_service_requests_total{exported_service=~"
                '"shop-public-v2-podinfo-http-canary@kubernetesingressnginx'
                '|shop-partner-podinfo-80-canary@kubernetesingressnginx"}'
                " or traefik_service_requests_total{service=~"
                '"shop-public-v2-podinfo-http-canary@kubernetesingressnginx'
                '|shop-partner-podinfo-80-canary@kubernetesingressnginx",exported_service=""}'
            ),
        ),
        (
            Dialect.INGRESS_NGINX,
            ONE,
            Side.CANARY,
            (
                'nginx_ingress_controller_requests{ingress="podinfo",'
                'canary="shop-podinfo-canary-80",exported_namespace="shop"}'
                ' or nginx_ingress_controller_requests{ingress="podinfo",'
                'canary="shop-podinfo-canary-80",namespace="shop",exported_namespace=""}'
            ),
        ),
        (
            Dialect.HIGRESS,
            ONE,
            Side.CANARY,
            (
                r'envoy_cluster_upstream_rq{cluster_name=~"outbound\\|80\\|[^|]*\\|'
                r'podinfo-canary\\.shop\\.svc\\..*",response_code_class!=""}'
            ),
        ),
        (
            Dialect.HIGRESS,
            ONE,
            Side.PRIMARY,
            (
                r'envoy_cluster_upstream_rq{cluster_name=~"outbound\\|80\\|[^|]*\\|'
                r'podinfo\\.shop\\.svc\\..*",response_code_class!=""}'
            ),
        ),
        (
            Dialect.TRAEFIK_GATEWAY,
            ROUTED,
            Side.CANARY,
            (
                "traefik_service_requests_total{exported_service=~"
                r'"httproute-shop-public-v2-gw-.*-svc-shop-web-canary-[0-9]+@kubernetesgateway"}'
                " or traefik_service_requests_total{service=~"
                r'"httproute-shop-public-v2-gw-.*-svc-shop-web-canary-[0-9]+@kubernetesgateway",'
                'exported_service=""}'
            ),
        ),
        (
            Dialect.KGATEWAY,
            ROUTED,
            Side.CANARY,
            (
                "envoy_cluster_upstream_rq{envoy_cluster_name=~"
                '"kube_shop_web-canary_80|kube_shop_web-canary_9898",envoy_response_code!=""}'
            ),
        ),
        (
            Dialect.CONTOUR,
            ROUTED,
            Side.PRIMARY,
            (
                "envoy_cluster_upstream_rq{envoy_cluster_name=~"
                '"shop_web_80|shop_web_9898",envoy_response_code!=""}'
            ),
        ),
        (
            Dialect.ISTIO,
            ROUTED,
            Side.PRIMARY,
            (
                'istio_requests_total{reporter="destination",'
                'destination_workload="podinfo-primary",destination_workload_namespace="shop"}'
            ),
        ),
        (
            Dialect.ISTIO_AMBIENT,
            ROUTED,
            Side.CANARY,
            (
                'istio_requests_total{reporter="waypoint",'
                'destination_workload="podinfo",destination_workload_namespace="shop"}'
            ),
        ),
        (
            Dialect.LINKERD,
            ROUTED,
            Side.CANARY,
            (
                'response_total{direction="inbound",deployment="podinfo",namespace="shop",'
                'route_name!="probe",target_addr!~".*:4191"}'
            ),
        ),
    ],
    ids=[
        "Traefik, canary",
        "Traefik, primary",
        "Traefik, two Ingresses, a dot in a name becomes a dash",
        "ingress-nginx, canary",
        "Higress, canary",
        "Higress, primary is the apex",
        "Traefik's Gateway, by route and backend",
        "kgateway, every port",
        "Contour, primary is the apex",
        "Istio, as the receiving sidecar reports",
        "Istio without sidecars",
        "Linkerd, as the receiving proxy counts",
    ],
)
def test_each_data_plane_has_its_own_words(dialect, identity, side, expected):
    assert expected == select_requests(dialect, identity, side, {}).expression


def test_the_primary_of_ingress_nginx_is_what_is_not_canary_in_every_spelling():
    expression = select_requests(Dialect.INGRESS_NGINX, TWO, Side.PRIMARY, {}).expression
    fixed = r'ingress=~"public\\.v2|partner",canary=""'
    namespaces = ('exported_namespace="shop"', 'namespace="shop",exported_namespace=""')
    services = ('exported_service="podinfo"', 'service="podinfo",exported_service=""')
    assert {
        f"nginx_ingress_controller_requests{{{fixed},{namespace},{service}}}"
        for namespace in namespaces
        for service in services
    } == set(expression.split(" or "))


@pytest.mark.parametrize(
    ("dialect", "metric", "filter_", "edges_per_s"),
    [
        (
            Dialect.INGRESS_NGINX,
            "nginx_ingress_controller_response_duration_seconds_bucket",
            'status!~"5.."',
            1.0,
        ),
        (
            Dialect.TRAEFIK,
            "traefik_service_request_duration_seconds_bucket",
            'code!~"5.."',
            1.0,
        ),
        (Dialect.HIGRESS, "envoy_cluster_upstream_rq_time_bucket", "cluster_name", 1000.0),
        (Dialect.CONTOUR, "envoy_cluster_upstream_rq_time_bucket", "envoy_cluster_name", 1000.0),
        (
            Dialect.ISTIO,
            "istio_request_duration_milliseconds_bucket",
            'response_code!~"5.."',
            1000.0,
        ),
        (Dialect.LINKERD, "response_latency_ms_bucket", 'status_code!~"5.."', 1000.0),
    ],
)
def test_latency_is_that_of_successful_requests_where_the_data_plane_can_tell(
    dialect, metric, filter_, edges_per_s
):
    selector = select_latencies(dialect, ONE, Side.CANARY, {})
    variants = selector.expression.split(" or ")
    assert all(v.startswith(f"{metric}{{") and filter_ in v for v in variants)
    assert edges_per_s == selector.edges_per_s


def test_pinned_labels_are_on_every_variant_and_escaped():
    expression = select_requests(
        Dialect.TRAEFIK, ONE, Side.CANARY, {"cluster": 'a"b', "job": "traefik"}
    ).expression
    assert all(r'cluster="a\"b",job="traefik"' in variant for variant in expression.split(" or "))


@pytest.mark.parametrize(
    ("dialect", "label"),
    [
        (Dialect.INGRESS_NGINX, "status"),
        (Dialect.TRAEFIK, "code"),
        (Dialect.HIGRESS, "response_code_class"),
    ],
)
def test_errors_are_server_errors_as_codes_and_as_classes(dialect, label):
    selector = select_requests(dialect, ONE, Side.CANARY, {})
    codes = ["200", "404", "499", "500", "503", "5xx", "2xx", ""]
    assert ["500", "503", "5xx"] == [code for code in codes if selector.is_error({label: code})]
    assert not selector.is_error({})


def test_the_primary_of_linkerd_is_the_deployment_that_is_called_so():
    expression = select_requests(Dialect.LINKERD, ROUTED, Side.PRIMARY, {}).expression
    assert 'deployment="podinfo-primary",namespace="shop"' in expression


@pytest.mark.parametrize("select", [select_requests, select_latencies])
@pytest.mark.parametrize("side", Side)
def test_probes_and_scrapes_are_no_traffic_of_a_meshed_app(select, side):
    """Seen with the viz extension: an app that nobody calls has both, all of them good."""
    expression = select(Dialect.LINKERD, ROUTED, side, {}).expression
    assert 'route_name!="probe",target_addr!~".*:4191"' in expression


def test_latencies_of_linkerd_are_in_milliseconds_and_know_a_status_but_no_classification():
    selector = select_latencies(Dialect.LINKERD, ROUTED, Side.CANARY, {})
    assert 1000.0 == selector.edges_per_s
    assert 'status_code!~"5.."' in selector.expression
    assert "classification" not in selector.expression


def test_a_failure_is_what_linkerd_calls_one():
    selector = select_requests(Dialect.LINKERD, ROUTED, Side.CANARY, {})
    said = ["success", "failure", ""]
    assert ["failure"] == [word for word in said if selector.is_error({"classification": word})]


@pytest.mark.parametrize(
    ("service", "side"),
    [
        (
            "httproute-shop-public-v2-gw-default-web-ep-web-0-1c0cf64bde37d9d0df06-svc-shop-web-0",
            "primary",
        ),
        (
            "httproute-shop-public-v2-gw-default-web-ep-web-1-1c0cf64bde37d9d0df06-svc-shop-web-canary-1",
            "canary",
        ),
        ("httproute-shop-public-v2-gw-default-web-ep-web-0-1c0cf64bde37d9d0df06-wrr", ""),
        (
            "httproute-shop-public-v2-gw-default-web-ep-web-0-1c0cf64bde37d9d0df06-svc-shop-web-2-0",
            "",
        ),
        ("httproute-shop-public-gw-default-web-ep-web-0-1c0cf64bde37d9d0df06-svc-shop-web-0", ""),
    ],
    ids=["primary", "canary", "weighted parent", "a Service web-2", "a route of another name"],
)
def test_a_service_of_traefiks_gateway_belongs_to_one_side_or_to_nobody(service, side):
    found = []
    for candidate in Side:
        expression = select_requests(Dialect.TRAEFIK_GATEWAY, ROUTED, candidate, {}).expression
        pattern = re.search(r'service=~"([^"]*)"', expression)[1]
        if re.fullmatch(pattern, f"{service}@kubernetesgateway"):
            found.append(str(candidate))
    assert ([side] if side else []) == found


def test_targets_are_asked_for_by_instance():
    assert 'up{instance="10.0.0.1:9100",job="traefik"}' == select_targets(
        {"10.0.0.1:9100"}, {"job": "traefik"}
    )
    assert r'up{instance=~"10\\.0\\.0\\.1:9100|b:1"}' == select_targets(
        {"b:1", "10.0.0.1:9100"}, {}
    )
