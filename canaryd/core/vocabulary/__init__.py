"""Every annotation key there is: one table from which everything that knows keys is made.

The parser reads it, the reference page prints it, the admission policy and the JSON schema are made
of it. That is the only way they stay equal. A key is added in one of the chapters beside this file
and nowhere else; which keys go together is for ``coherence`` to say, and what a key does is for the
rollout to know.

Keys of the plan that this version cannot carry out stand in ``PLANNED``: whoever writes one is told
so and what to do instead. A plan is refused rather than approximated, because a canary that takes
all users where an A/B test was asked for is an outage.
"""

from collections.abc import Mapping

from canaryd.core.rule import Rule
from canaryd.core.vocabulary import configs, enrolment, failure, judging, routing, timing

RULES: tuple[Rule, ...] = (
    *enrolment.RULES,
    *routing.RULES,
    *timing.RULES,
    *judging.RULES,
    *failure.RULES,
)
BY_KEY: Mapping[str, Rule] = {rule.key: rule for rule in RULES}
CONFIG_KEYS: Mapping[str, Rule] = {rule.key: rule for rule in configs.RULES}
"""Keys of ConfigMaps and Secrets, which a Deployment does not have."""

PLANNED: Mapping[str, str] = {
    "profile": "write the keys on the Deployment or as defaults on the namespace",
    "spec": "write one key per field",
    "session-affinity": "remove the key",
    "primary-annotations": "remove the key",
    "canary-annotations": "remove the key",
    "primary-labels": "remove the key",
    "canary-labels": "remove the key",
    "unmanaged-metadata": "remove the key",
    "metric.<name>.from": "write the condition and the query here",
    "consecutive-failures": "use failure-threshold or the failures of a metric",
    "hook.<name>.secret": "remove the key: bodies are not signed yet",
    "hook.<name>.mute-alert": "remove the key",
    "job.<name>": "call a test runner with a hook",
    "load-test.<name>.when": "remove the key: load tests run during the analysis",
    "alert.<name>": "use an event hook",
    "on-leave": "remove the key: traffic is always handed back",
    "primary-min-replicas": "remove the key: the autoscaler is copied",
    "primary-max-replicas": "remove the key: the autoscaler is copied",
}
