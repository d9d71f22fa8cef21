"""Keys about what a revision is judged by: metrics, hooks, load tests, and people's approval."""

from canaryd.core import rule as types
from canaryd.core.model import NoData
from canaryd.core.rule import Rule, Section

RULES: tuple[Rule, ...] = (
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
            "failed check. It never passes. To built-in metrics, requests of a load test are data."
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
        meaning="Requests in the window, load tests' included, before a verdict counts.",
    ),
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
        meaning="Traffic of our own to the canary's Service only; stands in for missing users.",
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
    Rule(
        key="gate.<name>",
        type=types.GATE,
        section=Section.GATES,
        example=types.GATE.example,
        meaning="Where the run waits until people approve, how many of them, and how long.",
    ),
)
