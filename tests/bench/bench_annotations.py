"""Cost of resolving annotations: the budget is 5 ms at the 99th percentile for a plan of twelve keys.

Run it with ``python tests/bench/bench_annotations.py``; it prints a table and fails beyond the budget.
Processor time is measured, so that a busy machine does not fail it.
Hostile sets of the largest size that is read are measured too: they may cost more, but not another order of growth.
"""

import sys
from time import thread_time

from canaryd.core.annotations import resolve_deployment

BUDGET_MS = 5.0
RUNS = 2_000

PLAN = {
    "canaryd.io/enabled": "true",
    "canaryd.io/ingress": "checkout-public,checkout-partner",
    "canaryd.io/interval": "1m",
    "canaryd.io/weights": "1,5,20,50",
    "canaryd.io/warmup": "2m",
    "canaryd.io/failure-threshold": "3",
    "canaryd.io/metric.success-rate": ">= 99.5",
    "canaryd.io/metric.latency-p99": "<= 500ms",
    "canaryd.io/metric.declines": "<= 2",
    "canaryd.io/metric.declines.query": '100 * sum(rate(declined_total{namespace="{{ namespace }}"}[{{ interval }}]))',
    "canaryd.io/hook.smoke": "pre-rollout svc://qa-runner:8080/smoke",
    "canaryd.io/load-test.quote": "GET /api/quote rate=15 for=1m concurrency=3 max-errors=1%",
}
SETS = {
    "plan of 12 keys": (PLAN, RUNS),
    "12 misspelt keys": ({f"canaryd.io/intervall{n}": "1m" for n in range(12)}, RUNS),
    "12 bad values": (dict.fromkeys(PLAN, "٣ " * 20), RUNS),
    "16 KiB of unknown keys": ({f"canaryd.io/k{n:04}": "" for n in range(1_000)}, 100),
    "16 KiB of metrics": ({f"canaryd.io/metric.m{n:04}": "<= 1" for n in range(600)}, 100),
    "16 KiB in one list": ({"canaryd.io/ingress": ",".join(f"i{n}" for n in range(2_700))}, 100),
    "16 KiB in one query": (
        {"canaryd.io/metric.x": "> 1", "canaryd.io/metric.x.query": '"{{ target }}"' * 1_100},
        100,
    ),
}


def measure(annotations, runs):
    """Return the 50th and 99th percentile in milliseconds."""
    times = []
    for _ in range(runs):
        start = thread_time()
        resolve_deployment(controller={}, namespace={}, deployment=annotations, template={})
        times.append((thread_time() - start) * 1000)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def main():
    over = []
    for name, (annotations, runs) in SETS.items():
        p50, p99 = measure(annotations, runs)
        print(f"{name:28} p50 {p50:8.3f} ms   p99 {p99:8.3f} ms")
        if runs == RUNS and p99 > BUDGET_MS:
            over.append(name)
    if over:
        sys.exit(f"beyond {BUDGET_MS} ms: {', '.join(over)}")


if __name__ == "__main__":
    main()
