"""Every annotation key there is: one table from which everything that knows keys is made.

The parser reads it, the reference page prints it, the admission policy and the JSON schema are made
of it. That is the only way they stay equal. A key is added here and nowhere else; what it does is
for the rollout to know.

Keys of the plan that this version cannot carry out stand in ``PLANNED``: whoever writes one is told
so and what to do instead. A plan is refused rather than approximated, because a canary that takes
all users where an A/B test was asked for is an outage.
"""

from collections.abc import Mapping

from canaryd.core import rule as types
from canaryd.core.model import IdlePolicy, NoData, OnFailure, Provider, Strategy
from canaryd.core.rule import Rule, Section

_CANARY_ONLY = "it belongs to a strategy that this version does not have"

RULES: tuple[Rule, ...] = (
    # --- enrolment ---
    Rule(
        key="enabled",
        type=types.BOOL,
        section=Section.ENROLMENT,
        default="false",
        example="true",
        inherits=False,
        meaning=(
            "`true` hands the Deployment to canaryd; `false`, or no key, hands traffic back "
            "first and then leaves. Never inherited."
        ),
    ),
    Rule(
        key="strategy",
        type=types.CHOICE,
        section=Section.ENROLMENT,
        default="canary",
        example="canary",
        choices=tuple(Strategy),
        planned=("ab", "blue-green", "direct"),
        meaning="How a new revision is tried.",
    ),
    Rule(
        key="suspend",
        type=types.BOOL,
        section=Section.ENROLMENT,
        default="false",
        example="true",
        meaning="Freezes everything; a running analysis stays at its weight.",
    ),
    Rule(
        key="skip-analysis",
        type=types.BOOL,
        section=Section.ENROLMENT,
        default="false",
        example="true",
        planned_pattern="[0-9a-f]{5,64}",
        meaning="Promotes a new revision as soon as it is ready, without judging it.",
    ),
    Rule(
        key="retry",
        type=types.WORD,
        section=Section.ENROLMENT,
        example="2026-02-01a",
        meaning="A changed token analyses the last failed revision again.",
    ),
    Rule(
        key="history-limit",
        type=types.INT,
        section=Section.ENROLMENT,
        default="10",
        example="20",
        at_least="1",
        at_most="50",
        meaning="How many results, and revisions with their config copies, are kept.",
    ),
    # --- service and routing ---
    Rule(
        key="provider",
        type=types.CHOICE,
        section=Section.ROUTING,
        default="nginx",
        example="nginx",
        choices=tuple(Provider),
        planned=("smi", "gateway", "none"),
        meaning=(
            "Who carries the traffic split: `nginx` stands for canary Ingresses in the dialect "
            "that several controllers read."
        ),
    ),
    Rule(
        key="service",
        type=types.LABEL,
        section=Section.ROUTING,
        default_note="the only Service that selects the pods",
        example="podinfo",
        max_length=55,
        meaning=(
            "The Service that users call. At most 55 characters, so that `-primary` fits behind "
            "it. Two candidates are refused, never guessed between."
        ),
    ),
    Rule(
        key="port",
        type=types.PORT,
        section=Section.ROUTING,
        default_note="the only port of the Service",
        example="http",
        meaning="The port of the Service that is split.",
    ),
    Rule(
        key="ingress",
        type=types.NAMES,
        section=Section.ROUTING,
        default_note="the Ingresses whose backend is the Service",
        example="podinfo,podinfo-internal",
        meaning="The Ingresses that get a canary beside them.",
    ),
    Rule(
        key="ingress-class",
        type=types.NAME,
        section=Section.ROUTING,
        default_note="copied from the Ingress",
        example="nginx",
        meaning="Class of the generated canary Ingress.",
    ),
    Rule(
        key="selector-label",
        type=types.LABEL_KEY,
        section=Section.ROUTING,
        default_note="the first of `app.kubernetes.io/name`, `app`, `name` in the selector",
        example="app",
        meaning="The label whose value gets `-primary` on the primary's pods.",
    ),
    # --- steps and timing ---
    Rule(
        key="interval",
        type=types.DURATION,
        section=Section.TIMING,
        default="1m",
        example="30s",
        at_least="10s",
        at_most="24h",
        meaning="Time between two judgements, and the window the built-in metrics look back over.",
    ),
    Rule(
        key="step-weight",
        type=types.PERCENT,
        section=Section.TIMING,
        default="10",
        example="5",
        at_least="1",
        excludes=("weights",),
        meaning="Traffic that each step adds, until `max-weight`.",
    ),
    Rule(
        key="max-weight",
        type=types.PERCENT,
        section=Section.TIMING,
        default="50",
        example="40",
        at_least="1",
        excludes=("weights",),
        meaning="Weight of the last step, exactly: 20 and 50 make 20, 40, 50.",
    ),
    Rule(
        key="weights",
        type=types.WEIGHTS,
        section=Section.TIMING,
        default_note="made of `step-weight` and `max-weight`",
        example="1,5,20,50",
        excludes=("step-weight", "max-weight"),
        meaning="The weights of all steps.",
    ),
    Rule(
        key="warmup",
        type=types.DURATION,
        section=Section.TIMING,
        default="0s",
        example="2m",
        at_most="24h",
        meaning="No verdicts for this long after the first weight.",
    ),
    Rule(
        key="progress-deadline",
        type=types.DURATION,
        section=Section.TIMING,
        default="10m",
        example="5m",
        at_least="1s",
        at_most="24h",
        meaning="How long pods may take to become ready.",
    ),
    Rule(
        key="max-duration",
        type=types.DURATION,
        section=Section.TIMING,
        default="24h",
        example="3h",
        at_least="10s",
        at_most="720h",
        meaning="How long the whole run may take, waits included; then `on-failure`.",
    ),
    Rule(
        key="inconclusive-deadline",
        type=types.DURATION,
        section=Section.TIMING,
        default_note="the longer of 30m and 10 intervals",
        example="45m",
        at_least="10s",
        at_most="720h",
        meaning="How long verdicts may lack data or requests in a row; then `on-failure`.",
    ),
    Rule(
        key="primary-ready",
        type=types.PERCENT,
        section=Section.TIMING,
        default="100",
        example="80",
        at_least="1",
        meaning="Share of the primary's pods that must be ready.",
    ),
    Rule(
        key="canary-ready",
        type=types.PERCENT,
        section=Section.TIMING,
        default="100",
        example="80",
        at_least="1",
        meaning="Share of the canary's pods that must be ready.",
    ),
    Rule(
        key="scale-down-delay",
        type=types.DURATION,
        section=Section.TIMING,
        default="30s",
        example="60s",
        at_most="1h",
        meaning="Time between weight 0 and the first pod that goes.",
    ),
    Rule(
        key="idle",
        type=types.CHOICE,
        section=Section.TIMING,
        default="scale-to-zero",
        example="keep",
        choices=tuple(IdlePolicy),
        meaning="What becomes of the Deployment's own pods between runs.",
    ),
    # --- metrics ---
    Rule(
        key="metric.<name>",
        type=types.CONDITION,
        section=Section.METRICS,
        example="<= 500ms",
        meaning=(
            "A check. `success-rate`, `error-rate` (percent) and `latency-p50`, `-p90`, `-p95`, "
            "`-p99` (with `ms` or `s`) are built in; every other name needs a `.query`, whose "
            "bare number is compared."
        ),
    ),
    Rule(
        key="metric.<name>.query",
        type=types.QUERY,
        section=Section.METRICS,
        example=types.QUERY.example,
        needs=("metric.<name>",),
        meaning="The query that gives the number; it also takes the place of a built-in.",
    ),
    Rule(
        key="metric.<name>.interval",
        type=types.DURATION,
        section=Section.METRICS,
        default_note="`interval`",
        example="5m",
        at_least="10s",
        at_most="24h",
        needs=("metric.<name>",),
        meaning="The window the check looks back over.",
    ),
    Rule(
        key="metric.<name>.failures",
        type=types.INT,
        section=Section.METRICS,
        default_note="`failure-threshold`",
        example="0",
        at_most="1000",
        needs=("metric.<name>",),
        meaning="The check's own limit of failures; with 0 the first one ends the run.",
    ),
    Rule(
        key="metric.<name>.no-data",
        type=types.CHOICE,
        section=Section.METRICS,
        default="hold",
        example="fail",
        choices=tuple(NoData),
        needs=("metric.<name>",),
        meaning=(
            "What no data counts as: `hold` waits until `inconclusive-deadline`, `fail` is a "
            "failed check. It never passes."
        ),
    ),
    Rule(
        key="metric.<name>.vars",
        type=types.MAP,
        section=Section.METRICS,
        example="code=5..",
        needs=("metric.<name>", "metric.<name>.query"),
        meaning="Values for the query's `{{ vars.<x> }}`.",
    ),
    Rule(
        key="metric.<name>.source",
        type=types.LABEL,
        section=Section.METRICS,
        default="default",
        example="team-thanos",
        needs=("metric.<name>",),
        meaning="Name of the source to ask, from the controller's configuration; never a URL.",
    ),
    Rule(
        key="failure-threshold",
        type=types.INT,
        section=Section.METRICS,
        default="5",
        example="3",
        at_least="1",
        at_most="1000",
        meaning="Failed checks that end the run.",
    ),
    Rule(
        key="min-requests",
        type=types.INT,
        section=Section.METRICS,
        default="0",
        example="100",
        meaning="Requests the canary must have had in the window before a verdict counts.",
    ),
    # --- hooks and load tests ---
    Rule(
        key="hook.<name>",
        type=types.HOOK,
        section=Section.HOOKS,
        example=types.HOOK.example,
        meaning=(
            "A webhook and when to call it. Hosts other than Services of the namespace must be "
            "allowed by the controller's configuration."
        ),
    ),
    Rule(
        key="hook.<name>.timeout",
        type=types.DURATION,
        section=Section.HOOKS,
        default="10s",
        example="30s",
        at_least="100ms",
        at_most="30m",
        needs=("hook.<name>",),
        meaning="How long one attempt may take.",
    ),
    Rule(
        key="hook.<name>.retries",
        type=types.INT,
        section=Section.HOOKS,
        default="0",
        example="2",
        at_most="10",
        needs=("hook.<name>",),
        meaning="Attempts after the first.",
    ),
    Rule(
        key="hook.<name>.payload",
        type=types.MAP,
        section=Section.HOOKS,
        example="suite=smoke,env=prod",
        needs=("hook.<name>",),
        meaning="Sent along as `metadata`.",
    ),
    Rule(
        key="hook.<name>.order",
        type=types.INT,
        section=Section.HOOKS,
        default="0",
        example="10",
        at_most="1000",
        needs=("hook.<name>",),
        meaning="Hooks of one type are called by rising order, then by name.",
    ),
    Rule(
        key="load-test.<name>",
        type=types.LOAD_TEST,
        section=Section.HOOKS,
        example=types.LOAD_TEST.example,
        meaning="Traffic of our own during the analysis, sent to the canary's Service only.",
    ),
    Rule(
        key="load-test.<name>.body",
        type=types.TEXT,
        section=Section.HOOKS,
        example=types.TEXT.example,
        needs=("load-test.<name>",),
        meaning="Body of each request; for POST, PUT, PATCH and DELETE.",
    ),
    Rule(
        key="load-test.<name>.headers",
        type=types.HEADERS,
        section=Section.HOOKS,
        example=types.HEADERS.example,
        needs=("load-test.<name>",),
        meaning="Headers of each request.",
    ),
    # --- config and failure ---
    Rule(
        key="config-tracking",
        type=types.CHOICE,
        section=Section.FAILURE,
        default="enabled",
        example="disabled",
        choices=("enabled", "disabled"),
        meaning=(
            "Whether ConfigMaps and Secrets of the pods belong to the revision and are copied "
            "for the primary."
        ),
    ),
    Rule(
        key="config-exclude",
        type=types.CONFIG_REFERENCES,
        section=Section.FAILURE,
        example=types.CONFIG_REFERENCES.example,
        meaning="Configs that are shared: never copied, never a reason for a run.",
    ),
    Rule(
        key="autoscaler",
        type=types.NAME,
        section=Section.FAILURE,
        default="auto",
        example="podinfo",
        meaning=(
            "The autoscaler to copy for the primary: `auto` finds it, `none` leaves autoscalers "
            "alone, a name chooses one."
        ),
    ),
    Rule(
        key="on-failure",
        type=types.CHOICE,
        section=Section.FAILURE,
        default="rollback",
        example="rollback",
        choices=tuple(OnFailure),
        planned=("hold", "notify"),
        meaning="What a failed run does.",
    ),
    Rule(
        key="keep-failed",
        type=types.DURATION,
        section=Section.FAILURE,
        default="0s",
        example="30m",
        at_most="168h",
        meaning="How long the pods of a failed revision stay, at weight 0, to be looked into.",
    ),
)
BY_KEY: Mapping[str, Rule] = {rule.key: rule for rule in RULES}

PLANNED: Mapping[str, str] = {
    "mode": "every enrolled Deployment is enforced",
    "profile": "write the keys on the Deployment or as defaults on the namespace",
    "feedback": "read the status of the Canary object",
    "spec": "write one key per field",
    "route": "use the nginx provider and its ingress key",
    "session-affinity": "remove the key",
    "primary-annotations": "remove the key",
    "canary-annotations": "remove the key",
    "primary-labels": "remove the key",
    "canary-labels": "remove the key",
    "unmanaged-metadata": "remove the key",
    "steps": "use weights and interval",
    "iterations": _CANARY_ONLY,
    "promotion-step-weight": "remove the key",
    "canary-replicas": "remove the key",
    "schedule": "use suspend outside the hours you want",
    "freeze": "use suspend for as long as nothing may change",
    "match": _CANARY_ONLY,
    "mirror": _CANARY_ONLY,
    "metric.<name>.from": "write the condition and the query here",
    "consecutive-failures": "use failure-threshold or the failures of a metric",
    "hook.<name>.secret": "remove the key: bodies are not signed yet",
    "hook.<name>.mute-alert": "remove the key",
    "job.<name>": "call a test runner with a hook",
    "load-test.<name>.when": "remove the key: load tests run during the analysis",
    "gate.<name>": "use a confirm-promotion hook",
    "alert.<name>": "use an event hook",
    "watch-after-promotion": "remove the key",
    "on-leave": "remove the key: traffic is always handed back",
    "primary-min-replicas": "remove the key: the autoscaler is copied",
    "primary-max-replicas": "remove the key: the autoscaler is copied",
}
