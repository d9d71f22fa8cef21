import pytest

from canaryd.core.model import Side, TrafficIdentity
from canaryd.metrics.builtin_queries import (
    Dialect,
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
    ],
    ids=[
        "Traefik, canary",
        "Traefik, primary",
        "Traefik, two Ingresses, a dot in a name becomes a dash",
        "ingress-nginx, canary",
        "Higress, canary",
        "Higress, primary is the apex",
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


def test_targets_are_asked_for_by_instance():
    assert 'up{instance="10.0.0.1:9100",job="traefik"}' == select_targets(
        {"10.0.0.1:9100"}, {"job": "traefik"}
    )
    assert r'up{instance=~"10\\.0\\.0\\.1:9100|b:1"}' == select_targets(
        {"b:1", "10.0.0.1:9100"}, {}
    )
