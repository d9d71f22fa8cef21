"""What comes out of the keys, and what users are told when it cannot be done."""

import dataclasses

import pytest

from canaryd.core.annotations import resolve, template_problems
from canaryd.core.draft import Resolved
from canaryd.core.model import (
    Builtin,
    CanarySpec,
    Comparator,
    Condition,
    Feedback,
    HookSpec,
    HookType,
    IdlePolicy,
    LoadTestSpec,
    MetricCheck,
    Mode,
    NoData,
    OnFailure,
    Provider,
)
from canaryd.core.problems import BUILT_IN, DEPLOYMENT, ProblemReason
from canaryd.core.program import GateAt, GateSpec, Scale, Step, Strategy, Verb
from canaryd.core.routing import Match, MatchKind
from canaryd.core.windows import Span, Window
from tests.core.plans import (
    BESIDE,
    CUSTOM,
    EVERYTHING,
    STEPPED,
    case,
    only_problem,
    told,
    written,
)

# --- a whole plan ---


def test_no_annotations_make_the_built_in_plan_and_enrol_nobody():
    resolution = resolve([])
    assert (False, CanarySpec(), ()) == (
        resolution.enabled,
        resolution.spec,
        resolution.problems,
    )


def test_the_four_lines_of_the_first_day_make_a_plan():
    resolution = written(
        {
            "enabled": "true",
            "metric.success-rate": ">= 99",
            "metric.latency-p99": "<= 500ms",
            "load-test.get": "GET / rate=20 for=1m concurrency=2",
        }
    )
    assert resolution.enabled
    assert resolution.spec == CanarySpec(
        metrics=(
            MetricCheck(
                name="latency-p99",
                condition=Condition(Comparator.AT_MOST, 500.0, unit="ms", text="<= 500ms"),
                builtin=Builtin.LATENCY_P99,
            ),
            MetricCheck(
                name="success-rate",
                condition=Condition(Comparator.AT_LEAST, 99.0, text=">= 99"),
                builtin=Builtin.SUCCESS_RATE,
            ),
        ),
        load_tests=(
            LoadTestSpec(
                name="get", method="GET", path="/", rate=20.0, duration_s=60.0, concurrency=2
            ),
        ),
    )


def test_every_key_of_a_canary_by_weights_finds_its_place_in_the_plan():
    expected = CanarySpec(
        service="checkout",
        port="http",
        ingresses=("checkout-public", "checkout-partner"),
        ingress_class="nginx-public",
        selector_label="app.kubernetes.io/name",
        interval_s=30.0,
        mode=Mode.OBSERVE,
        matches=(
            Match(MatchKind.HEADER, "x-canary", value="insider"),
            Match(MatchKind.COOKIE, "canary"),
        ),
        weights=(1, 5, 20, 50),
        promotion_step_weight=50,
        gates=(
            GateSpec(name="qa", at=GateAt.WEIGHT, weight=20),
            GateSpec(name="release", at=GateAt.PROMOTION, approvals=2, deadline_s=5400.0),
        ),
        schedule=(
            Window(frozenset({0, 1, 2, 3}), 9 * 60, 16 * 60 + 30, "Europe/Berlin"),
            Window(frozenset({4}), 22 * 60, 2 * 60, "UTC"),
        ),
        freeze=(Span(1_797_724_800.0, 1_799_017_200.0),),
        watch_s=900.0,
        warmup_s=120.0,
        progress_deadline_s=300.0,
        max_duration_s=10800.0,
        inconclusive_deadline_s=2700.0,
        primary_ready=80,
        canary_ready=90,
        scale_down_delay_s=60.0,
        idle=IdlePolicy.KEEP,
        metrics=(
            MetricCheck(
                name="declines",
                condition=Condition(Comparator.AT_MOST, 2.0, text="<= 2"),
                query='sum(rate(x{n="{{ namespace }}",c=~"{{ vars.code }}"}[{{ interval }}]))',
                window_s=300.0,
                no_data=NoData.FAIL,
                variables={"code": "5.."},
                source="team-thanos",
            ),
            MetricCheck(
                name="success-rate",
                condition=Condition(Comparator.AT_LEAST, 99.5, text=">= 99.5"),
                builtin=Builtin.SUCCESS_RATE,
                window_s=30.0,
                failures=0,
            ),
        ),
        failure_threshold=3,
        min_requests=200,
        hooks=(
            HookSpec(
                name="smoke",
                type=HookType.PRE_ROLLOUT,
                url="svc://qa-runner:8080/smoke",
                timeout_s=90.0,
                retries=2,
                payload={"suite": "smoke", "env": "prod"},
                order=10,
            ),
        ),
        load_tests=(
            LoadTestSpec(
                name="quote",
                method="POST",
                path="/api/quote",
                rate=0.5,
                duration_s=120.0,
                concurrency=3,
                timeout_s=1.0,
                max_errors=2.5,
                headers={"Accept": "application/json"},
                body='{"a": 1}\n',
            ),
        ),
        config_tracking=False,
        config_exclude=("configmap/feature-flags", "secret/shared-ca"),
        autoscaler="checkout",
        on_failure=OnFailure.HOLD,
        keep_failed_s=1800.0,
        history_limit=20,
        suspend=True,
        feedback=Feedback.NONE,
        skip_revision="8ab12",
        retry="2026-02-01a",
    )
    resolution = written(EVERYTHING)
    assert resolution.problems == ()
    assert expected == resolution.spec


def test_every_key_of_a_canary_by_steps_finds_its_place_in_the_plan():
    expected = CanarySpec(
        provider=Provider.GATEWAY,
        routes=("checkout", "checkout-internal"),
        matches=(Match(MatchKind.HEADER, "x-canary", pattern="^(insider|tester)$"),),
        weights=(),
        steps=(
            Step(verb=Verb.SCALE, number=2),
            Step(verb=Verb.MATCH),
            Step(verb=Verb.ANALYZE, duration_s=900.0),
            Step(verb=Verb.UNMATCH),
            Step(verb=Verb.WEIGHT, number=10),
            Step(verb=Verb.PAUSE),
            Step(verb=Verb.WEIGHT, number=40),
            Step(verb=Verb.GATE, name="qa"),
            Step(verb=Verb.WEIGHT, number=100),
        ),
        gates=(GateSpec(name="qa", at=GateAt.STEP, approvals=2, deadline_s=28_800.0),),
        canary_replicas=Scale(20, is_percent=True),
    )
    assert ((), expected) == (written(STEPPED).problems, written(STEPPED).spec)


def test_every_key_of_blue_green_finds_its_place_in_the_plan():
    expected = CanarySpec(
        strategy=Strategy.BLUE_GREEN,
        provider=Provider.GATEWAY,
        weights=(),
        iterations=6,
        mirror=100,
        canary_replicas=Scale(3),
        gates=(GateSpec(name="release", at=GateAt.PROMOTION),),
    )
    assert ((), expected) == (written(BESIDE).problems, written(BESIDE).spec)


def test_every_key_of_the_plan_shows_with_its_origin():
    values = written(EVERYTHING).values
    assert {
        Resolved(text.strip() if key != "load-test.quote.body" else text, DEPLOYMENT)
        for key, text in EVERYTHING.items()
    } <= set(values.values())
    assert Resolved("", DEPLOYMENT) == values["step-weight"]
    assert Resolved("hold", BUILT_IN) == values["metric.success-rate.no-data"]
    assert Resolved("30s", BUILT_IN) == values["metric.success-rate.interval"]
    assert Resolved("3", BUILT_IN) == values["metric.declines.failures"]


# --- defaults that follow from other values ---


@pytest.mark.parametrize(
    ("keys", "fields"),
    [
        case("steps of 20 to 50", {"step-weight": "20"}, {"weights": (20, 40, 50)}),
        case("a low maximum alone is one step", {"max-weight": "5"}, {"weights": (5,)}),
        case(
            "both of the pair", {"step-weight": "50", "max-weight": "100"}, {"weights": (50, 100)}
        ),
        case(
            "a short interval keeps half an hour",
            {"interval": "10s"},
            {"interval_s": 10.0, "inconclusive_deadline_s": 1800.0},
        ),
        case(
            "a long interval gets ten of itself",
            {"interval": "5m"},
            {"interval_s": 300.0, "inconclusive_deadline_s": 3000.0},
        ),
        case("blanks around a value do not matter", {"interval": " 2m\n"}, {"interval_s": 120.0}),
        case("an empty value is the default", {"interval": "", "idle": " "}, {}),
        case("no autoscaler", {"autoscaler": "none"}, {"autoscaler": "none"}),
    ],
)
def test_what_is_not_written_follows_from_what_is(keys, fields):
    assert dataclasses.replace(CanarySpec(), **fields) == written(keys).spec


def test_the_window_of_a_metric_is_the_interval_unless_it_has_its_own():
    spec = written(
        {
            "interval": "2m",
            "metric.error-rate": "< 1%",
            "metric.latency-p50": "< 1s",
            "metric.latency-p50.interval": "10m",
        }
    ).spec
    assert [(m.name, m.window_s) for m in spec.metrics] == [
        ("error-rate", 120.0),
        ("latency-p50", 600.0),
    ]


@pytest.mark.parametrize(
    ("interval", "duration_s"),
    [case("one interval", "2m", 120.0), case("never more than it could be told", "2h", 3600.0)],
)
def test_a_load_test_lasts_as_long_as_the_interval(interval, duration_s):
    (test,) = written({"interval": interval, "load-test.get": "HEAD /"}).spec.load_tests
    assert (
        LoadTestSpec(name="get", method="HEAD", path="/", rate=10.0, duration_s=duration_s) == test
    )


def test_a_built_in_with_a_query_uses_the_query():
    (check,) = written(
        {"metric.latency-p99": "<= 0.5", "metric.latency-p99.query": "up"}
    ).spec.metrics
    assert (check.builtin, check.query, check.condition.low) == (None, "up", 0.5)


def test_hooks_are_called_by_order_then_by_name():
    spec = written(
        {
            "hook.b": "rollout svc://b/",
            "hook.a": "rollout svc://a/",
            "hook.c": "rollout svc://c/",
            "hook.c.order": "0",
            "hook.a.order": "5",
            "hook.d": "rollback svc://d/",
        }
    ).spec
    assert [hook.name for hook in spec.hooks_of(HookType.ROLLOUT)] == ["b", "c", "a"]


# --- what is wrong, one by one ---


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        case(
            "words for a duration",
            "interval",
            "10 minutes",
            '"10 minutes" is not a duration; write for example "10m" or "90s"',
        ),
        case(
            "too often",
            "interval",
            "5s",
            '"5s" is below the minimum of 10s; write for example "30s"',
        ),
        case(
            "too seldom",
            "interval",
            "25h",
            '"25h" is above the maximum of 24h; write for example "30s"',
        ),
        case(
            "percent sign",
            "step-weight",
            "10%",
            '"10%" is not a percentage from 0 to 100 without the sign; write for example "20"',
        ),
        case(
            "step of nothing",
            "step-weight",
            "0",
            '"0" is below the minimum of 1; write for example "5"',
        ),
        case(
            "history without end",
            "history-limit",
            "51",
            '"51" is above the maximum of 50; write for example "20"',
        ),
        case(
            "history of nothing",
            "history-limit",
            "0",
            '"0" is below the minimum of 1; write for example "20"',
        ),
        case(
            "number in words",
            "failure-threshold",
            "three",
            '"three" is not a whole number; write for example "5"',
        ),
        case(
            "yes for true",
            "suspend",
            "yes",
            '"yes" is neither true nor false; write for example "true" or "false"',
        ),
        case(
            "word that is no choice",
            "idle",
            "sleep",
            '"sleep" is not one of scale-to-zero, keep; write for example "scale-to-zero"',
        ),
        case(
            "unknown strategy",
            "strategy",
            "rolling",
            '"rolling" is not one of canary, ab, blue-green, direct; write for example "canary"',
        ),
        case(
            "falling weights",
            "weights",
            "50,20",
            '"50,20" is not a strictly rising list of percentages from 1 to 100; write for example "1,5,20,50"',
        ),
        case(
            "name with capitals",
            "service",
            "Podinfo",
            '"Podinfo" is not a name of at most 63 lower-case letters, digits and inner dashes; write for example "podinfo"',
        ),
        case(
            "no room for the suffix",
            "service",
            "a" * 56,
            f'"{"a" * 56}" is longer than 55 characters; write for example "podinfo"',
        ),
        case(
            "config without kind",
            "config-exclude",
            "flags",
            '"flags" is neither configmap/NAME nor secret/NAME; write for example "configmap/feature-flags"',
        ),
        case(
            "no comparison",
            "metric.error-rate",
            "1",
            '"1" is not a condition; write for example ">= 99", "<= 500ms" or "95..100"',
        ),
        case(
            "latency without unit",
            "metric.latency-p99",
            "<= 500",
            '"<= 500" is a latency without its unit, ms or s; write for example "<= 500ms"',
        ),
        case(
            "latency in percent",
            "metric.latency-p99",
            "<= 5%",
            '"<= 5%" is a latency without its unit, ms or s; write for example "<= 500ms"',
        ),
        case(
            "rate in milliseconds",
            "metric.success-rate",
            ">= 99ms",
            '">= 99ms" is not a condition on a percentage from 0 to 100; write for example ">= 99"',
        ),
        case(
            "rate beyond 100",
            "metric.success-rate",
            ">= 101",
            '">= 101" is not a condition on a percentage from 0 to 100; write for example ">= 99"',
        ),
        case(
            "range beyond 100",
            "metric.success-rate",
            "99..101",
            '"99..101" is not a condition on a percentage from 0 to 100; write for example ">= 99"',
        ),
        case(
            "success the wrong way round",
            "metric.success-rate",
            "<= 99",
            '"<= 99" points the wrong way: it would fail a good success-rate; write for example ">= 99"',
        ),
        case(
            "errors the wrong way round",
            "metric.error-rate",
            "> 1",
            '"> 1" points the wrong way: it would fail a good error-rate; write for example "<= 1"',
        ),
        case(
            "latency the wrong way round",
            "metric.latency-p50",
            ">= 1s",
            '">= 1s" points the wrong way: it would fail a good latency-p50; write for example "<= 500ms"',
        ),
        case(
            "hook without type",
            "hook.x",
            "svc://a/",
            '"svc://a/" does not start with the type of a hook (one of confirm-rollout, pre-rollout, rollout, confirm-traffic-increase, confirm-promotion, post-rollout, rollback, event); write for example "pre-rollout svc://qa-runner:8080/smoke"',
        ),
        case(
            "hook without url",
            "hook.x",
            "rollout",
            '"rollout" has no URL after the type of the hook; write for example "pre-rollout svc://qa-runner:8080/smoke"',
        ),
        case(
            "hook to a file",
            "hook.x",
            "rollout file:///etc/passwd",
            '"rollout file:///etc/passwd" names a receiver that is not a URL with svc://, http:// or https://; write for example "pre-rollout svc://qa-runner:8080/smoke"',
        ),
        case(
            "load test without method",
            "load-test.x",
            "/ rate=1",
            '"/ rate=1" does not start with a method (one of GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE); write for example "GET / rate=20 for=1m concurrency=4"',
        ),
        case(
            "load test without path",
            "load-test.x",
            "GET",
            '"GET" has no path after the method; write for example "GET / rate=20 for=1m concurrency=4"',
        ),
        case(
            "load test of another host",
            "load-test.x",
            "GET http://a/",
            '"GET http://a/" has "http://a/", which is not a path that starts with one slash and has its special characters percent-encoded; write for example "GET / rate=20 for=1m concurrency=4"',
        ),
        case(
            "load test with a shell in it",
            "load-test.x",
            "GET / ;id",
            '"GET / ;id" has ";id", which is no option (one of rate=, for=, concurrency=, timeout=, max-errors=); write for example "GET / rate=20 for=1m concurrency=4"',
        ),
        case(
            "load test with an option twice",
            "load-test.x",
            "GET / rate=1 rate=2",
            '"GET / rate=1 rate=2" has the option rate twice; write for example "GET / rate=20 for=1m concurrency=4"',
        ),
        case(
            "load test with a bad option",
            "load-test.x",
            "GET / for=1",
            '"GET / for=1" has for=1, which is not a duration; write for example "GET / rate=20 for=1m concurrency=4"',
        ),
        case(
            "load test that floods",
            "load-test.x",
            "GET / rate=5001",
            '"GET / rate=5001" has rate=5001, which is not from 0.1 to 5000; write for example "GET / rate=20 for=1m concurrency=4"',
        ),
    ],
)
def test_a_bad_value_is_explained_with_its_key_its_rule_and_an_example(key, value, message):
    problem = only_problem(written({key: value}))
    assert (ProblemReason.INVALID_VALUE, key, value) == (problem.reason, problem.key, problem.value)
    assert f"canaryd.io/{key}: {message}" == str(problem)


@pytest.mark.parametrize(
    ("keys", "reason", "message"),
    [
        case(
            "misspelt key",
            {"intervall": "1m"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/intervall: is not a known key; did you mean "canaryd.io/interval"?',
        ),
        case(
            "underscores",
            {"step_weight": "1"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/step_weight: is not a known key; did you mean "canaryd.io/step-weight"?',
        ),
        case(
            "plural family",
            {"metrics.success-rate": ">= 9"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/metrics.success-rate: is not a known key; did you mean "canaryd.io/metric.success-rate"?',
        ),
        case(
            "misspelt detail",
            {"metric.x.querry": "up"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/metric.x.querry: is not a known key; did you mean "canaryd.io/metric.x.query"?',
        ),
        case(
            "nothing like it",
            {"zzzzzz": ""},
            ProblemReason.UNKNOWN_KEY,
            "canaryd.io/zzzzzz: is not a known key",
        ),
        case(
            "nothing like the detail",
            {"hook.x.zzzzzz": ""},
            ProblemReason.UNKNOWN_KEY,
            "canaryd.io/hook.x.zzzzzz: is not a known key",
        ),
        case(
            "family without name",
            {"metric": ">= 9"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/metric: is not a known key; did you mean "canaryd.io/metric.NAME"?',
        ),
        case(
            "the table's own spelling",
            {"metric.<name>": "<= 1"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/metric.<name>: has the name "<name>", and names are 1 to 24 of a-z, 0-9 and dashes',
        ),
        case(
            "name with a capital",
            {"metric.Latency-p99": "<= 1s"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/metric.Latency-p99: has the name "Latency-p99", and names are 1 to 24 of a-z, 0-9 and dashes; did you mean "canaryd.io/metric.latency-p99"?',
        ),
        case(
            "name too long",
            {f"hook.{'a' * 25}": "rollout svc://a"},
            ProblemReason.UNKNOWN_KEY,
            f'canaryd.io/hook.{"a" * 25}: has the name "{"a" * 25}", and names are 1 to 24 of a-z, 0-9 and dashes',
        ),
        case(
            "empty name",
            {"metric.": "<= 1"},
            ProblemReason.UNKNOWN_KEY,
            'canaryd.io/metric.: has the name "", and names are 1 to 24 of a-z, 0-9 and dashes',
        ),
        case(
            "names that differ by case",
            {"metric.error-rate": "< 1", "metric.Error-rate": "< 1"},
            ProblemReason.CONFLICTING,
            "canaryd.io/metric.Error-rate: differs from metric.error-rate by case only; remove one of them",
        ),
        case(
            "list beside pair",
            {"weights": "1,2", "step-weight": "5", "max-weight": "10"},
            ProblemReason.CONFLICTING,
            "canaryd.io/weights: cannot stand beside step-weight and max-weight; keep one or the other",
        ),
        case(
            "step above the maximum",
            {"step-weight": "60"},
            ProblemReason.INVALID_VALUE,
            'canaryd.io/step-weight: "60" is above max-weight, which is 50; write for example "5"',
        ),
        case(
            "no time to finish",
            {"max-duration": "3m", "interval": "1m"},
            ProblemReason.CONFLICTING,
            "canaryd.io/max-duration: leaves no time for the plan: 5 stages and the warm-up take at least 5m, and max-duration is 3m",
        ),
        case(
            "interval too long to finish",
            {"interval": "24h"},
            ProblemReason.CONFLICTING,
            "canaryd.io/interval: leaves no time for the plan: 5 stages and the warm-up take at least 120h, and max-duration is 24h",
        ),
        case(
            "own metric without query",
            {"metric.declines": "<= 2"},
            ProblemReason.MISSING_VALUE,
            'canaryd.io/metric.declines: needs a query: "declines" is none of success-rate, error-rate, latency-p50, latency-p90, latency-p95, latency-p99; write for example canaryd.io/metric.declines.query: "sum(rate(...))"',
        ),
        case(
            "query without condition",
            {"metric.declines.query": "up"},
            ProblemReason.MISSING_VALUE,
            'canaryd.io/metric.declines.query: means nothing without metric.declines; write for example canaryd.io/metric.declines: "<= 1"',
        ),
        case(
            "detail without hook",
            {"hook.x.timeout": "5s"},
            ProblemReason.MISSING_VALUE,
            'canaryd.io/hook.x.timeout: means nothing without hook.x; write for example canaryd.io/hook.x: "pre-rollout svc://qa-runner:8080/smoke"',
        ),
        case(
            "variables without query",
            {"metric.error-rate": "< 1", "metric.error-rate.vars": "a=b"},
            ProblemReason.MISSING_VALUE,
            'canaryd.io/metric.error-rate.vars: means nothing without metric.error-rate.query; write for example canaryd.io/metric.error-rate.query: "sum(rate(errors_total{namespace="{{ namespace }}"}[{{ interval }}]))"',
        ),
        case(
            "unit with a query",
            {**CUSTOM, "metric.declines": "<= 500ms"},
            ProblemReason.INVALID_VALUE,
            'canaryd.io/metric.declines: "<= 500ms" has a unit, and a query answers with a bare number: write the number in its unit; write for example "<= 0.5"',
        ),
        case(
            "unknown placeholder",
            {**CUSTOM, "metric.declines.query": 'a{b="{{ pod }}"}'},
            ProblemReason.INVALID_VALUE,
            'canaryd.io/metric.declines.query: the query names the unknown variable "pod"; known are canary, ingress, interval, namespace, primary, service, target',
        ),
        case(
            "undeclared variable",
            {**CUSTOM, "metric.declines.query": 'a{b="{{ vars.x }}"}'},
            ProblemReason.INVALID_VALUE,
            'canaryd.io/metric.declines.query: the query names the unknown variable "vars.x"; known are canary, ingress, interval, namespace, primary, service, target',
        ),
        case(
            "body of a GET",
            {"load-test.x": "GET /", "load-test.x.body": "a"},
            ProblemReason.CONFLICTING,
            "canaryd.io/load-test.x.body: is a body, and the load test sends GET",
        ),
    ],
)
def test_keys_that_do_not_fit_are_explained(keys, reason, message):
    problem = only_problem(written(keys))
    assert (reason, message) == (problem.reason, problem.message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        case(
            "a job among steps",
            "steps",
            "weight 5; job accept; weight 50",
            '"weight 5; job accept; weight 50" has the step "job accept", which is not supported by this version: call a test runner with a hook; write for example "weight 5; pause 2m; weight 25; analyze 10m"',
        ),
        case(
            "comparison with the primary",
            "metric.latency-p99",
            "<= 110% of primary",
            '"<= 110% of primary" compares with the primary, which is not supported by this version; write for example ">= 99", "<= 500ms" or "95..100"',
        ),
        case(
            "planned built-in",
            "metric.cpu",
            "<= 80",
            'is not built in yet in this version and needs a query; write for example canaryd.io/metric.cpu.query: "sum(rate(...))"',
        ),
        case(
            "job",
            "job.accept",
            "pre-rollout acceptance-tests",
            "is not supported by this version: call a test runner with a hook",
        ),
        case(
            "profile",
            "profile",
            "platform:web",
            "is not supported by this version: write the keys on the Deployment or as defaults on the namespace",
        ),
        case(
            "signed hook",
            "hook.x.secret",
            "s",
            "is not supported by this version: remove the key: bodies are not signed yet",
        ),
    ],
)
def test_a_plan_this_version_cannot_carry_out_is_refused_not_approximated(key, value, message):
    problem = only_problem(written({key: value}))
    assert (ProblemReason.NOT_SUPPORTED, f"canaryd.io/{key}: {message}") == (
        problem.reason,
        problem.message,
    )


def test_no_data_can_never_be_made_to_pass():
    problem = only_problem(
        written({"metric.error-rate": "< 1", "metric.error-rate.no-data": "pass"})
    )
    assert problem.reason == ProblemReason.INVALID_VALUE


def test_all_problems_are_told_at_once():
    resolution = written(
        {
            "enabled": "1",
            "interval": "x",
            "warmup": "y",
            "provider": "istio",
            "steps": "weight 5",
            "gate.x": "tomorrow",
            "match": "cookie a",
            "profile": "web",
            "intervall": "1m",
            "metric.a": "<= 1",
            "metric.b.query": "up",
            "weights": "1",
            "max-weight": "1",
        }
    )
    assert None is resolution.spec
    assert {
        (ProblemReason.INVALID_VALUE, "enabled"),
        (ProblemReason.INVALID_VALUE, "interval"),
        (ProblemReason.INVALID_VALUE, "warmup"),
        (ProblemReason.INVALID_VALUE, "provider"),
        (ProblemReason.INVALID_VALUE, "gate.x"),
        (ProblemReason.CONFLICTING, "match"),
        (ProblemReason.NOT_SUPPORTED, "profile"),
        (ProblemReason.UNKNOWN_KEY, "intervall"),
        (ProblemReason.MISSING_VALUE, "metric.a"),
        (ProblemReason.MISSING_VALUE, "metric.b.query"),
        (ProblemReason.CONFLICTING, "weights"),
    } == set(told(resolution))


def test_a_bad_value_is_told_once():
    assert told(written({"interval": "x", "metric.error-rate": "< 1"})) == [
        (ProblemReason.INVALID_VALUE, "interval")
    ]


def test_earlier_problems_keep_a_good_plan_from_coming_out():
    problems = template_problems({"canaryd.io/interval": "1m"})
    assert (None, problems) == (
        resolve([], problems=problems).spec,
        resolve([], problems=problems).problems,
    )


@pytest.mark.parametrize(
    ("family", "limit", "value"),
    [
        ("metric", 30, "<= 1"),
        ("hook", 30, "rollout svc://a/"),
        ("load-test", 10, "GET /"),
        ("gate", 10, "promotion"),
    ],
)
def test_there_may_be_only_so_many_of_a_kind(family, limit, value):
    keys = {f"{family}.n{number:02}": value for number in range(limit + 1)}
    keys |= {
        f"metric.n{number:02}.query": "up" for number in range(limit + 1) if family == "metric"
    }
    problem = only_problem(written(keys))
    assert (ProblemReason.TOO_LARGE, f"{family}.n{limit}") == (problem.reason, problem.key)
    del keys[f"{family}.n{limit}"]
    keys.pop(f"metric.n{limit}.query", None)
    assert written(keys).problems == ()


def test_a_query_that_cannot_be_read_is_told_and_nothing_else():
    keys = {"metric.latency-p99": "<= 0.5", "metric.latency-p99.query": "a\x00"}
    assert only_problem(written(keys)).message == (
        'canaryd.io/metric.latency-p99.query: "a\\x00" contains control characters; write for example '
        '"plain text"'
    )


def test_a_condition_that_cannot_be_read_is_told_once():
    assert told(written({"metric.latency-p99": "fast"})) == [
        (ProblemReason.INVALID_VALUE, "metric.latency-p99")
    ]


def test_credentials_in_a_hook_url_are_refused_and_never_repeated():
    problem = only_problem(written({"hook.x": "rollout https://user:hunter2@qa.example.com/"}))
    assert "hunter2" not in problem.message + problem.value
    assert "has a user name or password in its URL" in problem.message


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        case("host", "Host=evil.example.com", "sets the header Host, which the runner sets itself"),
        case(
            "length",
            "content-length=0",
            "sets the header content-length, which the runner sets itself",
        ),
        case("twice by case", "Accept=a,accept=b", "has a header twice"),
        case("bad name", "a.b=c", 'has "a.b", which is not the name of a header'),
        case("beyond ascii", "X=ü", "has a value for X beyond printable ASCII"),
    ],
)
def test_headers_that_steer_the_connection_are_refused(headers, rule):
    problem = only_problem(written({"load-test.x": "GET /", "load-test.x.headers": headers}))
    assert rule == problem.rule


def test_only_the_first_unknown_keys_get_a_suggestion():
    problems = written({f"interval{n}": "1m" for n in range(12)}).problems
    assert [bool(problem.example) for problem in problems] == [True] * 10 + [False] * 2
