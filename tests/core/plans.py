"""Sample configurations, and short ways to resolve them."""

import pytest

from canaryd.core.annotations import resolve
from canaryd.core.problems import DEPLOYMENT

CUSTOM = {"metric.declines": "<= 2", "metric.declines.query": "sum(up)"}
"""A metric of the user's own."""

EVERYTHING = {
    "enabled": "true",
    "strategy": "canary",
    "mode": "observe",
    "provider": "nginx",
    "service": "checkout",
    "port": "http",
    "ingress": "checkout-public, checkout-partner",
    "ingress-class": "nginx-public",
    "selector-label": "app.kubernetes.io/name",
    "interval": "30s",
    "match": "header X-Canary=insider; cookie canary",
    "weights": "1,5,20,50",
    "promotion-step-weight": "50",
    "warmup": "2m",
    "progress-deadline": "5m",
    "max-duration": "3h",
    "inconclusive-deadline": "45m",
    "primary-ready": "80",
    "canary-ready": "90",
    "scale-down-delay": "1m",
    "idle": "keep",
    "schedule": "Mon-Thu 09:00-16:30 Europe/Berlin; Fri 22:00-02:00",
    "freeze": "2026-12-20T00:00:00Z/2027-01-04T00:00:00+01:00",
    "metric.success-rate": ">= 99.5",
    "metric.success-rate.failures": "0",
    "metric.declines": "<= 2",
    "metric.declines.interval": "5m",
    "metric.declines.no-data": "fail",
    "metric.declines.source": "team-thanos",
    "metric.declines.vars": "code=5..",
    "metric.declines.query": 'sum(rate(x{n="{{ namespace }}",c=~"{{ vars.code }}"}[{{ interval }}]))',
    "failure-threshold": "3",
    "min-requests": "200",
    "hook.smoke": "pre-rollout svc://qa-runner:8080/smoke",
    "hook.smoke.timeout": "90s",
    "hook.smoke.retries": "2",
    "hook.smoke.payload": "suite=smoke,env=prod",
    "hook.smoke.order": "10",
    "load-test.quote": "POST /api/quote rate=0.5 for=2m concurrency=3 timeout=1s max-errors=2.5%",
    "load-test.quote.body": '{"a": 1}\n',
    "load-test.quote.headers": "Accept=application/json",
    "gate.qa": "weight:20",
    "gate.release": "promotion approvals=2 deadline=1h30m",
    "config-tracking": "disabled",
    "config-exclude": "configmap/feature-flags,secret/shared-ca",
    "autoscaler": "checkout",
    "on-failure": "hold",
    "keep-failed": "30m",
    "watch-after-promotion": "15m",
    "history-limit": "20",
    "suspend": "true",
    "feedback": "none",
    "skip-analysis": "8ab12",
    "retry": "2026-02-01a",
}
"""Every key that a canary by weights on Ingresses can have."""
STEPPED = {
    "enabled": "true",
    "provider": "gateway",
    "route": "checkout,checkout-internal",
    "match": "header x-canary~^(insider|tester)$",
    "steps": "scale 2; match; analyze 15m; unmatch; weight 10; pause; weight 40; gate qa; weight 100",
    "gate.qa": "step approvals=2 deadline=8h",
    "canary-replicas": "20%",
}
"""A canary by steps on HTTPRoutes."""
BESIDE = {
    "enabled": "true",
    "strategy": "blue-green",
    "provider": "gateway",
    "iterations": "6",
    "mirror": "100",
    "canary-replicas": "3",
    "gate.release": "promotion",
}
"""Blue/green with mirrored requests."""
SAMPLES = (EVERYTHING, STEPPED, BESIDE)
"""Together they have every key but the pair that ``weights`` excludes."""


def case(sentence, *values):
    return pytest.param(*values, id=sentence.replace(" ", "-"))


def written(keys):
    return resolve([(DEPLOYMENT, keys)])


def told(resolution):
    return [(problem.reason, problem.key) for problem in resolution.problems]


def only_problem(resolution):
    (problem,) = resolution.problems
    assert resolution.spec is None
    return problem
