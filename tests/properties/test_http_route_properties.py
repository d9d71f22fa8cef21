"""HTTPRoutes of any kind: what a run puts into them comes out again, and nothing else moves."""

import copy

from hypothesis import assume, given
from hypothesis import strategies as st

from canaryd.core import limits_gateway, routes_gateway, views
from canaryd.core.routes_gateway import Parts
from canaryd.core.routing import PRIMARY_ONLY, Match, MatchKind, Routing
from tests.fakes.apiserver import httproutes
from tests.fakes.gateways import CANARY

OTHERS = st.sampled_from(["other", "third"])
HEADERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["x-one", "x-two"]), "value": st.sampled_from(["1", "2"])}
)
MATCHES = st.fixed_dictionaries(
    {
        "path": st.fixed_dictionaries(
            {
                "type": st.sampled_from(["Exact", "PathPrefix"]),
                "value": st.sampled_from(["/", "/a", "/b/c"]),
            }
        )
    },
    optional={
        "method": st.sampled_from(["GET", "POST"]),
        "headers": st.lists(HEADERS, max_size=2, unique_by=lambda h: h["name"]),
    },
)
QUERIES = st.just(
    [{"path": {"type": "PathPrefix", "value": "/q"}, "queryParams": [{"name": "q", "value": "1"}]}]
)
REFERENCES = st.fixed_dictionaries(
    {"name": OTHERS, "port": st.sampled_from([80, 8080])},
    optional={"weight": st.integers(0, 500)},
)
ELSEWHERE = st.lists(
    REFERENCES | st.just({"name": "app", "port": 80, "namespace": "else"}), max_size=3
)
"""Backends of a rule that is none of ours."""
APEX = st.fixed_dictionaries(
    {"name": st.just("app"), "port": st.sampled_from([80, 8080])},
    optional={"weight": st.integers(1, 10_000), "namespace": st.just("shop")},
)
LEADING = st.tuples(APEX, st.lists(REFERENCES.map(lambda r: r | {"weight": 0}), max_size=2)).map(
    lambda parts: [parts[0], *parts[1]]
)
FILTERS = st.sampled_from(
    [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x"]}},
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "third", "port": 80}}},
        {
            "type": "URLRewrite",
            "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
        },
    ]
)


def rules_with(backends, matches):
    return st.fixed_dictionaries(
        {"backendRefs": backends},
        optional={
            "matches": matches,
            "filters": st.lists(FILTERS, min_size=1, max_size=2),
            "timeouts": st.just({"request": "5s"}),
        },
    )


LISTED = st.lists(MATCHES, min_size=1, max_size=2)
OURS = rules_with(LEADING, LISTED | QUERIES)
RULES = OURS | rules_with(ELSEWHERE, LISTED)
CONDITIONS = st.sampled_from(
    [
        Match(MatchKind.HEADER, "x-canary"),
        Match(MatchKind.HEADER, "x-canary", "insider"),
        Match(MatchKind.HEADER, "x-user", pattern="^[0-9]$"),
        Match(MatchKind.COOKIE, "canary"),
    ]
)
ROUTINGS = st.builds(
    Routing,
    st.integers(0, 100),
    st.lists(CONDITIONS, max_size=2, unique=True).map(tuple),
    st.sampled_from([0, 10, 100]),
)


def stored(rules):
    """Rules as the API server stores them."""
    route = {
        "metadata": {"namespace": "shop", "name": "app", "generation": 1},
        "spec": {"rules": copy.deepcopy(rules)},
    }
    httproutes.fill(route)
    return route


@st.composite
def cases(draw):
    """A route that the API server takes and that can carry the routing."""
    rules = [draw(OURS), *draw(st.lists(RULES, max_size=2))]
    route = stored(draw(st.permutations(rules)))
    routing = draw(ROUTINGS)
    assume(not list(httproutes.rules(route, None)))
    parts = Parts("shop", "app", routing.matches)
    problem = limits_gateway.problem_of(views.http_route_view(route), parts, "app", routing.mirror)
    assume(not problem)
    return route, parts, routing


@given(cases())
def test_what_was_put_in_comes_out_again(case):
    route, parts, routing = case
    rules = route["spec"]["rules"]
    dressed = routes_gateway.dress(rules, parts, routing)

    assert rules == routes_gateway.undress(dressed, parts)
    assert dressed == routes_gateway.follow(dressed, parts, routing)
    assert rules == routes_gateway.follow(dressed, parts, PRIMARY_ONLY)


@given(cases())
def test_what_is_written_is_what_the_api_server_stores_and_what_is_read(case):
    route, parts, routing = case
    dressed = stored(routes_gateway.dress(route["spec"]["rules"], parts, routing))

    assert [] == list(httproutes.rules(dressed, None))
    assert routing == routes_gateway.routing_of(dressed["spec"]["rules"], parts)
    view = views.http_route_view(dressed)
    assert "spec" not in routes_gateway.patch(view, "app", parts, routing)


@given(cases())
def test_rules_that_lead_elsewhere_are_as_they_were_and_where_they_were(case):
    route, parts, routing = case
    rules = route["spec"]["rules"]
    dressed = routes_gateway.dress(rules, parts, routing)

    for before, after in zip(rules, dressed, strict=False):
        if not routes_gateway.leads_to(before, parts):
            assert before == after


@given(cases())
def test_a_rule_that_served_somebody_serves_somebody(case):
    route, parts, routing = case

    for rule in routes_gateway.dress(route["spec"]["rules"], parts, routing):
        references = rule["backendRefs"]
        had = any(not r["name"].endswith(CANARY) for r in references)
        assert not had or not parts.asked_by(rule) or sum(r["weight"] for r in references) > 0
        if routes_gateway.leads_to(rule, parts):
            assert sum(r["weight"] for r in references) > 0


@given(cases(), st.randoms())
def test_the_order_of_rules_and_backends_does_not_matter(case, random):
    route, parts, routing = case
    dressed = copy.deepcopy(routes_gateway.dress(route["spec"]["rules"], parts, routing))
    random.shuffle(dressed)
    for rule in dressed:
        random.shuffle(rule["backendRefs"])

    left = routes_gateway.undress(dressed, parts)
    before = {_unordered(rule) for rule in route["spec"]["rules"]}
    assert before == {_unordered(rule) for rule in left}


def _unordered(rule):
    references = sorted(map(str, rule["backendRefs"]))
    return str({**rule, "backendRefs": references})
