"""Traps of HTTPRoutes, one test each: weights, conditions and mirrors among rules that are somebody else's.

What a reader makes of our rules is looked at through ``tests/fakes/gateways.py``; what the CRD refuses, through
``tests/fakes/apiserver/httproutes.py``.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from canaryd.core import limits_gateway, routes_gateway, views
from canaryd.core.kinds import ALL_KINDS, HTTP_ROUTE, SERVICE
from canaryd.core.model import (
    Builtin,
    CanarySpec,
    Comparator,
    Condition,
    Dialect,
    MetricCheck,
    Provider,
)
from canaryd.core.program import Strategy
from canaryd.core.routes_gateway import Parts
from canaryd.core.routing import PRIMARY_ONLY, Match, MatchKind, Routing
from canaryd.core.snapshot import App
from canaryd.core.views import Identity
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.store import Store
from canaryd.ports.errors import Conflict, Invalid, ServerError
from canaryd.routers.gateway import GatewayRouter
from tests.fakes.apiserver import CONFLICT, INTERNAL_ERROR, FakeApiServer
from tests.fakes.apiserver.httproutes import before_1_3
from tests.fakes.clock import VirtualClock
from tests.fakes.gateways import RouteOfGateway, find_in_gateway
from tests.scenarios.manifests import NAMESPACE, service

pytestmark = pytest.mark.looptime

KEY = (NAMESPACE, "app")
HOST = "app.test"
MARK = "internal.canaryd.io/route.app"
INSIDER = Match(MatchKind.HEADER, "x-canary", "insider")
SWITCH = Match(MatchKind.HEADER, "x-canary")
PATTERN = Match(MatchKind.HEADER, "x-user", pattern="^qa-[0-9]+$")
COOKIE = Match(MatchKind.COOKIE, "canary")
Rule = dict[str, Any]


@dataclass
class World:
    """An app with its Services and one HTTPRoute, and a router."""

    server: FakeApiServer
    store: Store[Any]
    router: GatewayRouter

    def sync(self) -> None:
        """Bring the cache up to date, as a watch does."""
        live = self.server.objects(HTTP_ROUTE, NAMESPACE)
        for obj in live:
            self.store.observe(obj)
        seen = {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in live}
        self.store.retain(seen, None, 2**62)

    def app(self, *routes: str, matches: tuple[Match, ...] = ()) -> App:
        self.sync()
        return App(
            target=Identity(NAMESPACE, "app", "uid-app"),
            spec=CanarySpec(provider=Provider.GATEWAY, matches=matches),
            label="app",
            match_labels={"app": "app"},
            apex=views.service_view(self.server.object(SERVICE, NAMESPACE, "app")),
            http_routes=tuple(self.store.get(NAMESPACE, name) for name in routes or ("app",)),
        )

    def live(self, name: str = "app") -> dict[str, Any]:
        return self.server.object(HTTP_ROUTE, NAMESPACE, name)

    def rules(self, name: str = "app") -> list[Rule]:
        return self.live(name)["spec"]["rules"]

    def weights(self, rule: int = 0, name: str = "app") -> dict[str, int]:
        return {r["name"]: r["weight"] for r in self.rules(name)[rule]["backendRefs"]}

    def by_hand(self, change: Any, name: str = "app", manager: str = "kubectl") -> None:
        """Somebody edits the route, and the cache hears of it."""
        self.server.edit(HTTP_ROUTE, NAMESPACE, name, change, manager=manager)
        self.sync()

    def says(self, *conditions: dict[str, Any], generation: int | None = None) -> None:
        """A reader writes what it thinks of the route."""
        live = self.live()
        at = live["metadata"]["generation"] if generation is None else generation
        status = {
            "parents": [
                {
                    "parentRef": {"name": "web"},
                    "controllerName": "example.org/gateway",
                    "conditions": [{"observedGeneration": at, **c} for c in conditions],
                }
            ]
        }
        self.server.put({**live, "status": status})
        self.sync()

    def meets(self, path: str = "/", host: str = HOST, **headers: str) -> RouteOfGateway:
        """The rule that a request meets; underscores in names of headers stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        found = find_in_gateway(self.server.store, host, path, named)
        assert found is not None
        return found

    def goes_to(self, path: str = "/", **headers: str) -> str:
        """Who answers a request, where that does not depend on weights."""
        met = self.meets(path, **headers)
        assert met.weight in (0, met.total)
        side = met.canary if met.weight and met.canary else met.primary
        return side.service


@asynccontextmanager
async def a_router(
    *rules: Rule, dialect: str = "traefik", mesh: bool = False
) -> AsyncIterator[World]:
    clock = VirtualClock()
    store: Store[Any] = Store(views.http_route_view)
    async with FakeApiServer((*ALL_KINDS, HTTP_ROUTE), clock) as server:
        for name in ("app", "app-canary", "app-primary", "other"):
            server.put(service(name, {"app": name}))
        server.put(http_route("app", *(rules or (a_rule(),)), mesh=mesh))

        def observe(manifest: dict[str, Any]) -> None:
            if manifest["kind"] == "HTTPRoute":
                store.observe(manifest)

        connection = Connection(server=server.url)
        async with KubeClient(connection, clock=clock, observe=observe) as client:
            yield World(server, store, GatewayRouter(client, store, dialect=dialect))


def http_route(name: str, *rules: Rule, host: str = HOST, mesh: bool = False) -> dict[str, Any]:
    parent = {"group": "", "kind": "Service", "name": "app"} if mesh else {"name": "web"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "parentRefs": [parent],
            "rules": list(rules),
            **({} if mesh else {"hostnames": [host]}),
        },
    }


def a_rule(*backends: dict[str, Any], path: str = "", **more: Any) -> Rule:
    matches = [{"path": {"type": "PathPrefix", "value": path}}] if path else []
    return {
        **({"matches": matches} if matches else {}),
        "backendRefs": list(backends or (to("app"),)),
        **more,
    }


def to(name: str, weight: int | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "port": 80, **({} if weight is None else {"weight": weight}), **more}


# --- weights --------------------------------------------------------------------------------------


async def test_both_weights_are_always_written_out_and_sum_to_100_of_an_omitted_one():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))

        assert {"app": 80, "app-canary": 20} == world.weights()
        assert (20, 100) == (world.meets().weight, world.meets().total)


async def test_a_weight_of_the_users_own_is_split_into_hundredths_and_given_back():
    async with a_router(a_rule(to("app", 7))) as world:
        before = world.rules()
        await world.router.write(world.app(), Routing(30))
        assert {"app": 490, "app-canary": 210} == world.weights()

        await world.router.write(world.app(), PRIMARY_ONLY)
        assert before == world.rules()


@pytest.mark.parametrize("weight", [1, 50, 99, 100])
async def test_no_weight_leaves_a_rule_without_anybody_to_serve_it(weight):
    async with a_router() as world:
        await world.router.write(world.app(), Routing(weight))

        assert sum(world.weights().values()) == 100
        assert (weight, True) == _read(world)


async def test_between_runs_nothing_of_ours_is_in_the_route_at_whatever_weight():
    async with a_router() as world:
        before = world.live()
        await world.router.write(world.app(), Routing(40, (SWITCH,), 10))
        await world.router.write(world.app(matches=(SWITCH,)), PRIMARY_ONLY)

        assert before["spec"] == world.live()["spec"]
        assert before["metadata"].get("annotations") == world.live()["metadata"].get("annotations")


async def test_at_rest_a_route_that_was_never_written_is_as_it_should_be():
    async with a_router() as world:
        state = world.router.read(world.app())

        assert (PRIMARY_ONLY, True, False) == (state.routing, state.in_sync, state.orphaned)
        assert world.router.orphans(KEY).routing is None


async def test_a_backend_that_the_user_keeps_at_weight_0_is_no_traffic_and_no_drift_between_runs():
    async with a_router(a_rule(to("app", 100), to("app-canary", 0))) as world:
        assert (0, True) == _read(world)

        await world.router.write(world.app(), Routing(20))
        assert {"app": 80, "app-canary": 20} == world.weights()


async def test_port_and_filters_of_the_users_backend_hold_for_the_canary_too():
    header = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": []}}
    async with a_router(a_rule(to("app", filters=[header]))) as world:
        await world.router.write(world.app(), Routing(20))

        apex, canary = world.rules()[0]["backendRefs"]
        assert {**apex, "name": "app-canary", "weight": 20} == canary


async def test_a_weight_that_somebody_changed_by_hand_is_seen_whatever_it_sums_to():
    def change(live: Any) -> None:
        live["spec"]["rules"][0]["backendRefs"][1]["weight"] = 900

    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))
        world.by_hand(change)
        assert (92, False) == _read(world)

        await world.router.write(world.app(), Routing(20))
        assert {"app": 80, "app-canary": 20} == world.weights()


async def test_a_canary_with_any_weight_counts_as_one_with_users():
    def change(live: Any) -> None:
        live["spec"]["rules"][0]["backendRefs"][1]["weight"] = 1
        live["spec"]["rules"][0]["backendRefs"][0]["weight"] = 999_999

    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))
        world.by_hand(change)

        assert 1 == world.router.read(world.app()).weight


# --- whose rules ----------------------------------------------------------------------------------


async def test_rules_are_found_by_the_name_of_their_backend_wherever_they_stand():
    rules = (
        a_rule(to("other"), path="/static"),
        a_rule(path="/"),
        a_rule(path="/api"),
        a_rule(to("app", namespace="elsewhere"), path="/foreign"),
        a_rule(to("app", kind="Backend", group="example.org"), path="/backend"),
    )
    async with a_router(*rules) as world:
        before = world.rules()
        await world.router.write(world.app(), Routing(20))
        assert [20, 20] == [world.meets(path).weight for path in ("/", "/api")]
        assert [before[i] for i in (0, 3, 4)] == [world.rules()[i] for i in (0, 3, 4)]

        world.by_hand(lambda live: live["spec"]["rules"].reverse())
        await world.router.write(world.app(), Routing(30))
        assert [0, 30, 30] == [world.meets(path).weight for path in ("/static", "/", "/api")]


async def test_a_rule_that_gives_the_apex_weight_0_does_not_lead_to_it_and_stays_so():
    rules = (a_rule(path="/"), a_rule(to("other", 100), to("app", 0), path="/moved"))
    async with a_router(*rules) as world:
        await world.router.write(world.app(), Routing(20))

        assert {"other": 100, "app": 0} == world.weights(1)


async def test_every_route_of_the_app_gets_the_weight_and_a_mix_is_not_in_sync():
    async with a_router() as world:
        world.server.put(http_route("second", a_rule(), host="second.test"))
        await world.router.write(world.app("app"), Routing(20))
        assert (20, False) == _read(world, "app", "second")

        await world.router.write(world.app("app", "second"), Routing(20))
        assert (20, True) == _read(world, "app", "second")


async def test_two_apps_of_one_route_do_not_see_each_others_parts():
    rules = (a_rule(path="/"), a_rule(to("other"), path="/other"))
    async with a_router(*rules) as world:
        other = replace(
            world.app(matches=(SWITCH,)),
            target=Identity(NAMESPACE, "other", "uid-other"),
            apex=views.service_view(world.server.object(SERVICE, NAMESPACE, "other")),
        )
        await world.router.write(world.app(), Routing(20))
        await world.router.write(other, Routing(0, (SWITCH,)))
        await world.router.cleanup(KEY)
        assert "other-canary" == world.goes_to("/other", x_canary="always")
        assert 0 == world.meets("/").weight

        await world.router.cleanup((NAMESPACE, "other"))
        assert 2 == len(world.rules())


async def test_a_rule_of_the_users_own_for_the_canary_a_preview_say_is_left_alone():
    preview = a_rule(to("app-canary"), path="/preview")
    first = a_rule(to("app-canary", 0), to("app", 100), path="/migrated")
    async with a_router(a_rule(path="/"), preview, first) as world:
        before = world.rules()
        app = world.app(matches=(SWITCH,))
        assert (PRIMARY_ONLY, True) == (
            world.router.read(app).routing,
            world.router.read(app).in_sync,
        )
        await world.router.write(app, Routing(20, (SWITCH,)))
        await world.router.write(app, PRIMARY_ONLY)

        assert before[:2] == world.rules()[:2]
        assert {"app": 1} == world.weights(2)


async def test_a_route_of_a_mesh_is_one_like_any_other():
    async with a_router(mesh=True) as world:
        await world.router.write(world.app(), Routing(20))

        assert 20 == world.meets(host=f"app.{NAMESPACE}").weight


# --- users and GitOps tools ------------------------------------------------------------------------


async def test_what_the_user_changes_in_the_middle_of_a_run_is_kept_and_followed():
    def change(live: Any) -> None:
        rule = live["spec"]["rules"][0]
        rule["matches"] = [{"path": {"type": "PathPrefix", "value": "/v2"}}]
        rule["timeouts"] = {"request": "5s"}

    async with a_router() as world:
        await world.router.write(world.app(matches=(SWITCH,)), Routing(20, (SWITCH,)))
        world.by_hand(change)
        assert not world.router.read(world.app(matches=(SWITCH,))).in_sync

        await world.router.write(world.app(matches=(SWITCH,)), Routing(20, (SWITCH,)))
        assert {"/v2"} == {m["path"]["value"] for rule in world.rules() for m in rule["matches"]}
        assert [{"request": "5s"}] * 3 == [rule["timeouts"] for rule in world.rules()]
        assert "app-canary" == world.goes_to("/v2", x_canary="always")

        await world.router.write(world.app(matches=(SWITCH,)), PRIMARY_ONLY)
        assert [{"request": "5s"}] == [rule["timeouts"] for rule in world.rules()]


@pytest.mark.parametrize("way", ["client-side", "server-side"])
async def test_a_route_applied_again_from_git_has_lost_our_parts_and_gets_them_back(way):
    async with a_router() as world:
        await world.router.write(world.app(), Routing(20, (SWITCH,)))
        manifest = http_route("app", a_rule(path="/v2"))
        if way == "server-side":
            world.server.apply(manifest, "argocd-controller")
        else:
            world.server.patch(HTTP_ROUTE, NAMESPACE, "app", {"spec": manifest["spec"]})
        world.sync()
        assert (0, False) == _read(world)
        assert world.router.orphans(KEY).routing == PRIMARY_ONLY

        await world.router.write(world.app(matches=(SWITCH,)), Routing(20, (SWITCH,)))
        assert (20, "app-canary") == (
            world.meets("/v2").weight,
            world.goes_to("/v2", x_canary="always"),
        )


async def test_somebody_who_was_faster_costs_a_second_try_and_none_of_his_changes():
    def change(live: Any) -> None:
        live["spec"]["rules"][0]["timeouts"] = {"request": "5s"}

    async with a_router() as world:
        app = world.app()
        world.server.edit(HTTP_ROUTE, NAMESPACE, "app", change)
        await world.router.write(app, Routing(20))

        assert {"request": "5s"} == world.rules()[0]["timeouts"]
        assert {"app": 80, "app-canary": 20} == world.weights()


async def test_a_change_that_came_meanwhile_and_cannot_carry_a_canary_is_not_written_over():
    def change(live: Any) -> None:
        live["spec"]["rules"][0]["backendRefs"].append(to("other", 1))

    async with a_router() as world:
        app = world.app()
        world.server.edit(HTTP_ROUTE, NAMESPACE, "app", change)
        with pytest.raises(Conflict, match="also leads to other"):
            await world.router.write(app, Routing(20))

        assert {"app": 1, "other": 1} == world.weights()


async def test_somebody_who_is_always_faster_is_an_error_after_three_tries():
    async with a_router() as world:
        world.server.faults.on(CONFLICT, verb="patch")
        with pytest.raises(Conflict):
            await world.router.write(world.app(), Routing(20))

        assert 3 == world.server.requests.count(verb="patch")


async def test_an_equal_write_is_not_sent():
    async with a_router() as world:
        app = world.app(matches=(SWITCH, COOKIE))
        await world.router.write(app, Routing(20, (SWITCH, COOKIE)))
        await world.router.write(app, Routing(20, (SWITCH, COOKIE)))

        assert 1 == world.server.requests.count(verb="patch")


async def test_a_route_of_ours_that_leads_elsewhere_by_now_loses_our_parts():
    def change(live: Any) -> None:
        live["spec"]["rules"][0]["backendRefs"][0]["name"] = "other"

    async with a_router() as world:
        world.server.put(http_route("second", a_rule(), host="second.test"))
        await world.router.write(world.app("app", "second"), Routing(20))
        world.by_hand(change, "second")
        state = world.router.read(world.app("app"))
        assert (20, False, True) == (state.weight, state.in_sync, state.orphaned)
        assert world.router.orphans(KEY).orphaned

        await world.router.write(world.app("app"), Routing(20))
        assert {"other": 80} == world.weights(name="second")
        assert MARK not in world.live("second")["metadata"].get("annotations", {})
        assert (20, True) == _read(world)


async def test_where_every_rule_but_ours_was_removed_the_route_keeps_one_that_leads_to_the_apex():
    def change(live: Any) -> None:
        live["spec"]["rules"] = live["spec"]["rules"][1:]

    async with a_router() as world:
        await world.router.write(world.app(), Routing(0, (INSIDER,)))
        world.by_hand(change)
        await world.router.cleanup(KEY)

        assert [{"app": 1}] == [world.weights(i) for i in range(len(world.rules()))]


async def test_cleanup_needs_no_app_and_leaves_the_route_as_it_was_with_what_others_added():
    async with a_router(a_rule(to("app", 5))) as world:
        before = world.live()
        await world.router.write(world.app(matches=(SWITCH, COOKIE)), Routing(20, (SWITCH, COOKIE)))
        world.server.patch(
            HTTP_ROUTE, NAMESPACE, "app", {"metadata": {"annotations": {"team": "shop"}}}
        )
        world.sync()
        await world.router.cleanup(KEY)

        assert before["spec"] == world.live()["spec"]
        assert {"team": "shop"} == world.live()["metadata"]["annotations"]


async def test_a_route_that_is_gone_has_nothing_left_to_clean():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))
        world.server.remove(HTTP_ROUTE, NAMESPACE, "app")
        await world.router.retreat(KEY)

        assert [200, 404] == [r.code for r in world.server.requests.writes(name="app")]


async def test_a_retreat_goes_on_with_the_other_routes_when_one_cannot_be_written():
    async with a_router() as world:
        world.server.put(http_route("second", a_rule(), host="second.test"))
        await world.router.write(world.app("app", "second"), Routing(20))
        world.server.faults.on(INTERNAL_ERROR, verb="patch", name="app")
        with pytest.raises(ServerError):
            await world.router.retreat(KEY)

        assert {"app": 1} == world.weights(name="second")


@pytest.mark.parametrize(
    "record", ["", "nonsense", "[]", '{"service":1}', '{"service":"app","matches":[["x"]]}']
)
async def test_a_record_that_nobody_can_read_marks_nothing_and_is_removed(record):
    async with a_router() as world:
        world.server.patch(
            HTTP_ROUTE, NAMESPACE, "app", {"metadata": {"annotations": {MARK: record}}}
        )
        world.sync()
        assert world.router.orphans(KEY).routing == PRIMARY_ONLY
        await world.router.cleanup(KEY)

        assert MARK not in world.live()["metadata"].get("annotations", {})
        assert {"app": 1} == world.weights()


async def test_a_lost_record_is_a_difference_and_comes_back_by_the_next_write():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))
        world.server.patch(
            HTTP_ROUTE, NAMESPACE, "app", {"metadata": {"annotations": {MARK: None}}}
        )
        world.sync()
        assert (20, False) == _read(world)

        await world.router.write(world.app(), Routing(20))
        assert {"service": "app", "matches": []} == json.loads(
            world.live()["metadata"]["annotations"][MARK]
        )


async def test_conditions_of_an_earlier_plan_are_known_by_the_record():
    async with a_router() as world:
        await world.router.write(world.app(matches=(SWITCH,)), Routing(0, (SWITCH,)))
        await world.router.write(world.app(matches=(COOKIE,)), Routing(0, (COOKIE,)))

        assert "app" == world.goes_to(x_canary="always")
        assert "app-canary" == world.goes_to(cookie="canary=always")
        assert 2 == len(world.rules())


# --- conditions -----------------------------------------------------------------------------------


async def test_a_condition_is_added_to_every_match_of_every_rule_that_leads_to_the_apex():
    api = a_rule(path="/api")
    api["matches"] = [
        {"path": {"type": "Exact", "value": "/a"}, "method": "GET"},
        {"path": {"type": "PathPrefix", "value": "/b"}, "headers": [{"name": "x-v", "value": "2"}]},
    ]
    async with a_router(a_rule(to("other"), path="/static"), api) as world:
        await world.router.write(world.app(matches=(INSIDER,)), Routing(0, (INSIDER,)))

        assert "app-canary" == world.goes_to("/a", x_canary="insider")
        assert "app-canary" == world.goes_to("/b/c", x_canary="insider", x_v="2")
        assert ["app", "other"] == [
            world.goes_to("/a"),
            world.goes_to("/static", x_canary="insider"),
        ]


async def test_a_switch_asks_for_the_primary_too_and_then_beats_the_weight():
    async with a_router() as world:
        await world.router.write(world.app(matches=(SWITCH,)), Routing(50, (SWITCH,)))

        assert ("app-canary", "app") == (
            world.goes_to(x_canary="always"),
            world.goes_to(x_canary="never"),
        )
        assert [50, 50] == [world.meets(x_canary="maybe").weight, world.meets().weight]


async def test_a_header_decides_before_a_cookie():
    asked = (COOKIE, SWITCH)
    async with a_router() as world:
        await world.router.write(world.app(matches=asked), Routing(0, asked))

        assert "app" == world.goes_to(x_canary="never", cookie="canary=always")
        assert "app-canary" == world.goes_to(x_canary="always", cookie="canary=never")


@pytest.mark.parametrize("whole", [True, False], ids=["whole value", "any part"])
@pytest.mark.parametrize(
    ("cookie", "is_canary"),
    [
        ("canary=always", True),
        ("a=b; canary=always; c=d", True),
        ("a=b;canary=always", True),
        ("canary=always ; c=d", True),
        ("canary=never", False),
        ("canary=alwaysx", False),
        ("xcanary=always", False),
        ("x=canary=always", False),
        ("canary=", False),
    ],
)
async def test_a_cookie_is_one_of_several_in_a_header_whichever_way_patterns_are_matched(
    cookie, is_canary, whole
):
    async with a_router() as world:
        await world.router.write(world.app(matches=(COOKIE,)), Routing(0, (COOKIE,)))
        found = find_in_gateway(world.server.store, HOST, "/", {"Cookie": cookie}, whole=whole)

        assert is_canary == bool(found.weight)


@pytest.mark.parametrize("whole", [True, False], ids=["whole value", "any part"])
@pytest.mark.parametrize(
    ("value", "is_canary"), [("qa-7", True), ("qa-7x", False), ("x-qa-7", False), ("qa-", False)]
)
async def test_a_pattern_means_the_same_to_readers_of_either_kind(value, is_canary, whole):
    async with a_router() as world:
        await world.router.write(world.app(matches=(PATTERN,)), Routing(0, (PATTERN,)))
        found = find_in_gateway(world.server.store, HOST, "/", {"X-User": value}, whole=whole)

        assert is_canary == bool(found.weight)


async def test_among_equals_a_rule_of_somebody_else_goes_before_ours():
    theirs = a_rule(to("other"))
    theirs["matches"] = [{"headers": [{"name": "x-beta", "value": "1"}]}]
    async with a_router(a_rule(), theirs) as world:
        await world.router.write(world.app(matches=(SWITCH,)), Routing(0, (SWITCH,)))

        assert "other" == world.goes_to(x_beta="1", x_canary="always")


async def test_a_name_of_the_users_rule_stays_with_it_since_names_are_unique():
    async with a_router(a_rule(name="main")) as world:
        await world.router.write(world.app(matches=(SWITCH,)), Routing(20, (SWITCH,)))

        assert ["main", None, None] == [rule.get("name") for rule in world.rules()]


async def test_a_rule_that_replaces_a_prefix_may_have_one_match_and_so_may_ours():
    rewrite = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    filters = [{"type": "URLRewrite", "urlRewrite": {"path": rewrite}}]
    async with a_router(a_rule(path="/v1", filters=filters)) as world:
        asked = (SWITCH, INSIDER, COOKIE)
        await world.router.write(world.app(matches=asked), Routing(20, asked))

        assert {1} == {len(rule["matches"]) for rule in world.rules()}
        assert "app-canary" == world.goes_to("/v1", x_canary="insider")


@pytest.mark.parametrize(
    "asked", [(SWITCH,), (INSIDER,), (PATTERN,), (COOKIE,), (SWITCH, COOKIE), (INSIDER, PATTERN)]
)
@pytest.mark.parametrize("weight", [0, 30])
async def test_the_conditions_that_were_written_are_those_that_are_read(asked, weight):
    async with a_router(a_rule(), a_rule(path="/api")) as world:
        routing = Routing(weight, asked)
        await world.router.write(world.app(matches=asked), routing)
        state = world.router.read(world.app(matches=asked))

        assert (routing, True) == (state.routing, state.in_sync)
        assert routing == world.router.orphans(KEY).routing


async def test_a_condition_that_somebody_took_out_of_ours_is_seen():
    def change(live: Any) -> None:
        live["spec"]["rules"][-1]["matches"].pop()

    asked = (INSIDER, PATTERN)
    async with a_router() as world:
        await world.router.write(world.app(matches=asked), Routing(0, asked))
        world.by_hand(change)
        state = world.router.read(world.app(matches=asked))

        assert ((INSIDER,), False) == (state.routing.matches, state.in_sync)


# --- mirrors --------------------------------------------------------------------------------------


async def test_a_mirror_is_a_filter_with_a_percentage_and_changes_nobodys_answer():
    async with a_router(dialect="istio") as world:
        await world.router.write(world.app(), Routing(mirror=10))
        met = world.meets()

        assert ("app-canary", 10, 0) == (met.mirror.service, met.mirrored, met.weight)
        state = world.router.read(world.app())
        assert (Routing(mirror=10), True) == (state.routing, state.in_sync)
        assert (False, True) == (state.carries_users, state.carries)


async def test_filters_of_the_user_and_his_own_mirrors_stay_beside_ours():
    own = {"type": "RequestMirror", "requestMirror": {"backendRef": to("other")}}
    async with a_router(a_rule(filters=[own]), dialect="istio") as world:
        before = world.rules()
        await world.router.write(world.app(), Routing(mirror=10))
        assert 2 == len(world.rules()[0]["filters"])

        await world.router.write(world.app(), PRIMARY_ONLY)
        assert before == world.rules()


async def test_an_older_crd_that_drops_the_percentage_would_mirror_everything_so_it_is_put_back():
    async with a_router(dialect="istio") as world:
        before = world.live()
        world.server.store.admission.append(before_1_3)
        with pytest.raises(Invalid, match=r"Gateway API 1\.3"):
            await world.router.write(world.app(), Routing(mirror=10))

        assert before["spec"] == world.live()["spec"]
        assert MARK not in world.live()["metadata"].get("annotations", {})


async def test_a_mirror_of_everything_needs_no_percentage_and_is_read_as_100():
    async with a_router(dialect="istio") as world:
        world.server.store.admission.append(before_1_3)
        await world.router.write(world.app(), Routing(mirror=100))

        assert (Routing(mirror=100), True) == (
            world.router.read(world.app()).routing,
            world.router.read(world.app()).in_sync,
        )


# --- what readers say -----------------------------------------------------------------------------


NOT_RESOLVED = {
    "type": "ResolvedRefs",
    "status": "False",
    "reason": "BackendNotFound",
    "message": "Service app-canary not found",
}
NOT_ACCEPTED = {"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners"}
ACCEPTED = {"type": "Accepted", "status": "True", "reason": "Accepted"}


@pytest.mark.parametrize("condition", [NOT_RESOLVED, NOT_ACCEPTED], ids=["refs", "accepted"])
async def test_a_refusal_of_the_present_generation_is_told_in_the_readers_words(condition):
    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))
        world.says(condition)
        state = world.router.read(world.app())

        assert condition["reason"] in state.obstacle
        assert "HTTPRoute app is not served: Gateway web" in state.obstacle
        # Written as it should be: writing it again would not change the reader's mind.
        assert (True, True) == (state.in_sync, state.is_refused)


async def test_a_refusal_of_an_earlier_generation_says_nothing_of_this_one():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))
        world.says(NOT_RESOLVED, generation=1)

        assert "" == world.router.read(world.app()).obstacle


async def test_a_reader_that_accepts_the_route_and_one_that_has_not_looked_are_no_obstacle():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(20))
        assert "" == world.router.read(world.app()).obstacle
        world.says(ACCEPTED)

        assert "" == world.router.read(world.app()).obstacle


async def test_between_runs_a_refusal_is_the_users_own_affair():
    async with a_router() as world:
        world.says(NOT_RESOLVED)

        assert "" == world.router.read(world.app()).obstacle


# --- what cannot be carried -------------------------------------------------------------------------


def problem(*rules: Rule, matches: tuple[Match, ...] = (), mirror: int = 0) -> str:
    route = views.http_route_view(http_route("app", *rules))
    return limits_gateway.problem_of(route, Parts(NAMESPACE, "app", matches), "app", mirror)


HEADED = {"matches": [{"headers": [{"name": "X-Canary", "value": "1"}]}]}
QUERIED = {"matches": [{"queryParams": [{"name": "beta", "value": "1"}]}]}
MANY = [{"path": {"type": "Exact", "value": f"/{n}"}} for n in range(40)]
MIRRORS = [{"type": "RequestMirror", "requestMirror": {"backendRef": to("x")}}] * 16


@pytest.mark.parametrize(
    ("rules", "more", "words"),
    [
        ([a_rule(to("other"))], {}, "no rule with Service app as a backend"),
        ([a_rule(to("app", 0), to("other"))], {}, "no rule with Service app as a backend"),
        ([a_rule(to("app", 9), to("other", 1), name="m")], {}, "rule 0 (m) also leads to other"),
        ([a_rule(to("app"), to("app", port=8080))], {}, "as a backend 2 times"),
        ([a_rule(to("app", 10_001))], {}, "weight 10001, which cannot be split"),
        ([a_rule(to("app"), *[to(f"s{n}", 0) for n in range(15)])], {}, "16 backends"),
        ([a_rule(filters=MIRRORS)], {"mirror": 5}, "no room for a mirror"),
        ([a_rule(**HEADED)], {"matches": (SWITCH,)}, "looks at the header x-canary itself"),
        (
            [a_rule(), a_rule(to("other"), **QUERIED)],
            {"matches": (SWITCH,)},
            "rule 1 leads elsewhere by a query parameter",
        ),
        ([a_rule(path=f"/{n}") for n in range(6)], {"matches": (SWITCH,)}, "6 rules become 18"),
        ([a_rule(matches=MANY)], {"matches": (INSIDER, PATTERN)}, "matches become 120, 80 of them"),
    ],
)
def test_a_route_that_cannot_carry_the_plan_is_refused_in_words(rules, more, words):
    assert words in problem(*rules, **more)
    assert problem(*rules, **more).startswith("HTTPRoute app")


@pytest.mark.parametrize(
    ("rules", "more"),
    [
        ([a_rule(to("app"), to("other", 0))], {}),
        ([a_rule(to("app", 10_000))], {}),
        ([a_rule(filters=MIRRORS)], {}),
        ([a_rule(**HEADED)], {"matches": (COOKIE,)}),
        ([a_rule(**QUERIED)], {"matches": (SWITCH,)}),
        ([a_rule(), a_rule(to("other"), **QUERIED)], {}),
        ([a_rule(path=f"/{n}") for n in range(5)], {"matches": (SWITCH,)}),
    ],
)
def test_a_route_that_can_carry_it_is_not(rules, more):
    assert "" == problem(*rules, **more)


async def test_a_run_under_way_does_not_make_its_own_route_one_that_cannot_carry_it():
    asked = (SWITCH, COOKIE)
    async with a_router(*(a_rule(path=f"/{n}") for n in range(3))) as world:
        await world.router.write(world.app(matches=asked), Routing(20, asked))
        route = world.app().http_routes[0]

        assert "" == limits_gateway.problem_of(route, Parts(NAMESPACE, "app", asked), "app")


@pytest.mark.parametrize(
    ("dialect", "words"),
    [
        ("envoy-gateway", "counts all backends of a rule as one"),
        ("nginx-gateway-fabric", "counts requests of the whole process only"),
        ("other", "providers.gateway.dialect does not say"),
    ],
)
def test_a_data_plane_without_metrics_of_its_own_needs_queries(dialect, words):
    built_in = MetricCheck(
        name="success-rate",
        condition=Condition(Comparator.AT_LEAST, 99),
        builtin=Builtin.SUCCESS_RATE,
    )
    custom = replace(built_in, builtin=None, query="vector(1)")
    [refused] = limits_gateway.problems_of_plan(CanarySpec(metrics=(built_in,)), dialect)

    assert words in refused
    assert "canaryd.io/metric.success-rate" in refused
    assert () == limits_gateway.problems_of_plan(CanarySpec(metrics=(custom,)), dialect)
    assert () == limits_gateway.problems_of_plan(CanarySpec(metrics=(built_in,)), "traefik")


def test_traefik_answers_500_to_everything_of_a_rule_with_a_mirror_so_it_is_refused():
    plan = CanarySpec(strategy=Strategy.BLUE_GREEN, mirror=10)
    [refused] = limits_gateway.problems_of_plan(plan, "traefik")

    assert "canaryd.io/mirror" in refused
    assert () == limits_gateway.problems_of_plan(plan, "istio")


def test_what_surprises_is_said_beforehand():
    route = http_route("app", a_rule(sessionPersistence={"sessionName": "s"}))
    route["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "x"}
    route["metadata"]["generation"] = 1
    route["status"] = {"parents": [{"parentRef": {"name": "web"}, "conditions": [NOT_RESOLVED]}]}
    said = list(limits_gateway.cautions_of(views.http_route_view(route), Parts(NAMESPACE, "app")))

    wanted = ["sessionPersistence", "BackendNotFound", "GitOps"]
    assert all(word in text for word, text in zip(wanted, said, strict=True))


# --- metrics --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "measured"),
    [("traefik", Dialect.TRAEFIK_GATEWAY), ("linkerd", Dialect.LINKERD), ("other", None)],
)
async def test_the_metrics_are_those_of_who_reads_the_routes(dialect, measured):
    rules = (a_rule(), a_rule(to("app", port=9090), path="/grpc"))
    async with a_router(*rules, dialect=dialect) as world:
        identity = world.router.identity(world.app())

        assert (("app",), ("80", "9090"), measured) == (
            identity.routes,
            identity.ports,
            identity.dialect,
        )


# --- words of this module -------------------------------------------------------------------------


def _read(world: World, *routes: str) -> tuple[int | None, bool]:
    state = world.router.read(world.app(*routes))
    return state.weight, state.in_sync


def test_a_record_fits_into_an_annotation_for_every_name_a_target_may_have():
    assert len(routes_gateway.mark_key("a" * 55).partition("/")[2]) <= 63
