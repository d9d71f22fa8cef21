"""Where values come from, how they are picked and merged, and who is enrolled."""

import datetime as dt

import pytest

from canaryd.core.annotations import (
    MAX_BYTES,
    describe_non_string,
    namespace_defaults,
    own_annotations,
    plan_values,
    resolve,
    resolve_deployment,
    template_problems,
)
from canaryd.core.draft import Resolved
from canaryd.core.model import CanarySpec
from canaryd.core.problems import BUILT_IN, CONTROLLER, DEPLOYMENT, NAMESPACE, ProblemReason
from tests.core.plans import CUSTOM, EVERYTHING, case, only_problem, told, written

# --- who is enrolled ---


@pytest.mark.parametrize(
    ("layer", "enabled"),
    [
        case("no key", {}, False),
        case("true", {"enabled": "true"}, True),
        case("false", {"enabled": "false"}, False),
        case("empty", {"enabled": ""}, False),
    ],
)
def test_enrolment_is_the_deployments_own_wish(layer, enabled):
    assert enabled == resolve([(DEPLOYMENT, layer)]).enabled


@pytest.mark.parametrize("origin", [CONTROLLER, NAMESPACE, "pinned"])
def test_enrolment_is_not_inherited_and_says_so(origin):
    resolution = resolve([(origin, {"enabled": "true"}), (DEPLOYMENT, {})])
    assert not resolution.enabled
    assert only_problem(resolution).reason == ProblemReason.MISPLACED


def test_a_misspelt_enrolment_neither_enrols_nor_lets_go():
    # True without a spec: a new Deployment is not taken, an enrolled one keeps its last valid plan.
    resolution = written({"enabled": "ture"})
    assert resolution.enabled
    assert (
        only_problem(resolution).message
        == 'canaryd.io/enabled: "ture" is neither true nor false; write for example "true" or "false"'
    )


# --- layers ---


def test_the_stronger_layer_wins_key_by_key():
    resolution = resolve(
        [
            (CONTROLLER, {"interval": "20s", "warmup": "1m", "keep-failed": "1m"}),
            (NAMESPACE, {"interval": "30s", "warmup": "2m"}),
            (DEPLOYMENT, {"interval": "40s"}),
        ]
    )
    assert (
        resolution.spec.interval_s,
        resolution.spec.warmup_s,
        resolution.spec.keep_failed_s,
    ) == (40.0, 120.0, 60.0)
    assert [
        resolution.values[key].origin for key in ("interval", "warmup", "keep-failed", "idle")
    ] == ["deployment", "namespace", "controller", "built-in"]


def test_an_empty_value_takes_the_inherited_one_away():
    resolution = resolve([(NAMESPACE, {"interval": "30s"}), (DEPLOYMENT, {"interval": ""})])
    assert (60.0, Resolved("1m", BUILT_IN)) == (
        resolution.spec.interval_s,
        resolution.values["interval"],
    )


def test_taking_an_inherited_check_away_takes_its_details_away():
    resolution = resolve([(NAMESPACE, CUSTOM), (DEPLOYMENT, {"metric.declines": ""})])
    assert (resolution.problems, resolution.spec.metrics) == ((), ())
    assert not any("declines" in key for key in resolution.values)


def test_a_namespace_may_offer_a_query_that_a_deployment_turns_into_a_check():
    offer = {"metric.declines.query": "sum(up)"}
    assert ((), CanarySpec()) == (
        resolve([(NAMESPACE, offer)]).problems,
        resolve([(NAMESPACE, offer)]).spec,
    )
    (check,) = resolve([(NAMESPACE, offer), (DEPLOYMENT, {"metric.declines": "<= 2"})]).spec.metrics
    assert check.query == "sum(up)"


@pytest.mark.parametrize(
    ("below", "above", "weights", "shown"),
    [
        case(
            "list over pair",
            {"step-weight": "20"},
            {"weights": "5,10"},
            (5, 10),
            {"weights": "5,10", "step-weight": "", "max-weight": ""},
        ),
        case(
            "pair over list",
            {"weights": "5,10"},
            {"max-weight": "20"},
            (10, 20),
            {"weights": "10,20", "step-weight": "10", "max-weight": "20"},
        ),
    ],
)
def test_weights_of_a_stronger_layer_replace_those_of_a_weaker_one_however_written(
    below, above, weights, shown
):
    resolution = resolve([(NAMESPACE, below), (DEPLOYMENT, above)])
    assert weights == resolution.spec.weights
    assert shown == {key: resolution.values[key].value for key in shown}
    assert resolution.values["weights"].origin == DEPLOYMENT


def test_a_bad_value_that_a_stronger_layer_replaces_does_no_harm():
    assert (
        resolve(
            [(NAMESPACE, {"interval": "soon"}), (DEPLOYMENT, {"interval": "30s"})]
        ).spec.interval_s
        == 30.0
    )


def test_a_problem_of_a_default_names_the_key_where_it_stands():
    resolution = resolve(
        [(CONTROLLER, {"warmup": "x"}), (NAMESPACE, {"interval": "x", "intervall": "1m"})]
    )
    assert {
        'defaults.canaryd.io/interval: "x" is not a duration; write for example "10m" or "90s"',
        'defaults.canaryd.io/intervall: is not a known key; did you mean "defaults.canaryd.io/interval"?',
        'warmup (controller): "x" is not a duration; write for example "10m" or "90s"',
    } == {problem.message for problem in resolution.problems}


# --- picking annotations from objects ---


def test_only_our_annotations_are_picked_and_lose_their_prefix():
    own, problems = own_annotations(
        {
            "canaryd.io/interval": "1m",
            "example.com/interval": "2m",
            "notcanaryd.io/x": "",
            "canaryd.io": "",
            "internal.canaryd.io/managed": "true",
        }
    )
    assert (own, problems) == ({"interval": "1m"}, ())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (
            "action.canaryd.io/promote",
            "action.canaryd.io/promote: is a request, and belongs on the Canary object of this Deployment",
        ),
        (
            "status.canaryd.io/phase",
            "status.canaryd.io/phase: is written by canaryd only; remove it",
        ),
        (
            "defaults.canaryd.io/interval",
            "defaults.canaryd.io/interval: is a default, and belongs on the Namespace; here write canaryd.io/ keys",
        ),
    ],
)
def test_reserved_prefixes_on_a_deployment_are_misplaced(key, message):
    own, (problem,) = own_annotations({key: "x"})
    assert ({}, ProblemReason.MISPLACED, message) == (own, problem.reason, problem.message)


def test_an_unknown_prefix_of_ours_is_told():
    _, (problem,) = own_annotations({"config.canaryd.io/interval": "1m"})
    assert (
        problem.message
        == 'config.canaryd.io/interval: has a prefix that canaryd does not know; did you mean "canaryd.io/interval"?'
    )


def test_too_much_text_is_refused_but_does_not_end_the_enrolment():
    own, problems = own_annotations(
        {"canaryd.io/enabled": "true", "canaryd.io/metric.x.query": "ü" * MAX_BYTES}
    )
    resolution = resolve([(DEPLOYMENT, own)], problems=problems)
    assert (resolution.enabled, resolution.spec) == (True, None)
    assert told(resolution) == [(ProblemReason.TOO_LARGE, "metric.x.query")]
    assert "is the largest with 32793 bytes" in str(resolution.problems[0])


def test_as_much_text_as_allowed_is_not_refused():
    key = "canaryd.io/metric.x.query"
    own, problems = own_annotations({key: "x" * (MAX_BYTES - len(key))})
    assert (MAX_BYTES - len(key), ()) == (len(own["metric.x.query"]), problems)


def test_a_lone_surrogate_is_counted_not_raised_at():
    own, problems = own_annotations({"canaryd.io/retry": "\ud800"})
    assert (own, problems) == ({"retry": "\ud800"}, ())


def test_a_key_of_a_config_on_a_deployment_is_sent_there():
    problem = only_problem(resolve([(DEPLOYMENT, {"copy": "false"})]))
    message = "canaryd.io/copy: does nothing here; it belongs on a ConfigMap or Secret"
    assert (ProblemReason.MISPLACED, message) == (problem.reason, problem.message)


def test_defaults_of_a_namespace_are_picked_and_plain_keys_there_are_misplaced():
    defaults, (problem,) = namespace_defaults(
        {"defaults.canaryd.io/interval": "30s", "canaryd.io/warmup": "1m", "kubernetes.io/x": ""}
    )
    assert defaults == {"interval": "30s"}
    assert (
        problem.message
        == "canaryd.io/warmup: does nothing on a Namespace; defaults are written defaults.canaryd.io/KEY"
    )


def test_too_many_defaults_are_refused():
    defaults, (problem,) = namespace_defaults({"defaults.canaryd.io/retry": "x" * MAX_BYTES})
    assert (defaults, problem.reason, problem.origin) == ({}, ProblemReason.TOO_LARGE, NAMESPACE)


def test_keys_on_the_pod_template_are_told_where_to_go():
    problems = template_problems(
        {
            "canaryd.io/interval": "1m",
            "action.canaryd.io/x": "",
            "internal.canaryd.io/x": "",
            "prometheus.io/scrape": "true",
        }
    )
    assert [problem.message for problem in problems] == [
        "canaryd.io/interval: stands on the pod template; move it to metadata.annotations of the Deployment",
        "action.canaryd.io/x: stands on the pod template; move it to metadata.annotations of the Deployment",
    ]


def test_a_deployment_is_resolved_with_everything_that_is_wrong_around_it():
    resolution = resolve_deployment(
        controller={"warmup": "soon"},
        namespace={"canaryd.io/interval": "1m", "defaults.canaryd.io/interval": "30s"},
        deployment={"canaryd.io/enabled": "true", "action.canaryd.io/promote": "x"},
        template={"canaryd.io/weights": "1"},
    )
    assert (resolution.enabled, resolution.spec) == (True, None)
    assert {"canaryd.io/interval", "action.canaryd.io/promote", "weights", "warmup"} == {
        problem.key for problem in resolution.problems
    }


def test_a_deployment_in_order_is_resolved_to_a_plan():
    resolution = resolve_deployment(
        controller={"warmup": "1m"},
        namespace={"defaults.canaryd.io/interval": "30s"},
        deployment={"canaryd.io/enabled": "true"},
        template={"prometheus.io/scrape": "true"},
    )
    assert (True, CanarySpec(interval_s=30.0, warmup_s=60.0)) == (
        resolution.enabled,
        resolution.spec,
    )


# --- pinning a plan ---


def test_a_pinned_plan_resolves_to_the_same_spec_without_enrolment():
    first = resolve([(NAMESPACE, CUSTOM), (DEPLOYMENT, EVERYTHING)])
    pinned = plan_values(first.values)
    again = resolve([("pinned", pinned)])
    assert "enabled" not in pinned
    assert (first.spec, (), False) == (again.spec, again.problems, again.enabled)


def test_a_pinned_plan_holds_only_what_somebody_wrote():
    resolution = resolve(
        [
            (NAMESPACE, {"interval": "30s", "metric.x.query": "up"}),
            (DEPLOYMENT, {"enabled": "true", "max-weight": "20"}),
        ]
    )
    assert plan_values(resolution.values) == {"interval": "30s", "max-weight": "20"}


# --- values that YAML does not read as text ---


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            True,
            'canaryd.io/x: "true" is a boolean, and annotations are text: quote it; write for example "true"',
        ),
        (
            10,
            'canaryd.io/x: "10" is a number, and annotations are text: quote it; write for example "10"',
        ),
        (
            0.5,
            'canaryd.io/x: "0.5" is a number, and annotations are text: quote it; write for example "0.5"',
        ),
        (
            None,
            'canaryd.io/x: has no value; quote an empty one to unset what is inherited; write for example ""',
        ),
        (
            [1],
            'canaryd.io/x: "..." is a structure, and annotations are text: quote it; write for example "..."',
        ),
        (
            dt.date(2026, 2, 1),
            'canaryd.io/x: "2026-02-01" is not text: quote it; write for example "2026-02-01"',
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_not_text_is_shown_in_quotes(value, message):
    assert message == str(describe_non_string("canaryd.io/x", value))


def test_text_needs_no_hint():
    assert None is describe_non_string("canaryd.io/x", "true")
