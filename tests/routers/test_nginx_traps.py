"""Traps of the ingress-nginx dialect, one test each: what ingress-nginx (N), Traefik (T) or Higress (H) make of an annotation.

What the reader does with our copies is looked at through ``tests/fakes/routes.py``, which plays both data planes.
"""

from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.core import routes_nginx
from canaryd.core.kinds import INGRESS
from canaryd.core.names import MANAGED_BY, MANAGER
from canaryd.core.routing import PRIMARY_ONLY, Match, MatchKind, Routing
from canaryd.core.views import object_view
from canaryd.routers.nginx import NginxRouter
from tests.contract.scenes import KEY, NginxScene, endpoints, playing
from tests.fakes.routes import DataPlaneKind, Route, compile_routes, find_route
from tests.scenarios.manifests import NAMESPACE, ingress, service

pytestmark = pytest.mark.looptime

NGINX = "nginx.ingress.kubernetes.io"
LEGACY = "kubernetes.io/ingress.class"
BOTH = pytest.mark.parametrize("plane", DataPlaneKind, ids=str)


# --- weights ------------------------------------------------------------------------------------


async def test_N_at_rest_the_copy_is_a_canary_at_weight_0_and_never_says_false():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(0))
        assert {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": "0"} == annotations(world)


@pytest.mark.parametrize(
    ("matches", "says"),
    [
        ((Match(MatchKind.HEADER, "x-canary"),), {"canary-by-header": "x-canary"}),
        (
            (Match(MatchKind.HEADER, "x-canary", "insider"),),
            {"canary-by-header": "x-canary", "canary-by-header-value": "insider"},
        ),
        (
            (Match(MatchKind.HEADER, "x-canary", pattern="^in.*$"),),
            {"canary-by-header": "x-canary", "canary-by-header-pattern": "^in.*$"},
        ),
        (
            (Match(MatchKind.HEADER, "x-canary"), Match(MatchKind.COOKIE, "canary")),
            {"canary-by-header": "x-canary", "canary-by-cookie": "canary"},
        ),
    ],
)
async def test_U20_conditions_are_written_read_back_and_taken_away_with_the_weight(matches, says):
    async with a_router() as world:
        app = world.app()
        await world.router.write(app, Routing(20, matches))
        written = {f"{NGINX}/{key}": value for key, value in says.items()}
        weight = {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": "20"}
        assert written | weight == annotations(world)
        assert (Routing(20, matches), True) == (
            world.router.read(app).routing,
            world.router.read(app).in_sync,
        )
        await world.router.retreat(app.target.key)
        assert {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": "0"} == annotations(world)


@BOTH
async def test_N_a_main_ingress_made_anew_is_not_outdone_by_our_older_copy(plane):
    async with a_router() as world:
        await world.router.write(world.app(), Routing(0))
        again = world.server.object(INGRESS, NAMESPACE, "app")
        world.server.remove(INGRESS, NAMESPACE, "app")
        world.server.put({**again, "metadata": {"namespace": NAMESPACE, "name": "app"}})
        route = the_route(world, plane)
        assert ("app", "app", 0) == (route.ingress, route.primary.service, route.weight)


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("20", 20),
        ("+20", 20),
        ("020", 20),
        ("-5", 0),
        ("150", 100),
        ("20%", 0),
        ("2e1", 0),
        (" 20", 0),
        ("twenty", 0),
        ("", 0),
        ("²", 0),
        ("9" * 40, 0),
    ],
)
async def test_N_a_weight_written_by_hand_is_read_as_its_readers_do(text, weight):
    async with a_router() as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        by_hand(world, **{f"{NGINX}/canary-weight": text})
        route = world.router.read(app)
        assert (weight, text == "20") == (route.weight, route.in_sync)


@pytest.mark.parametrize(
    "key",
    [
        "canary-weight-total",
        "canary-by-header",
        "canary-by-header-value",
        "canary-by-header-pattern",
        "canary-by-cookie",
        "affinity-canary-behavior",
        "use-regex",
    ],
)
async def test_NH_a_key_that_routes_and_is_not_ours_is_seen_and_removed(key):
    """Weight 0 with a header rule still routes by header; in Higress it switches the weight off."""
    async with a_router() as world:
        app = world.app()
        await world.router.write(app, Routing(0))
        by_hand(world, **{f"{NGINX}/{key}": "x"})
        route = world.router.read(app)
        assert (PRIMARY_ONLY, True) != (route.routing, route.in_sync)

        await world.router.write(app, Routing(0))
        assert {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": "0"} == annotations(world)
        assert world.router.read(app).in_sync


async def test_NH_a_retreat_without_the_app_takes_header_rules_along():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(40))
        by_hand(world, **{f"{NGINX}/canary-by-header": "x"})
        await world.router.retreat(KEY)
        assert {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": "0"} == annotations(world)


async def test_a_retreat_from_a_copy_that_is_gone_has_nothing_left_to_do():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(40))
        world.server.remove(INGRESS, NAMESPACE, "app-canary")
        await world.router.retreat(KEY)
        assert [404] == [r.code for r in world.server.requests.writes(name="app-canary")][1:]


# --- paths and hosts ----------------------------------------------------------------------------


@BOTH
async def test_N_one_path_without_a_partner_would_drop_all_so_only_paths_to_the_apex_are_copied(
    plane,
):
    def add(main):
        main["spec"]["rules"][0]["http"]["paths"] += [a_path("/api", "api"), a_path("/v2", "app")]
        main["spec"]["rules"].append(
            {"host": "static.test", "http": {"paths": [a_path("/", "static")]}}
        )

    async with a_router(add) as world:
        await world.router.write(world.app(), Routing(30))
        rules = world.canary()["spec"]["rules"]
        assert [["/", "/v2"]] == [[p["path"] for p in rule["http"]["paths"]] for rule in rules]
        assert 30 == the_route(world, plane).weight
        assert 30 == the_route(world, plane, path="/v2/x").weight
        assert 0 == the_route(world, plane, path="/api").weight


@BOTH
@pytest.mark.parametrize("path_type", ["Exact", "Prefix", "ImplementationSpecific"])
async def test_NT_host_path_and_pathType_are_copied_verbatim(plane, path_type):
    """N folds ImplementationSpecific into Prefix, T keeps it apart: only the user's own spelling meets in both."""

    def change(main):
        path = main["spec"]["rules"][0]["http"]["paths"][0]
        path.update(path="/shop", pathType=path_type)

    async with a_router(change) as world:
        await world.router.write(world.app(), Routing(30))
        (path,) = world.canary()["spec"]["rules"][0]["http"]["paths"]
        assert ("/shop", path_type) == (path["path"], path["pathType"])
        assert 30 == the_route(world, plane, path="/shop").weight


@BOTH
async def test_several_hosts_and_a_rule_without_one_are_all_followed(plane):
    def add(main):
        main["spec"]["rules"] += [
            {"host": "*.app.test", "http": {"paths": [a_path("/", "app")]}},
            {"http": {"paths": [a_path("/", "app")]}},
        ]

    async with a_router(add) as world:
        await world.router.write(world.app(), Routing(30))
        assert ["app.test", "*.app.test", None] == [
            rule.get("host") for rule in world.canary()["spec"]["rules"]
        ]
        assert [30, 30] == [
            the_route(world, plane, host=h).weight for h in ("app.test", "any.test")
        ]


async def test_N_a_rule_without_http_could_crash_the_controller_and_is_refused_with_its_host():
    main = ingress("app", "app.test")
    main["spec"]["rules"].append({"host": "bare.test"})
    problem = routes_nginx.problem_of(object_view(main), "app")
    assert "Ingress app: rule 1 (bare.test) has no http paths" in problem


async def test_N_a_default_backend_alone_carries_no_canary():
    main = ingress("app", "app.test")
    del main["spec"]["rules"]
    main["spec"]["defaultBackend"] = {"service": {"name": "app", "port": {"number": 80}}}
    assert routes_nginx.leads_to(object_view(main), "app")
    assert "has no path whose backend is Service app" in routes_nginx.problem_of(
        object_view(main), "app"
    )


async def test_a_path_that_leads_to_a_resource_is_passed_over():
    def add(main):
        resource = {"apiGroup": "example.com", "kind": "Bucket", "name": "app"}
        path = {"path": "/files", "pathType": "Prefix", "backend": {"resource": resource}}
        main["spec"]["rules"][0]["http"]["paths"].append(path)

    async with a_router(add) as world:
        await world.router.write(world.app(), Routing(30))
        assert ["/"] == [p["path"] for p in world.canary()["spec"]["rules"][0]["http"]["paths"]]


# --- other canaries -----------------------------------------------------------------------------


async def test_NT_a_second_canary_on_a_path_is_ignored_silently_so_the_first_is_named():
    theirs = ingress("preview", "app.test")
    theirs["metadata"]["annotations"] = {f"{NGINX}/canary": "true"}
    main = object_view(ingress("app", "app.test"))
    assert "Ingress preview" in routes_nginx.problem_of(main, "app", [object_view(theirs)])


async def test_a_canary_on_another_path_or_host_is_nobodys_business():
    theirs = ingress("preview", "other.test")
    theirs["metadata"]["annotations"] = {f"{NGINX}/canary": "true"}
    main = object_view(ingress("app", "app.test"))
    assert "" == routes_nginx.problem_of(main, "app", [object_view(theirs)])


async def test_a_canary_of_the_users_own_is_not_taken_for_a_main_ingress():
    theirs = ingress("app", "app.test")
    theirs["metadata"]["annotations"] = {f"{NGINX}/canary": "true"}
    problem = routes_nginx.problem_of(object_view(theirs), "app", [object_view(theirs)])
    assert "Ingress app is a canary itself" in problem


async def test_N_the_canary_Service_is_a_backend_of_our_copies_alone():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        assert {"app-canary"} == backends(world.canary())
        assert {"app"} == backends(world.server.object(INGRESS, NAMESPACE, "app"))


# --- what is inherited and what is not --------------------------------------------------------------


async def test_N_everything_else_is_inherited_by_the_reader_and_must_not_be_copied():
    def decorate(main):
        main["metadata"]["annotations"] = {
            "cert-manager.io/cluster-issuer": "letsencrypt",
            "external-dns.alpha.kubernetes.io/hostname": "app.test",
            "argocd.argoproj.io/tracking-id": "shop:networking.k8s.io/Ingress:shop/app",
            f"{NGINX}/affinity": "cookie",
            f"{NGINX}/rewrite-target": "/$1",
        }
        main["metadata"]["labels"] = {"app.kubernetes.io/instance": "shop", "team": "web"}
        main["spec"]["tls"] = [{"hosts": ["app.test"], "secretName": "app-tls"}]

    async with a_router(decorate) as world:
        await world.router.write(world.app(), Routing(30))
        assert {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": "30"} == annotations(world)
        assert {"rules", "ingressClassName"} == world.canary()["spec"].keys()
        labels = world.canary()["metadata"]["labels"]
        assert MANAGER == labels[MANAGED_BY]
        assert labels.keys().isdisjoint({"app.kubernetes.io/instance", "team"})


@pytest.mark.parametrize(
    "addition",
    [
        {"tls": [{"hosts": ["app.test"], "secretName": "stolen"}]},
        {"defaultBackend": {"service": {"name": "stolen", "port": {"number": 80}}}},
    ],
    ids=["tls", "defaultBackend"],
)
async def test_parts_of_the_spec_that_somebody_added_to_a_copy_are_seen_and_removed(addition):
    async with a_router() as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        world.server.edit(
            INGRESS, NAMESPACE, "app-canary", lambda live: live["spec"].update(addition)
        )
        world.sync()
        assert not world.router.read(app).in_sync

        await world.router.write(app, Routing(30))
        assert {"rules", "ingressClassName"} == world.canary()["spec"].keys()
        assert world.router.read(app).in_sync


async def test_a_path_that_somebody_added_to_a_copy_is_seen_and_removed():
    def add(live):
        live["spec"]["rules"][0]["http"]["paths"].append(a_path("/more", "app-canary"))

    async with a_router() as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        world.server.edit(INGRESS, NAMESPACE, "app-canary", add)
        world.sync()
        assert not world.router.read(app).in_sync
        await world.router.write(app, Routing(30))
        assert 1 == len(world.canary()["spec"]["rules"][0]["http"]["paths"])


async def test_a_copy_that_is_no_canary_any_more_is_not_in_sync_whatever_its_weight():
    async with a_router() as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        by_hand(world, **{f"{NGINX}/canary": "false"})
        route = world.router.read(app)
        assert (None, False) == (route.weight, route.in_sync)


# --- classes and prefixes -----------------------------------------------------------------------


async def test_the_class_is_named_the_way_the_main_ingress_names_it():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        assert "nginx" == world.canary()["spec"]["ingressClassName"]
        assert LEGACY not in annotations(world)


async def test_the_legacy_annotation_is_followed_too_and_then_the_field_stays_empty():
    async with a_router(use_legacy_class) as world:
        await world.router.write(world.app(), Routing(30))
        assert "legacy" == annotations(world)[LEGACY]
        assert "ingressClassName" not in world.canary()["spec"]
        assert world.router.read(world.app()).in_sync


@pytest.mark.parametrize("direction", ["to the annotation", "to the field"])
async def test_a_main_ingress_that_changes_how_it_names_its_class_is_followed(direction):
    def use_field(main):
        main["metadata"]["annotations"] = {}
        main["spec"]["ingressClassName"] = "nginx"

    before, after = (use_field, use_legacy_class)
    if direction == "to the field":
        before, after = after, before
    async with a_router(before) as world:
        await world.router.write(world.app(), Routing(30))
        world.server.edit(INGRESS, NAMESPACE, "app", after)
        app = world.app()
        assert not world.router.read(app).in_sync

        await world.router.write(app, Routing(30))
        assert world.router.read(app).in_sync
        assert ("ingressClassName" in world.canary()["spec"]) != (LEGACY in annotations(world))


async def test_a_class_that_somebody_took_off_a_copy_is_seen():
    async with a_router(use_legacy_class) as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        by_hand(world, **{LEGACY: None})
        assert not world.router.read(app).in_sync


async def test_a_class_that_the_cluster_added_to_a_copy_without_one_is_left_alone():
    def drop_class(main):
        del main["spec"]["ingressClassName"]

    async with a_router(drop_class) as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        world.server.patch(
            INGRESS, NAMESPACE, "app-canary", {"spec": {"ingressClassName": "default"}}
        )
        world.sync()
        assert world.router.read(app).in_sync


async def test_N_under_another_prefix_not_one_key_of_the_default_prefix_is_written():
    """With a prefix of its own the controller refuses Ingresses that carry the default one."""
    async with playing(
        NginxScene,
        lambda api, store: NginxRouter(api, store, prefix="ingress.example.io"),
        neighbour=False,
    ) as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        keys = {"ingress.example.io/canary": "true", "ingress.example.io/canary-weight": "30"}
        assert keys == annotations(world)
        assert 30 == world.router.read(app).weight


# --- ports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [{"number": 80}, {"name": "http"}], ids=["number", "name"])
async def test_T_the_port_is_spelled_as_the_user_spells_it_also_in_metrics(port):
    def change(main):
        main["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] = port

    async with a_router(change) as world:
        app = world.app()
        await world.router.write(app, Routing(30))
        backend = world.canary()["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert {"name": "app-canary", "port": port} == backend
        assert (("app", "app", str(port.get("name") or port["number"])),) == world.router.identity(
            app
        ).ingresses


async def test_T_each_port_of_an_ingress_is_a_backend_of_its_own_in_metrics():
    def add(main):
        grpc = a_path("/grpc", "app", port=9090)
        main["spec"]["rules"][0]["http"]["paths"] += [grpc, a_path("/more", "app")]

    async with a_router(add) as world:
        ports = {port for _, _, port in world.router.identity(world.app()).ingresses}
        assert {"80", "9090"} == ports


async def test_NT_the_copy_lies_in_the_namespace_of_its_main_ingress():
    async with a_router() as world:
        await world.router.write(world.app(), Routing(30))
        assert [(NAMESPACE, "app"), (NAMESPACE, "app-canary")] == [
            (i["metadata"]["namespace"], i["metadata"]["name"])
            for i in world.server.objects(INGRESS)
        ]


# --- several main Ingresses -----------------------------------------------------------------------


@BOTH
async def test_NT_a_copy_on_a_path_that_leads_elsewhere_by_now_would_take_strangers_so_it_is_deleted(
    plane,
):
    async with a_router() as world:
        world.server.put(ingress("second", "second.test"))
        world.server.edit(INGRESS, NAMESPACE, "second", lambda live: lead_to(live, "app"))
        await world.router.write(world.app("app", "second"), Routing(30))
        world.server.edit(INGRESS, NAMESPACE, "second", lambda live: lead_to(live, "other"))
        app = world.app("app")
        assert (True, False) == (world.router.read(app).orphaned, world.router.read(app).in_sync)
        assert 30 == the_route(world, plane, host="second.test").weight

        await world.router.write(app, Routing(30))
        world.sync()
        assert world.server.find(INGRESS, NAMESPACE, "second-canary") is None
        assert (False, True) == (world.router.read(app).orphaned, world.router.read(app).in_sync)
        assert [30, 0] == [
            the_route(world, plane, host=f"{h}.test").weight for h in ("app", "second")
        ]


async def test_of_a_mix_of_weights_the_highest_is_told():
    async with a_router() as world:
        world.server.put(ingress("second", "second.test"))
        world.server.edit(INGRESS, NAMESPACE, "second", lambda live: lead_to(live, "app"))
        both = world.app("app", "second")
        await world.router.write(both, Routing(50))
        by_hand(world, **{f"{NGINX}/canary-weight": "0"})
        route = world.router.read(both)
        assert (50, False) == (route.weight, route.in_sync)


# --- words of this module -----------------------------------------------------------------------


@asynccontextmanager
async def a_router(change=None):
    """A router with one main Ingress, changed before anybody looks."""
    async with playing(NginxScene, NginxRouter, neighbour=False) as world:
        if change is not None:
            world.server.edit(INGRESS, NAMESPACE, "app", change)
        for name in ("app-canary", "api", "static", "other"):
            world.server.put(service(name, {"app": name}))
        for name in ("app", "app-canary", "api", "static", "other"):
            world.server.put(endpoints(name))
        yield world


def a_path(path: str, backend: str, port: int = 80) -> dict[str, Any]:
    return {
        "path": path,
        "pathType": "Prefix",
        "backend": {"service": {"name": backend, "port": {"number": port}}},
    }


def lead_to(live: dict[str, Any], backend: str) -> None:
    for rule in live["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            path["backend"]["service"]["name"] = backend


def use_legacy_class(main: dict[str, Any]) -> None:
    main["metadata"]["annotations"] = {LEGACY: "legacy"}
    main["spec"].pop("ingressClassName", None)


def annotations(world: NginxScene) -> dict[str, str]:
    return dict(world.canary()["metadata"]["annotations"])


def backends(found: dict[str, Any]) -> set[str]:
    return {
        p["backend"]["service"]["name"]
        for rule in found["spec"]["rules"]
        for p in rule["http"]["paths"]
    }


def by_hand(world: NginxScene, **values: str | None) -> None:
    """Somebody edits the annotations of our copy, and the cache hears of it."""
    world.server.patch(INGRESS, NAMESPACE, "app-canary", {"metadata": {"annotations": values}})
    world.sync()


def the_route(
    world: NginxScene, plane: DataPlaneKind, host: str = "app.test", path: str = "/"
) -> Route:
    found = find_route(compile_routes(world.server.store, plane, "nginx"), host, path)
    assert found is not None
    return found
