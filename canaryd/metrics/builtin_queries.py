"""How each data plane names one side of one app: the selectors behind the built-in metrics.

Selectors only, never functions: ``rate`` and ``increase`` extrapolate to numbers that nobody
counted, and lose the series that is born inside the window, which for a canary's first errors is
the one that matters. Differences are taken in ``growth``. What tells the canary from the primary::

    ingress-nginx   canary="<ns>-<canary Service>-<port>"                primary: canary=""
                    with ingress, service and namespace of the main Ingress on both sides
    Traefik         service="<ns>-<ingress>-<apex>-<port>-canary@…"      primary: without -canary
    Higress (Envoy) cluster_name="outbound|<port>||<canary Service>.…"   primary: the apex Service

Labels that Prometheus puts on a target itself (``namespace``, ``service``) win over those of the
exporter, which are then renamed to ``exported_…``, unless ``honorLabels`` is set. Which of the two
a cluster does cannot be known here, so both are matched; where a renamed label exists, it is the
exporter's word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import assert_never

from canaryd.core.model import Side, TrafficIdentity
from canaryd.core.promql import literal, quote_regex


class Dialect(StrEnum):
    """Whose metrics are read."""

    INGRESS_NGINX = "ingress-nginx"
    TRAEFIK = "traefik"
    HIGRESS = "higress"


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
        """Whether a series counts failed requests: exact codes (``503``) and classes (``5xx``)
        alike.
        """
        return labels.get(self.status_label, "").startswith("5")


@dataclass(frozen=True, slots=True)
class _Matcher:
    """One label matcher."""

    label: str
    operator: str
    value: str

    def render(self) -> str:
        return f"{self.label}{self.operator}{literal(self.value)}"


def select_requests(
    dialect: Dialect, identity: TrafficIdentity, side: Side, extra: Mapping[str, str]
) -> Selector:
    """Select the request counters of one side; ``extra`` pins labels of the source."""
    more: tuple[_Matcher, ...] = ()
    match dialect:
        case Dialect.INGRESS_NGINX:
            metric, status = "nginx_ingress_controller_requests", "status"
        case Dialect.TRAEFIK:
            metric, status = "traefik_service_requests_total", "code"
        case Dialect.HIGRESS:
            # One family holds requests by class and, from some versions on, again by code.
            metric, status = "envoy_cluster_upstream_rq", "response_code_class"
            more = (_Matcher(status, "!=", ""),)
        case _:
            assert_never(dialect)
    return Selector(_expression(metric, dialect, identity, side, (*more, *_pins(extra))), status)


def select_latencies(
    dialect: Dialect, identity: TrafficIdentity, side: Side, extra: Mapping[str, str]
) -> Selector:
    """Select the latency buckets of one side: successful requests only, where the data plane can
    tell.

    Failing fast must not look like being fast.
    """
    status = ""
    match dialect:
        case Dialect.INGRESS_NGINX:
            # response_duration, not request_duration: the latter includes how slowly a client
            # reads.
            metric, status = "nginx_ingress_controller_response_duration_seconds_bucket", "status"
        case Dialect.TRAEFIK:
            metric, status = "traefik_service_request_duration_seconds_bucket", "code"
        case Dialect.HIGRESS:
            metric = "envoy_cluster_upstream_rq_time_bucket"
        case _:
            assert_never(dialect)
    successful = (_Matcher(status, "!~", "5.."),) if status else ()
    expression = _expression(metric, dialect, identity, side, (*successful, *_pins(extra)))
    return Selector(expression, status, 1000.0 if dialect is Dialect.HIGRESS else 1.0)


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
