"""Which keys go together, and what becomes of those that do not."""

import pytest

from canaryd.core.annotations import plan_values, resolve
from canaryd.core.coherence import DIRECT_HOOKS, PROVIDERS, STRATEGIES
from canaryd.core.draft import Resolved
from canaryd.core.model import CanarySpec, HookType, Provider
from canaryd.core.problems import BUILT_IN, CONTROLLER, DEPLOYMENT, NAMESPACE, ProblemReason
from canaryd.core.program import GateAt, Strategy
from canaryd.core.vocabulary import BY_KEY
from tests.core.plans import BESIDE, EVERYTHING, STEPPED, case, only_problem, told, written

AB = {"strategy": "ab", "match": "header x-canary=insider"}
DIRECT = {"strategy": "direct"}
BLUE_GREEN = {"strategy": "blue-green"}
STEPS = {"steps": "weight 10; gate qa; weight 50"}
CONFLICTING, MISSING = ProblemReason.CONFLICTING, ProblemReason.MISSING_VALUE

# --- every strategy, in the fewest lines ---


@pytest.mark.parametrize(
    ("keys", "stages"),
    [
        case("canary", {}, [f"weight {weight}" for weight in (10, 20, 30, 40, 50)]),
        case("canary to all", {"weights": "50,100"}, ["weight 50", "weight 100"]),
        case("steps", STEPS, ["gate qa", "weight 50"]),
        case("ab", AB, ["match"]),
        case("blue green", BLUE_GREEN, ["weight 0", "weight 100"]),
        case(
            "blue green by the Service",
            {**BLUE_GREEN, "provider": "none"},
            ["weight 0", "weight 100"],
        ),
        case("direct", DIRECT, []),
        case("direct by the Service", {**DIRECT, "provider": "none"}, []),
        case(
            "testers by header beside the weights",
            {"match": "header x-canary=insider", "weights": "10"},
            ["weight 10"],
        ),
    ],
)
def test_each_strategy_is_a_plan(keys, stages):
    resolution = written(keys)
    assert () == resolution.problems
    assert stages == [stage.name for stage in resolution.spec.stages]


# --- keys that say nothing ---

GOOD = {
    "weights": "5,10",
    "step-weight": "5",
    "max-weight": "20",
    "steps": "weight 5; analyze",
    "iterations": "6",
    "match": "cookie canary",
    "mirror": "50",
    "promotion-step-weight": "50",
    "warmup": "1m",
    "skip-analysis": "true",
    "load-test.<name>": "GET /",
    "ingress": "podinfo",
    "ingress-class": "nginx",
    "route": "podinfo",
}
"""A value that asks for something, for each key that not every strategy or provider knows."""


def test_every_key_that_not_all_know_is_tried():
    assert set(GOOD) == {*STRATEGIES, *PROVIDERS}


@pytest.mark.parametrize(
    ("key", "strategy"),
    [(key, other) for key, known in STRATEGIES.items() for other in Strategy if other not in known],
)
def test_a_key_of_another_strategy_is_refused_with_those_that_know_it(key, strategy):
    base = AB if strategy is Strategy.AB else {"strategy": strategy}
    name = key.replace("<name>", "x")
    problem = only_problem(written({**base, name: GOOD[key]}))
    assert (CONFLICTING, name, GOOD[key]) == (problem.reason, problem.key, problem.value)
    words = " or ".join(STRATEGIES[key]).replace(" or ", ", ", len(STRATEGIES[key]) - 2)
    assert f"means nothing with strategy {strategy}, only with {words}" == problem.rule
    assert f'canaryd.io/strategy: "{STRATEGIES[key][0]}"' == problem.example


@pytest.mark.parametrize(
    ("key", "provider"),
    [(key, other) for key, known in PROVIDERS.items() for other in Provider if other not in known],
)
def test_a_key_of_another_provider_is_refused_with_those_that_know_it(key, provider):
    problem = only_problem(written({**BLUE_GREEN, "provider": provider, key: GOOD[key]}))
    assert (CONFLICTING, key, GOOD[key]) == (problem.reason, problem.key, problem.value)
    words = " or ".join(PROVIDERS[key]).replace(" or ", ", ", len(PROVIDERS[key]) - 2)
    assert f"means nothing with provider {provider}, only with {words}" == problem.rule
    assert f'canaryd.io/provider: "{PROVIDERS[key][0]}"' == problem.example


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        case(
            "a metric that nobody looks at",
            {**DIRECT, "metric.error-rate": "< 1", "metric.error-rate.failures": "2"},
            "metric.error-rate",
            '"< 1" means nothing with strategy direct, which judges nothing without watch-after-promotion; write for example canaryd.io/watch-after-promotion: "15m"',
        ),
        case(
            "a detail of a metric, which is inherited",
            {**DIRECT, "metric.x.failures": "2"},
            "metric.x.failures",
            '"2" means nothing with strategy direct, which judges nothing without watch-after-promotion; write for example canaryd.io/watch-after-promotion: "15m"',
        ),
        case(
            "a limit that nobody looks at",
            {**DIRECT, "min-requests": "100"},
            "min-requests",
            '"100" means nothing with strategy direct, which judges nothing without watch-after-promotion; write for example canaryd.io/watch-after-promotion: "15m"',
        ),
        case(
            "a hook that nobody calls",
            {**DIRECT, "hook.x": "pre-rollout svc://a/", "hook.x.timeout": "5s"},
            "hook.x",
            '"pre-rollout svc://a/" is never called with strategy direct, which calls confirm-rollout, post-rollout, event; write for example "confirm-rollout svc://a/"',
        ),
        case(
            "a condition that no step lets in",
            {"match": "cookie a", "steps": "weight 10; analyze"},
            "match",
            '"cookie a" means nothing beside steps that never say match; write for example canaryd.io/steps: "match; analyze 15m; unmatch; weight 10"',
        ),
        case(
            "mirroring beside steps",
            {"mirror": "50", "provider": "gateway", "steps": "weight 10; analyze"},
            "mirror",
            '"50" means nothing beside steps; mirror among them; write for example canaryd.io/steps: "mirror 100; analyze 10m; mirror 0; weight 10"',
        ),
        case(
            "a gate that no step names",
            {**STEPS, "gate.release": "step approvals=2"},
            "gate.release",
            '"step approvals=2" stands where steps say gate release, and none of them does; write for example "promotion"',
        ),
        case(
            "a gate among steps that there are none of",
            {**AB, "gate.qa": "step"},
            "gate.qa",
            '"step" stands where steps say gate qa, and none of them does; write for example "promotion"',
        ),
        case(
            "watching without anything to watch",
            {"watch-after-promotion": "15m"},
            "watch-after-promotion",
            '"15m" means nothing without a metric that the promoted revision is judged by; write for example canaryd.io/metric.success-rate: ">= 99"',
        ),
        case(
            "pods of a Deployment that keeps its own",
            {"idle": "keep", "canary-replicas": "20%"},
            "canary-replicas",
            '"20%" means nothing with idle: keep, which leaves the number of pods to the Deployment; write for example canaryd.io/idle: "scale-to-zero"',
        ),
    ],
)
def test_a_key_that_says_nothing_is_refused(keys, key, message):
    problem = only_problem(written(keys))
    assert (CONFLICTING, f"canaryd.io/{key}: {message}") == (problem.reason, str(problem))


@pytest.mark.parametrize(
    "keys",
    [
        case("mirror nothing", {**AB, "mirror": "0"}),
        case("hand everything back at once", {**AB, "promotion-step-weight": "100"}),
        case("skip nothing", {**DIRECT, "skip-analysis": "false"}),
        case("watch nothing", {"watch-after-promotion": "0s"}),
        case("as many pods as the primary", {"idle": "keep", "canary-replicas": "match"}),
        case("mirror nothing beside steps", {**STEPS, "mirror": "0"}),
    ],
)
def test_a_value_that_asks_for_nothing_may_stand_anywhere(keys):
    assert () == written(keys).problems


@pytest.mark.parametrize("hook", HookType)
def test_direct_calls_the_hooks_that_need_no_judgement(hook):
    problems = written({**DIRECT, "hook.x": f"{hook} svc://a/"}).problems
    assert (hook in DIRECT_HOOKS) == (problems == ())


def test_direct_judges_when_it_watches():
    keys = {
        **DIRECT,
        "watch-after-promotion": "15m",
        "metric.error-rate": "< 1",
        "min-requests": "9",
    }
    spec = written(keys).spec
    assert (900.0, 1, 9) == (spec.watch_s, len(spec.metrics), spec.min_requests)


def test_a_hook_that_cannot_be_read_is_told_as_such():
    assert (
        "does not start with the type of a hook"
        in only_problem(written({**DIRECT, "hook.x": "rolout svc://a/"})).rule
    )


# --- the same, inherited ---


@pytest.mark.parametrize("origin", [CONTROLLER, NAMESPACE])
@pytest.mark.parametrize(
    ("inherited", "own"),
    [
        case("weights for canaries", {"weights": "5,10"}, AB),
        case("steps for canaries", STEPS, BLUE_GREEN),
        case("iterations for others", {"iterations": "6"}, {}),
        case("a header for those that split", {"match": "cookie a"}, BLUE_GREEN),
        case("Ingresses for those that have some", {"ingress": "a"}, {"provider": "gateway"}),
        case(
            "a check for those that judge",
            {"metric.error-rate": "< 1", "metric.error-rate.failures": "1"},
            DIRECT,
        ),
        case(
            "a hook for those that judge",
            {"hook.x": "rollout svc://a/", "hook.x.order": "1"},
            DIRECT,
        ),
        case("a load test for those that judge", {"load-test.x": "GET /"}, DIRECT),
        case("the details of a gate that steps may name", {"gate.qa": "step approvals=2"}, {}),
        case("the same for another strategy", {"gate.qa": "step approvals=2"}, AB),
        case("watching for those with metrics", {"watch-after-promotion": "15m"}, {}),
        case("pods for those that scale", {"canary-replicas": "20%"}, {"idle": "keep"}),
    ],
)
def test_an_inherited_key_that_says_nothing_here_is_set_aside(origin, inherited, own):
    resolution = resolve([(origin, inherited), (DEPLOYMENT, own)])
    assert ((), written(own).spec) == (resolution.problems, resolution.spec)
    for key in inherited:
        assert resolution.values.get(key, Resolved("", origin)) == Resolved("", origin)
    assert set(inherited).isdisjoint(plan_values(resolution.values))


def test_an_inherited_key_that_says_something_is_used():
    resolution = resolve([(NAMESPACE, {"gate.qa": "step approvals=2"}), (DEPLOYMENT, STEPS)])
    assert [2] == [gate.approvals for gate in resolution.spec.gates]


def test_a_detail_of_an_inherited_thing_that_was_set_aside_is_told():
    problem = only_problem(
        resolve(
            [
                (NAMESPACE, {"hook.x": "rollout svc://a/"}),
                (DEPLOYMENT, {**DIRECT, "hook.x.timeout": "5s"}),
            ]
        )
    )
    assert "hook.x.timeout" == problem.key
    assert "is never called with strategy direct" in problem.rule


@pytest.mark.parametrize(
    ("inherited", "own", "key"),
    [
        case(
            "a condition that would be dropped", {"match": "cookie a"}, {"provider": "smi"}, "match"
        ),
        case("mirroring that would be dropped", {"mirror": "50"}, {}, "mirror"),
        case("an approval at a weight that is not there", {"gate.qa": "weight:25"}, {}, "gate.qa"),
        case(
            "an approval at weights that are not there",
            {"gate.qa": "each-weight"},
            BLUE_GREEN,
            "gate.qa",
        ),
        case(
            "an approval before a promotion that is at once",
            {"gate.qa": "promotion"},
            DIRECT,
            "gate.qa",
        ),
    ],
)
def test_what_would_do_harm_when_dropped_is_refused_from_wherever_it_comes(inherited, own, key):
    resolution = resolve([(NAMESPACE, inherited), (DEPLOYMENT, own)])
    problem = only_problem(resolution)
    assert (CONFLICTING, key, NAMESPACE) == (problem.reason, problem.key, problem.origin)
    assert f"defaults.canaryd.io/{key}: " in problem.message
    assert () == resolve([(NAMESPACE, inherited), (DEPLOYMENT, {**own, key: ""})]).problems


# --- keys that exclude each other ---


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        case(
            "steps beside weights",
            {**STEPS, "weights": "1"},
            "canaryd.io/weights: cannot stand beside steps; keep one or the other",
        ),
        case(
            "steps beside the pair",
            {**STEPS, "step-weight": "5", "max-weight": "20"},
            "canaryd.io/steps: cannot stand beside step-weight and max-weight; keep one or the other",
        ),
        case(
            "all of them",
            {**STEPS, "weights": "1", "step-weight": "5"},
            "canaryd.io/weights: cannot stand beside step-weight and steps; keep one or the other",
        ),
    ],
)
def test_there_is_one_course(layer, message):
    assert message in [str(problem) for problem in written(layer).problems]
    assert 1 == len(written(layer).problems)


def test_the_stronger_layer_has_the_course():
    steps = {"steps": "weight 7; analyze"}
    by_steps = resolve([(NAMESPACE, {"weights": "1,2"}), (DEPLOYMENT, steps)])
    by_weights = resolve([(NAMESPACE, steps), (DEPLOYMENT, {"max-weight": "20"})])
    assert ((), [7]) == (by_steps.spec.weights, [s.weight for s in by_steps.spec.stages])
    assert (10, 20) == by_weights.spec.weights
    assert () == by_weights.spec.steps


# --- keys that contradict each other ---


@pytest.mark.parametrize(
    ("keys", "reason", "message"),
    [
        case(
            "ab without match",
            {"strategy": "ab"},
            MISSING,
            'canaryd.io/strategy: "ab" needs match: it says which requests get to the canary; write for example canaryd.io/match: "header x-canary=insider; cookie canary"',
        ),
        case(
            "shares without a router",
            {"provider": "none"},
            MISSING,
            'canaryd.io/provider: "none" cannot send a part of the users to a canary, which strategy canary does; write for example canaryd.io/strategy: "blue-green"',
        ),
        case(
            "shares without a router, by strategy",
            {**AB, "provider": "none"},
            CONFLICTING,
            'canaryd.io/provider: "none" cannot send a part of the users to a canary, which strategy ab does; write for example canaryd.io/strategy: "blue-green"',
        ),
        case(
            "two headers on Ingresses",
            {**AB, "match": "header a=b; header c=d; cookie e"},
            CONFLICTING,
            'canaryd.io/match: "header a=b; header c=d; cookie e" has 2 headers, and provider nginx can look at one header; write for example canaryd.io/provider: "gateway"',
        ),
        case(
            "two cookies on Ingresses",
            {**AB, "match": "cookie a; cookie b"},
            CONFLICTING,
            'canaryd.io/match: "cookie a; cookie b" has 2 cookies, and provider nginx can look at one cookie; write for example canaryd.io/provider: "gateway"',
        ),
        case(
            "mirroring on Ingresses",
            {**BLUE_GREEN, "mirror": "100"},
            CONFLICTING,
            'canaryd.io/mirror: "100" cannot be carried out by provider nginx: only gateway mirrors requests; write for example canaryd.io/provider: "gateway"',
        ),
        case(
            "mirroring among steps",
            {"steps": "mirror 10; analyze; mirror 0; weight 10", "provider": "smi"},
            CONFLICTING,
            'canaryd.io/steps: "mirror 10; analyze; mirror 0; weight 10" cannot be carried out by provider smi: only gateway mirrors requests; write for example canaryd.io/provider: "gateway"',
        ),
        case(
            "match among steps without a condition",
            {"steps": "match; analyze"},
            MISSING,
            'canaryd.io/steps: "match; analyze" says match, and no key says which requests; write for example canaryd.io/match: "header x-canary=insider"',
        ),
        case(
            "pods among steps of a Deployment that keeps its own",
            {"steps": "scale 2; weight 10", "idle": "keep"},
            CONFLICTING,
            'canaryd.io/steps: "scale 2; weight 10" scales the canary, and idle: keep leaves the number of pods to the Deployment; write for example canaryd.io/idle: "scale-to-zero"',
        ),
        case(
            "gate at a weight of no plan",
            {"weights": "5,20", "gate.qa": "weight:10"},
            CONFLICTING,
            'canaryd.io/gate.qa: "weight:10" stands at a weight that the plan does not have; it has 5,20; write for example "weight:20"',
        ),
        case(
            "gate at a weight beside steps",
            {**STEPS, "gate.release": "weight:10"},
            CONFLICTING,
            'canaryd.io/gate.release: "weight:10" stands at a weight, and beside steps it must stand among them: gate release; write for example "step"',
        ),
        case(
            "gate at a weight of a/b",
            {**AB, "gate.qa": "each-weight"},
            CONFLICTING,
            'canaryd.io/gate.qa: "each-weight" stands at a weight, and strategy ab has none on its way; write for example "promotion"',
        ),
        case(
            "gate that stands elsewhere and among steps",
            {**STEPS, "gate.qa": "promotion"},
            CONFLICTING,
            'canaryd.io/gate.qa: "promotion" stands at promotion, and steps name it too; give one of them another name; write for example "step"',
        ),
        case(
            "gate in what waits for nothing",
            {**DIRECT, "gate.qa": "start"},
            CONFLICTING,
            'canaryd.io/gate.qa: "start" stands nowhere with strategy direct, which waits for readiness and for hooks only; write for example canaryd.io/hook.qa: "confirm-rollout svc://approvals/"',
        ),
        case(
            "deadline beyond the end",
            {"gate.qa": "start deadline=25h"},
            CONFLICTING,
            'canaryd.io/gate.qa: "start deadline=25h" has a deadline beyond max-duration, which is 24h and ends the run before; write for example canaryd.io/max-duration: "720h"',
        ),
        case(
            "nothing to observe in direct",
            {**DIRECT, "mode": "observe"},
            CONFLICTING,
            'canaryd.io/mode: "observe" has nothing to observe with strategy: direct, which judges nothing; write for example "enforce"',
        ),
        case(
            "nothing to observe when all is skipped",
            {"skip-analysis": "true", "mode": "observe"},
            CONFLICTING,
            'canaryd.io/mode: "observe" has nothing to observe with skip-analysis: true, which judges nothing; write for example "enforce"',
        ),
        case(
            "watching for less than an interval",
            {"interval": "5m", "watch-after-promotion": "2m", "metric.error-rate": "< 1"},
            CONFLICTING,
            'canaryd.io/watch-after-promotion: "2m" is shorter than interval, which is 5m: no judgement would fall into it; write for example "5m"',
        ),
    ],
)
def test_keys_that_contradict_each_other_are_explained(keys, reason, message):
    problem = only_problem(written(keys))
    assert (reason, message) == (problem.reason, str(problem))


def test_X13_a_b_on_smi_is_refused_and_nobody_is_sent_to_the_canary():
    problem = only_problem(written({**AB, "provider": "smi"}))
    assert (
        'canaryd.io/match: "header x-canary=insider" cannot be carried out by provider smi: a '
        "TrafficSplit sends everybody or a share, whatever they ask for; write for example "
        'canaryd.io/provider: "gateway"'
    ) == str(problem)


@pytest.mark.parametrize("at", GateAt)
def test_a_gate_may_stand_wherever_a_canary_has_such_a_place(at):
    course = STEPS if at is GateAt.STEP else {"weights": "10,50"}
    place = "weight:10" if at is GateAt.WEIGHT else str(at)
    assert () == written({**course, "gate.qa": place}).problems


@pytest.mark.parametrize(
    "sample", [EVERYTHING, STEPPED, BESIDE], ids=["weights", "steps", "beside"]
)
@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_a_plan_may_be_observed_as_it_is_before_it_is_enforced(sample, mode):
    assert () == written({**sample, "mode": mode}).problems


# --- time ---


@pytest.mark.parametrize(
    ("keys", "key", "needed"),
    [
        case(
            "iterations",
            {**AB, "iterations": "6", "max-duration": "359s"},
            "max-duration",
            "1 stage and the warm-up take at least 6m",
        ),
        case(
            "blue green",
            {**BLUE_GREEN, "iterations": "200", "interval": "10m"},
            "interval",
            "2 stages and the warm-up take at least 33h30m",
        ),
        case(
            "waits among steps",
            {"steps": "weight 5; pause 23h; analyze 1h; weight 50"},
            "steps",
            "3 stages and the warm-up take at least 24h1m",
        ),
        case(
            "warm-up", {"warmup": "24h"}, "warmup", "5 stages and the warm-up take at least 24h5m"
        ),
        case(
            "weights",
            {"weights": "1,2,3", "interval": "24h", "max-duration": "71h"},
            "max-duration",
            "3 stages and the warm-up take at least 72h",
        ),
    ],
)
def test_a_plan_that_cannot_end_in_time_is_refused(keys, key, needed):
    problem = only_problem(written(keys))
    assert (CONFLICTING, key) == (problem.reason, problem.key)
    assert f"leaves no time for the plan: {needed}, and max-duration is" in problem.rule


@pytest.mark.parametrize(
    "keys",
    [
        case("to the second", {**AB, "iterations": "6", "max-duration": "6m"}),
        case("a pause without end", {"steps": "weight 5; pause; weight 50", "max-duration": "2m"}),
        case("a gate without a deadline", {"steps": "gate qa; weight 50", "max-duration": "1m"}),
        case("nothing to wait for", {**DIRECT, "max-duration": "10s"}),
    ],
)
def test_a_plan_that_can_end_in_time_is_read(keys):
    assert () == written(keys).problems


# --- what cannot be read is told, and nothing that would follow from it ---


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        case(
            "strategy",
            {"strategy": "A/B", "match": "cookie a", "iterations": "3", "weights": "5"},
            "strategy",
        ),
        case("strategy with gates", {"strategy": "A/B", "gate.qa": "weight:3"}, "strategy"),
        case(
            "provider",
            {"provider": "istio", "route": "a", "ingress": "b", "match": "header a; header b"},
            "provider",
        ),
        case(
            "steps",
            {"steps": "weight", "match": "cookie a", "gate.qa": "step", "gate.b": "weight:9"},
            "steps",
        ),
        case("match", {"strategy": "ab", "match": "a=b"}, "match"),
        case("match beside steps", {"steps": "match; analyze", "match": "a=b"}, "match"),
        case("weights", {"weights": "5,3", "gate.qa": "weight:3"}, "weights"),
        case(
            "interval",
            {"interval": "soon", "watch-after-promotion": "5s", "metric.error-rate": "< 1"},
            "interval",
        ),
        case(
            "how long to watch",
            {**DIRECT, "watch-after-promotion": "soon", "min-requests": "1"},
            "watch-after-promotion",
        ),
        case("maximum", {"max-duration": "soon", "gate.qa": "start deadline=700h"}, "max-duration"),
        case("time", {"warmup": "30h"}, "warmup"),
    ],
)
def test_a_value_that_cannot_be_read_brings_no_other_problems(keys, key):
    assert [key] == [key for _, key in told(written(keys))]


# --- what is in force ---


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        case(
            "canary",
            {},
            {
                "weights": Resolved("10,20,30,40,50", BUILT_IN),
                "step-weight": Resolved("10", BUILT_IN),
                "iterations": Resolved("", BUILT_IN),
                "ingress": Resolved("", BUILT_IN),
                "mirror": Resolved("0", BUILT_IN),
            },
        ),
        case(
            "steps",
            STEPS,
            {
                "steps": Resolved(STEPS["steps"], DEPLOYMENT),
                "weights": Resolved("", DEPLOYMENT),
                "step-weight": Resolved("", DEPLOYMENT),
                "max-weight": Resolved("", DEPLOYMENT),
            },
        ),
        case(
            "ab",
            AB,
            {
                "weights": Resolved("", BUILT_IN),
                "step-weight": Resolved("", BUILT_IN),
                "promotion-step-weight": Resolved("", BUILT_IN),
                "iterations": Resolved("10", BUILT_IN),
            },
        ),
        case(
            "direct",
            DIRECT,
            {
                "failure-threshold": Resolved("", BUILT_IN),
                "inconclusive-deadline": Resolved("", BUILT_IN),
                "interval": Resolved("1m", BUILT_IN),
            },
        ),
    ],
)
def test_what_is_not_in_force_is_shown_without_a_value(keys, shown):
    values = written(keys).values
    assert shown == {key: values[key] for key in shown}


def test_an_inherited_key_that_was_set_aside_shows_where_it_comes_from():
    resolution = resolve([(NAMESPACE, {"iterations": "6"}), (DEPLOYMENT, {})])
    assert Resolved("", NAMESPACE) == resolution.values["iterations"]


@pytest.mark.parametrize(
    "keys",
    [
        case("steps", {**STEPS, "gate.qa": "step approvals=2"}),
        case("ab", AB),
        case("blue green", BESIDE),
        case("direct", DIRECT),
        case("steps with conditions", STEPPED),
    ],
)
def test_a_pinned_plan_of_any_strategy_gives_back_an_equal_spec(keys):
    first = resolve([(NAMESPACE, {"iterations": "7", "weights": "3"}), (DEPLOYMENT, keys)])
    pinned = plan_values(first.values)
    again = resolve([("pinned", pinned)])
    assert ((), first.spec) == (again.problems, again.spec)
    assert isinstance(first.spec, CanarySpec)
    assert set(pinned) <= set(keys) | {"iterations", "weights"}


def test_what_decides_about_others_is_in_the_table():
    assert {"strategy", "provider", "steps", "idle", "watch-after-promotion"} <= set(BY_KEY)
