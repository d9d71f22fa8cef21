"""How each data plane names one side of one app: the selectors behind the built-in metrics.

Selectors only, never functions: ``rate`` and ``increase`` extrapolate to numbers that nobody
counted, and lose the series that is born inside the window, which for a canary's first errors is
the one that matters. Differences are taken in ``growth``. What tells the canary from the primary::

    ingress-nginx   canary="<ns>-<canary Service>-<port>"                primary: canary=""
                    with ingress, service and namespace of the main Ingress on both sides
    Traefik         service="<ns>-<ingress>-<apex>-<port>-canary@…"      primary: without -canary
    Higress (Envoy) cluster_name="outbound|<port>||<canary Service>.…"   primary: the apex Service
    Traefik, routes service="httproute-<ns>-<route>-…-svc-<ns>-<canary Service>-<n>@…"   likewise
    kgateway        envoy_cluster_name="kube_<ns>_<canary Service>_<port>"               likewise
    Contour         envoy_cluster_name="<ns>_<canary Service>_<port>"                    likewise
    Istio           destination_workload="<target>"                      primary: <target>-primary
    Linkerd         deployment="<target>", as the receiving proxy counts  primary: <target>-primary

Of Istio's reporters exactly one is read: with both, every request would count twice. Data planes
that cannot tell the sides apart are not in this table; their apps use queries of their own.

Labels that Prometheus puts on a target itself (``namespace``, ``service``) win over those of the
exporter, which are then renamed to ``exported_…``, unless ``honorLabels`` is set. Which of the two
a cluster does cannot be known here, so both are matched; where a renamed label exists, it is the
exporter's word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import assert_never

from canaryd.core import names
from canaryd.core.model import Dialect, Side, TrafficIdentity
from canaryd.core.promql import literal, quote_regex


@dataclass(frozen=True, slots=True)
class Selector:
    """An instant-vector selector for raw counters of one side.

    ``status_label`` tells requests apart by their outcome. ``edges_per_s`` is how many units of
    ``le`` make a second.
    """

    expression: str
    status_label: str
    edges_per_s: float = 1.0

    def is_error(self, labels: Mapping[str, str]) -> bool:
        """Whether a series counts failed requests: exact codes (``503``), classes (``5xx``) and
        Linkerd's own classification alike.
        """
        said = labels.get(self.status_label, "")
        return said.startswith("5") or said == "failure"


@dataclass(frozen=True, slots=True)
class _Matcher:
    """One label matcher."""

    label: str
    operator: str
    value: str

    def render(self) -> str:
        return f"{self.label}{self.operator}{literal(self.value)}"


@dataclass(frozen=True, slots=True)
class _Family:
    """Metrics of one data plane: counters and latency buckets, and how they tell outcomes apart."""

    requests: str
    outcome: str
    latencies: str
    latency_outcome: str = ""
    """Empty where latencies of failures and successes are one series."""
    edges_per_s: float = 1.0


_ENVOY_MS = 1000.0
_ISTIO = _Family(
    "istio_requests_total",
    "response_code",
    "istio_request_duration_milliseconds_bucket",
    "response_code",
    _ENVOY_MS,
)
_ENVOY = _Family(
    "envoy_cluster_upstream_rq",
    "envoy_response_code",
    "envoy_cluster_upstream_rq_time_bucket",
    edges_per_s=_ENVOY_MS,
)
_FAMILIES: Mapping[Dialect, _Family] = {
    Dialect.INGRESS_NGINX: _Family(
        "nginx_ingress_controller_requests",
        "status",
        # response_duration, not request_duration: the latter includes how slowly a client reads.
        "nginx_ingress_controller_response_duration_seconds_bucket",
        "status",
    ),
    Dialect.TRAEFIK: _Family(
        "traefik_service_requests_total",
        "code",
        "traefik_service_request_duration_seconds_bucket",
        "code",
    ),
    Dialect.TRAEFIK_GATEWAY: _Family(
        "traefik_service_requests_total",
        "code",
        "traefik_service_request_duration_seconds_bucket",
        "code",
    ),
    Dialect.HIGRESS: _Family(
        "envoy_cluster_upstream_rq",
        "response_code_class",
        "envoy_cluster_upstream_rq_time_bucket",
        edges_per_s=_ENVOY_MS,
    ),
    Dialect.KGATEWAY: _ENVOY,
    Dialect.CONTOUR: _ENVOY,
    Dialect.ISTIO: _ISTIO,
    Dialect.ISTIO_AMBIENT: _ISTIO,
    Dialect.LINKERD: _Family(
        "response_total",
        "classification",
        "response_latency_ms_bucket",
        "status_code",
        1000.0,
    ),
}


def select_requests(
    dialect: Dialect, identity: TrafficIdentity, side: Side, extra: Mapping[str, str]
) -> Selector:
    """Select the request counters of one side; ``extra`` pins labels of the source."""
    family = _FAMILIES[dialect]
    more: tuple[_Matcher, ...] = ()
    if family.requests == _ENVOY.requests:
        # One family holds requests by class and, from some versions on, again by code.
        more = (_Matcher(family.outcome, "!=", ""),)
    expression = _expression(family.requests, dialect, identity, side, (*more, *_pins(extra)))
    return Selector(expression, family.outcome)


def select_latencies(
    dialect: Dialect, identity: TrafficIdentity, side: Side, extra: Mapping[str, str]
) -> Selector:
    """Select the latency buckets of one side: successful requests only, where the data plane can
    tell.

    Failing fast must not look like being fast.
    """
    family = _FAMILIES[dialect]
    status = family.latency_outcome
    successful = (_Matcher(status, "!~", "5.."),) if status else ()
    expression = _expression(
        family.latencies, dialect, identity, side, (*successful, *_pins(extra))
    )
    return Selector(expression, status, family.edges_per_s)


def select_targets(instances: Iterable[str], extra: Mapping[str, str]) -> str:
    """Select the health of scraped targets."""
    return _render("up", (_any_of("instance", sorted(instances)), *_pins(extra)), ())


def _expression(
    metric: str,
    dialect: Dialect,
    identity: TrafficIdentity,
    side: Side,
    more: tuple[_Matcher, ...],
) -> str:
    match dialect:
        case Dialect.INGRESS_NGINX:
            named, renamed = _ingress_nginx(identity, side)
        case Dialect.TRAEFIK:
            named, renamed = _traefik(identity, side)
        case Dialect.HIGRESS:
            named, renamed = _higress(identity, side)
        case Dialect.TRAEFIK_GATEWAY:
            named, renamed = _traefik_gateway(identity, side)
        case Dialect.KGATEWAY:
            named, renamed = _envoy_clusters(identity, side, "kube_"), ()
        case Dialect.CONTOUR:
            named, renamed = _envoy_clusters(identity, side, ""), ()
        case Dialect.ISTIO:
            named, renamed = _istio(identity, side, "destination"), ()
        case Dialect.ISTIO_AMBIENT:
            named, renamed = _istio(identity, side, "waypoint"), ()
        case Dialect.LINKERD:
            named, renamed = _linkerd(identity, side), ()
        case _:
            assert_never(dialect)
    return _render(metric, (*named, *more), renamed)


def _ingress_nginx(
    identity: TrafficIdentity, side: Side
) -> tuple[tuple[_Matcher, ...], tuple[_Matcher, ...]]:
    # ``ingress``, ``service`` and ``namespace`` are those of the main Ingress on both sides.
    ingresses = _any_of("ingress", (name for name, _, _ in identity.ingresses))
    namespace = _Matcher("namespace", "=", identity.namespace)
    if side is Side.CANARY:
        upstreams = (
            f"{identity.namespace}-{identity.canary_service}-{port}"
            for _, _, port in identity.ingresses
        )
        return (ingresses, _any_of("canary", upstreams)), (namespace,)
    services = _any_of("service", (service for _, service, _ in identity.ingresses))
    return (ingresses, _Matcher("canary", "=", "")), (namespace, services)


def _traefik(
    identity: TrafficIdentity, side: Side
) -> tuple[tuple[_Matcher, ...], tuple[_Matcher, ...]]:
    suffix = "-canary" if side is Side.CANARY else ""
    services = (
        f"{_normalize(f'{identity.namespace}-{ingress}-{service}-{port}')}{suffix}"
        "@kubernetesingressnginx"
        for ingress, service, port in identity.ingresses
    )
    return (), (_any_of("service", services),)


def _higress(
    identity: TrafficIdentity, side: Side
) -> tuple[tuple[_Matcher, ...], tuple[_Matcher, ...]]:
    clusters = []
    for _, apex, port in identity.ingresses:
        service = identity.canary_service if side is Side.CANARY else apex
        host = quote_regex(f"{service}.{identity.namespace}.svc.")
        # The cluster domain is the installation's choice, and newer proxies end the name with a
        # semicolon.
        clusters.append(rf"outbound\|{quote_regex(port)}\|[^|]*\|{host}.*")
    return (_Matcher("cluster_name", "=~", "|".join(dict.fromkeys(clusters))),), ()


def _traefik_gateway(
    identity: TrafficIdentity, side: Side
) -> tuple[tuple[_Matcher, ...], tuple[_Matcher, ...]]:
    # ``loadService`` in pkg/provider/kubernetes/gateway/httproute.go of Traefik 3.7: the key of the
    # route, with Gateway, entry point, rule and a hash of its matches, then Service and index of
    # the backend. The weighted parent ends in ``-wrr`` and is not counted again.
    service = quote_regex(f"{identity.namespace}-{_service(identity, side)}")
    names_ = (
        rf"httproute-{quote_regex(_normalize(f'{identity.namespace}-{route}'))}-gw-.*"
        rf"-svc-{service}-[0-9]+@kubernetesgateway"
        for route in identity.routes
    )
    return (), (_Matcher("service", "=~", "|".join(names_)),)


def _envoy_clusters(identity: TrafficIdentity, side: Side, prefix: str) -> tuple[_Matcher, ...]:
    service = _service(identity, side)
    clusters = (f"{prefix}{identity.namespace}_{service}_{port}" for port in identity.ports)
    return (_any_of("envoy_cluster_name", clusters),)


def _istio(identity: TrafficIdentity, side: Side, reporter: str) -> tuple[_Matcher, ...]:
    return (
        _Matcher("reporter", "=", reporter),
        _Matcher("destination_workload", "=", _workload(identity, side)),
        _Matcher("destination_workload_namespace", "=", identity.namespace),
    )


def _linkerd(identity: TrafficIdentity, side: Side) -> tuple[_Matcher, ...]:
    # The kubelet's probes of the app, and whoever asks the proxy itself (Prometheus, the kubelet
    # again), are inbound requests too: they would make traffic of an idle canary, all of it good.
    return (
        _Matcher("direction", "=", "inbound"),
        _Matcher("deployment", "=", _workload(identity, side)),
        _Matcher("namespace", "=", identity.namespace),
        _Matcher("route_name", "!=", "probe"),
        _Matcher("target_addr", "!~", ".*:4191"),
    )


def _service(identity: TrafficIdentity, side: Side) -> str:
    """The Service that routes lead one side to: the primary's is behind the apex."""
    return identity.canary_service if side is Side.CANARY else identity.apex


def _workload(identity: TrafficIdentity, side: Side) -> str:
    return identity.target if side is Side.CANARY else names.primary_name(identity.target)


def _normalize(name: str) -> str:
    """Spell a name as Traefik does: runs of anything but letters and digits become one dash."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def _any_of(label: str, values: Iterable[str]) -> _Matcher:
    options = tuple(dict.fromkeys(values))
    if len(options) == 1:
        return _Matcher(label, "=", options[0])
    return _Matcher(label, "=~", "|".join(quote_regex(option) for option in options))


def _pins(extra: Mapping[str, str]) -> tuple[_Matcher, ...]:
    return tuple(_Matcher(label, "=", value) for label, value in sorted(extra.items()))


def _render(metric: str, fixed: tuple[_Matcher, ...], renamed: tuple[_Matcher, ...]) -> str:
    """Write the selector, once for every way in which Prometheus may have renamed labels."""
    spellings = [
        (
            (_Matcher(f"exported_{matcher.label}", matcher.operator, matcher.value),),
            (matcher, _Matcher(f"exported_{matcher.label}", "=", "")),
        )
        for matcher in renamed
    ]
    variants = [tuple(part for parts in choice for part in parts) for choice in product(*spellings)]
    return " or ".join(
        f"{metric}{{{','.join(matcher.render() for matcher in (*fixed, *variant))}}}"
        for variant in variants
    )
