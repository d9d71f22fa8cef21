"""The kinds of metric sources there are, and the named sources an installation has.

Tenants choose among sources by name (``metric.<name>.source``), never by URL: what may be reached
is the operator's decision. A kind of source is added by one line in ``KINDS``.
"""

from collections.abc import Callable, Mapping
from typing import Final

from canaryd.core.model import (
    Absent,
    MetricAnswer,
    MetricCheck,
    Missing,
    Side,
    TrafficIdentity,
)
from canaryd.core.units import quote
from canaryd.metrics.prometheus import PrometheusProvider
from canaryd.ports.metric_provider import MetricProvider

KINDS: Final[Mapping[str, Callable[..., MetricProvider]]] = {
    "prometheus": PrometheusProvider,
}


class MetricSources:
    """All named sources behind one port: passes each check on to the source it names."""

    def __init__(self, sources: Mapping[str, MetricProvider]) -> None:
        self._sources = dict(sources)

    async def ask(
        self,
        check: MetricCheck,
        identity: TrafficIdentity,
        *,
        since: float,
        side: Side = Side.CANARY,
    ) -> MetricAnswer:
        """Answer one check from the source it names; a source nobody configured refuses.

        What nobody counts is no question for a source, whichever is named.
        """
        if check.builtin is not None and not identity.is_counted:
            shown = f"nobody counts the requests of {identity.target}"
            return MetricAnswer(check=check.name, absent=Absent(Missing.NO_SERIES, shown))
        source = self._sources.get(check.source)
        if source is None:
            known = ", ".join(sorted(self._sources)) or "none"
            shown = f"there is no metric source {quote(check.source)}; configured: {known}"
            return MetricAnswer(check=check.name, absent=Absent(Missing.QUERY_REFUSED, shown))
        return await source.ask(check, identity, since=since, side=side)
