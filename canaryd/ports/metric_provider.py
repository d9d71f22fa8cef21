"""Where numbers come from.

Implemented by ``canaryd.metrics.prometheus.PrometheusProvider``; in tests against a fake Prometheus
server.
"""

from typing import Protocol

from canaryd.core.model import MetricAnswer, MetricCheck, Side, TrafficIdentity


class MetricProvider(Protocol):
    """One source of metrics."""

    async def ask(
        self,
        check: MetricCheck,
        identity: TrafficIdentity,
        *,
        since: float,
        side: Side = Side.CANARY,
    ) -> MetricAnswer:
        """Answer one check over the window that ends now.

        ``since`` is when the present weight was written (seconds since the epoch):
        the window never reaches back beyond it.
        ``side`` is whom a built-in is asked about: the primary's answer tells an outage that hits
        both from a bad canary.
        Never raises for what a source can do wrong: an outage, an error, no data, NaN, several
        series are an :class:`~canaryd.core.model.Absent` with its reason.
        """
        ...
