"""What every router must do, told as stories: what was written is what is read, and nothing else moves.

A router is added by one line in ``tests/contract/scenes.py``; the stories then run against it by themselves.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from canaryd.core.model import CanarySpec
from canaryd.core.routing import PRIMARY_ONLY, Routing
from tests.contract.scenes import KEY, OTHER_KEY, ROUTERS, GatewayScene, NginxScene, Scene
from tests.scenarios.manifests import NAMESPACE

pytestmark = pytest.mark.looptime


@pytest.fixture(params=ROUTERS, ids=str)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with ROUTERS[request.param]() as made:
        yield made


def with_mains(scene: Scene) -> None:
    if not scene.mains:
        pytest.skip("users have no routes of their own with this provider")


async def test_before_anything_was_written_nothing_reaches_a_canary(scene: Scene):
    route = scene.router.read(scene.app())

    assert (False, False) == (route.carries, route.orphaned)
    assert scene.router.orphans(KEY).routing is None


@pytest.mark.parametrize("weight", [0, 1, 50, 100])
async def test_what_was_written_is_what_is_read_and_what_a_data_plane_does(
    scene: Scene, weight: int
):
    if scene.some(weight) != weight:
        pytest.skip("there are no shares with this provider")
    app = scene.app()
    await scene.router.write(app, Routing(weight))

    route = scene.router.read(app)
    assert (Routing(weight), True, False, "") == (
        route.routing,
        route.in_sync,
        route.orphaned,
        route.obstacle,
    )
    assert weight == scene.share()


async def test_writing_the_same_again_changes_nothing(scene: Scene):
    app = scene.app()
    await scene.router.write(app, Routing(scene.some(20)))
    before = scene.versions()
    await scene.router.write(app, Routing(scene.some(20)))

    assert before == scene.versions()


async def test_what_is_the_users_is_in_the_end_as_it_was_in_the_beginning(scene: Scene):
    before = scene.state()
    app = scene.app()
    await scene.router.write(app, PRIMARY_ONLY)
    await scene.router.write(app, Routing(scene.some(30)))
    await scene.router.retreat(KEY)
    await scene.router.cleanup(KEY)

    assert before == scene.state()


async def test_a_weight_changed_by_hand_is_seen_and_repaired(scene: Scene):
    app, weight, other = scene.app(), scene.some(30), 90 if scene.shares else 0
    await scene.router.write(app, Routing(weight))
    scene.tamper(other)
    scene.sync()
    assert other == scene.router.read(app).weight

    await scene.router.write(app, Routing(weight))
    assert (weight, True) == (scene.router.read(app).weight, scene.router.read(app).in_sync)
    assert weight == scene.share()


async def test_a_path_of_the_user_that_moved_takes_the_weight_along(scene: Scene):
    with_mains(scene)
    await scene.router.write(scene.app(), Routing(30))
    scene.move(path="/moved")

    moved = scene.app()
    await scene.router.write(moved, Routing(30))
    assert scene.router.read(moved).in_sync
    assert 30 == scene.share("/moved")


async def test_every_route_of_the_app_gets_the_weight_and_a_mix_is_not_in_sync(scene: Scene):
    with_mains(scene)
    scene.put_main("partner", "partner.test")
    app = scene.app("app", "partner")
    await scene.router.write(scene.app("app"), Routing(50))
    assert not scene.router.read(app).in_sync

    await scene.router.write(app, Routing(50))
    assert (50, True) == (scene.router.read(app).weight, scene.router.read(app).in_sync)
    assert 50 == scene.share(host="partner.test")


async def test_a_route_that_leads_to_the_app_no_more_is_an_orphan_and_retreats_without_the_app(
    scene: Scene,
):
    with_mains(scene)
    await scene.router.write(scene.app(), Routing(40))
    scene.lose()
    orphan = scene.router.orphans(KEY)
    assert (40, True) == (orphan.weight, orphan.orphaned)

    await scene.router.retreat(KEY)
    assert not scene.router.orphans(KEY).carries


async def test_cleanup_takes_away_what_is_ours_and_nothing_else(scene: Scene):
    if scene.mains:
        scene.put_main("other-canary", "another.test", "other")
    before = scene.state()
    await scene.router.write(scene.app(), Routing(scene.some(10)))
    scene.sync()
    await scene.router.cleanup(KEY)

    assert before == scene.state()


async def test_the_identity_names_both_sides_of_the_app(scene: Scene):
    identity = scene.router.identity(scene.app())

    assert (NAMESPACE, "app", "app") == (identity.namespace, identity.target, identity.apex)
    assert ("app-canary", "app-primary") == (identity.canary_service, identity.primary_service)


async def test_paths_that_lead_elsewhere_stay_out_of_it(scene: Scene):
    with_mains(scene)
    scene.add_foreign_path("/other")
    app = scene.app()
    await scene.router.write(app, Routing(10))

    assert [10, 0] == [scene.share(path) for path in ("/", "/other/x")]
    assert scene.router.read(app).in_sync


async def test_a_mark_of_ours_that_somebody_took_away_is_not_in_sync_and_is_made_again(
    scene: Scene,
):
    app, weight = scene.app(), scene.some(30)
    await scene.router.write(app, Routing(weight))
    before = scene.state()
    scene.damage()
    scene.sync()
    assert not scene.router.read(app).in_sync

    await scene.router.write(app, Routing(weight))
    assert (weight, True) == (scene.router.read(app).weight, scene.router.read(app).in_sync)
    assert before == scene.state()


async def test_retreat_and_cleanup_may_come_twice_or_find_nothing(scene: Scene):
    for _ in range(2):
        await scene.router.retreat(KEY)
        await scene.router.cleanup(KEY)
    await scene.router.write(scene.app(), Routing(scene.some(30)))
    for _ in range(2):
        await scene.router.retreat(KEY)
    for _ in range(2):
        await scene.router.cleanup(KEY)
    scene.sync()

    orphan = scene.router.orphans(KEY)
    assert (None, False) == (orphan.routing, orphan.orphaned)


async def test_a_retreat_leaves_nobody_on_the_canary(scene: Scene):
    await scene.router.write(scene.app(), Routing(scene.some(60)))
    await scene.router.retreat(KEY)
    scene.sync()

    assert (False, 0) == (scene.router.read(scene.app()).carries, scene.share())


async def test_what_belongs_to_another_app_is_none_of_its_business(scene: Scene):
    weight = scene.some(30)
    await scene.router.write(scene.app(), Routing(weight))
    await scene.router.retreat(OTHER_KEY)
    await scene.router.cleanup(OTHER_KEY)

    assert (weight, weight) == (scene.router.read(scene.app()).weight, scene.share())
    assert scene.router.orphans(OTHER_KEY).routing is None


async def test_a_plan_that_the_router_cannot_carry_out_is_refused_in_words(scene: Scene):
    words = scene.router.validate(CanarySpec(provider=scene.provider, weights=(100, 150)))
    assert any("weight 150 cannot be written" in text for text in words)


async def test_a_plan_that_the_router_can_carry_out_is_not_refused(scene: Scene):
    assert scene.shares is scene.router.capabilities.weight
    assert () == scene.router.validate(replace(scene.plan, provider=scene.provider))


async def test_an_app_without_surprises_has_no_cautions(scene: Scene):
    assert () == scene.router.cautions(scene.app())


# --- what only some can promise -------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in ROUTERS if n.startswith("nginx")])
async def test_the_users_own_ingress_is_never_written(name: str):
    async with ROUTERS[name]() as scene:
        before = scene.versions()
        await scene.router.write(scene.app(), Routing(30))
        await scene.router.retreat(KEY)
        await scene.router.cleanup(KEY)

        assert before == scene.versions()


@pytest.mark.parametrize("name", [n for n in ROUTERS if n.startswith("nginx")])
async def test_an_object_that_was_made_is_marked_as_ours_and_goes_with_the_target(name: str):
    async with ROUTERS[name]() as scene:
        assert isinstance(scene, NginxScene)
        await scene.router.write(scene.app(), Routing(10))
        metadata = scene.canary()["metadata"]

        assert {"canaryd", "app"} <= set(metadata["labels"].values())
        assert ["uid-app"] == [owner["uid"] for owner in metadata["ownerReferences"]]


async def test_a_route_of_the_users_is_written_only_while_it_has_a_canary():
    async with ROUTERS["gateway"]() as scene:
        assert isinstance(scene, GatewayScene)
        await scene.router.write(scene.app(), PRIMARY_ONLY)

        assert [] == scene.server.requests.writes()
