"""Decisions become requests, in order; what fails ends them, except that users still leave a bad canary."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.controller.freshness import Freshness, StaleCache
from canaryd.controller.gather import Gathered
from canaryd.controller.inquiries import Inquiries
from canaryd.controller.perform import Performer, Tools
from canaryd.controller.snapshots import NameTaken, SnapshotStore, StaleTarget
from canaryd.core import names, views
from canaryd.core.annotations import resolve_deployment
from canaryd.core.decision import (
    Apply,
    ApplyPrimary,
    Ask,
    Decision,
    Delete,
    Emit,
    MarkTarget,
    Notify,
    Question,
    RestoreTemplate,
    SaveState,
    ScalePrimary,
    ScaleTarget,
    StopAsking,
    StoreSnapshot,
    SwitchApex,
    WriteFeedback,
    WriteRoute,
)
from canaryd.core.kinds import SERVICE
from canaryd.core.model import CanarySpec, HookAnswer, HookSpec, HookType, Provider
from canaryd.core.phase import Phase
from canaryd.core.reasons import Reason
from canaryd.core.routing import Routing
from canaryd.core.snapshot import App, RouteState, Snapshot
from canaryd.core.state import RolloutState
from canaryd.core.told import Told
from canaryd.core.views import Identity
from canaryd.ports.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotLeading,
    ServerError,
    Unreachable,
)
from canaryd.ports.router import Routers
from tests.controller.parts import (
    KEY,
    SHOP,
    CountingApi,
    Notes,
    deployment,
    make_cache,
    meta,
    view_of,
)
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.looptime

HOOK = HookSpec(name="tell", type=HookType.EVENT, url="http://x/")
GOING_OUT = RolloutState(phase=Phase.FAILED, promoted="p")


@dataclass
class Router:
    """Notes what is written; fails when told to."""

    fails: list[Exception] = field(default_factory=list)
    written: list[object] = field(default_factory=list)

    def orphans(self, key):
        return RouteState(routing=Routing(20))

    async def write(self, app, routing):
        self.written.append(routing.weight if isinstance(routing, Routing) else routing)
        if self.fails:
            raise self.fails.pop(0)

    async def retreat(self, key):
        await self.write(None, f"retreat {key[1]}")

    async def cleanup(self, key):
        self.written.append("cleanup")


@dataclass
class World:
    """A performer with everything around it."""

    api: CountingApi = field(default_factory=CountingApi)
    router: Router = field(default_factory=Router)
    cache: Any = field(default_factory=make_cache)
    events: list[tuple[str, str]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    freshness: Freshness = field(default_factory=Freshness)

    def __post_init__(self):
        self.inquiries = Inquiries(None, self, None, lambda key: None, Notes())
        self.performer = Performer(
            Tools(
                api=self.api,
                cache=self.cache,
                routers=Routers({Provider.NGINX: self.router}),
                inquiries=self.inquiries,
                recorder=self,
                clock=VirtualClock(),
                freshness=self.freshness,
                snapshots=SnapshotStore(self.api, self.cache),
            )
        )

    def emit(self, regarding, reason, note, type="Normal"):  # noqa: A002 - the port's name
        self.events.append((regarding["kind"], reason))

    async def call(self, hook, payload, *, namespace):
        self.told.append(hook.name)
        return HookAnswer(hook=hook.name, passed=True)

    async def perform(self, *actions, **snapshot):
        decision = Decision(reason=Reason.IDLE, actions=actions)
        return await self.performer.perform(Gathered(a_snapshot(**snapshot)), decision)


def a_snapshot(**more):
    target = view_of(deployment())
    resolution = resolve_deployment(
        controller={}, namespace={}, deployment=target.annotations, template={}
    )
    values = {"key": KEY, "target": target, "resolution": resolution, "spec": CanarySpec()}
    return Snapshot(**values | more)


def an_app():
    apex = views.service_view(
        {"metadata": meta("app"), "spec": {"selector": {"app": "app"}, "ports": [{"port": 80}]}}
    )
    identity = Identity(SHOP, "app", "uid-app")
    return App(
        target=identity, spec=CanarySpec(), label="app", match_labels={"app": "app"}, apex=apex
    )


def a_service(name="app-primary"):
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(name), "spec": {"ports": []}}


DELETE = Delete(SERVICE, "x", "uid-x")


# --- order and failure ----------------------------------------------------------------------------


async def test_actions_are_performed_in_the_order_of_the_decision():
    world = World()
    await world.perform(
        ScaleTarget(2), WriteRoute(Routing(20)), DELETE, ScalePrimary(3), app=an_app()
    )
    assert [
        ("patch/scale", "Deployment", "app"),
        ("delete", "Service", "x"),
        ("patch/scale", "Deployment", "app-primary"),
    ] == world.api.asked
    assert [20] == world.router.written


@pytest.mark.parametrize(
    "error", [ServerError("500"), Conflict("409"), Unreachable("gone"), Forbidden("403")]
)
async def test_what_fails_ends_the_list_except_for_a_retreat(error):
    world = World()
    world.api.errors["delete"] = error
    with pytest.raises(type(error)):
        await world.perform(
            DELETE, ScaleTarget(0), WriteRoute(Routing(0)), ScalePrimary(1), app=an_app()
        )
    assert [("delete", "Service", "x")] == world.api.asked
    assert [0] == world.router.written


async def test_a_stale_target_ends_the_list_except_for_a_retreat():
    world = World()
    world.api.put(deployment(image="app:other"))
    stored = StoreSnapshot("r", view_of(deployment()).fingerprint, ())
    with pytest.raises(StaleTarget):
        await world.perform(stored, SaveState(GOING_OUT), WriteRoute(Routing(0)), app=an_app())
    assert [0] == world.router.written


async def test_more_weight_is_never_written_after_a_failure():
    world = World()
    world.api.errors["delete"] = ServerError("500")
    with pytest.raises(ServerError):
        await world.perform(DELETE, WriteRoute(Routing(50)), app=an_app())
    assert [] == world.router.written


async def test_a_retreat_that_failed_is_not_tried_twice_in_one_look():
    world = World(router=Router(fails=[ServerError("500")]))
    with pytest.raises(ServerError):
        await world.perform(WriteRoute(Routing(0)), ScaleTarget(0), app=an_app())
    assert ([0], []) == (world.router.written, world.api.asked)


async def test_when_the_retreat_fails_too_the_look_fails():
    world = World(router=Router(fails=[Unreachable("gone")]))
    world.api.errors["delete"] = ServerError("500")
    with pytest.raises(Unreachable):
        await world.perform(DELETE, WriteRoute(Routing(0)), app=an_app())


async def test_without_an_app_weight_0_is_written_to_whatever_is_ours_and_more_is_not_written():
    world = World()
    await world.perform(WriteRoute(Routing(0)), WriteRoute(Routing(20)))
    assert ["retreat app"] == world.router.written


async def test_a_defect_is_no_failure_of_the_server_and_is_not_swallowed():
    world = World(router=Router(fails=[ZeroDivisionError()]))
    with pytest.raises(ZeroDivisionError):
        await world.perform(WriteRoute(Routing(20)), app=an_app())


# --- names of strangers ---------------------------------------------------------------------------


async def test_an_object_of_a_stranger_is_not_taken_over_by_an_apply():
    world = World()
    world.api.put(a_service())
    with pytest.raises(NameTaken, match="Service app-primary exists and is not canaryd's"):
        await world.perform(Apply(a_service()))
    assert [("get", "Service", "app-primary")] == world.api.asked


async def test_an_object_of_ours_is_applied_also_when_the_cache_has_not_seen_it_yet():
    world = World()
    ours = a_service()
    ours["metadata"]["labels"] = names.ownership_labels("app")
    world.api.put(ours)
    await world.perform(Apply(ours))
    assert ("apply", "Service", "app-primary") == world.api.asked[-1]


@pytest.mark.parametrize("labels", [{}, names.ownership_labels("other")])
async def test_a_primary_of_a_stranger_or_of_another_app_is_not_taken_over(labels):
    world = World()
    world.api.put(snapshot_object())
    world.api.put(deployment("app-primary", labels=labels))
    with pytest.raises(NameTaken, match="Deployment app-primary exists"):
        await world.perform(ApplyPrimary("r", 2), app=an_app())
    assert "apply" not in {verb for verb, _, _ in world.api.asked}


async def test_a_snapshot_of_a_stranger_is_not_taken_for_ours():
    world = World()
    world.api.put(snapshot_object(labels={}))
    with pytest.raises(NameTaken, match="ControllerRevision app-canaryd-r exists"):
        await world.perform(ApplyPrimary("r", 2), app=an_app())


def snapshot_object(labels=None):
    given = names.ownership_labels("app") if labels is None else labels
    template = deployment()["spec"]["template"]
    return {
        "kind": "ControllerRevision",
        "metadata": meta("app-canaryd-r", labels=given),
        "data": {"template": template},
    }


# --- our own writes -------------------------------------------------------------------------------


async def test_only_writes_to_the_target_are_waited_for():
    world = World()
    await world.perform(ScalePrimary(3))
    world.freshness.check(KEY, "1")
    await world.perform(ScaleTarget(3))
    with pytest.raises(Exception, match="waiting for resourceVersion 500"):
        world.freshness.check(KEY, "499")


async def test_a_restored_template_is_waited_for_too():
    world = World()
    world.api.put(snapshot_object())
    world.api.put(deployment(image="app:bad"))
    await world.perform(RestoreTemplate("r"))
    with pytest.raises(Exception, match="waiting for resourceVersion 500"):
        world.freshness.check(KEY, "499")


async def test_a_users_Service_is_patched_with_the_version_it_was_seen_at():
    world, sent = World(), []

    async def keep(kind, namespace, name, patch, **how):
        sent.append(patch)
        return {"metadata": {}}

    world.api.merge_patch = keep
    apex = an_app().apex
    await world.perform(SwitchApex(apex, (("app", "app-primary"),), keep_record=True))
    await world.perform(MarkTarget(managed=False))
    assert "100" == sent[0]["metadata"]["resourceVersion"]
    assert {"selector": {"app": "app-primary"}} == sent[0]["spec"]
    assert '{"app":"app"}' == sent[0]["metadata"]["annotations"][names.ORIGINAL_SELECTOR]
    gone = {names.MANAGED: None, names.AUTHOR: None}
    assert {"metadata": {"annotations": gone}} == sent[1]


# --- people and the world -------------------------------------------------------------------------


async def test_an_event_is_on_the_Deployment_and_on_the_Canary_when_there_is_one():
    world = World()
    await world.perform(Emit(Reason.IDLE, "before"))
    assert [("Deployment", "Idle")] == world.events
    record = {"kind": "Canary", "metadata": meta("app")}
    world.cache.canaries.observe(record)
    world.events.clear()
    await world.perform(Emit(Reason.IDLE, "after"), Emit(Reason.IDLE, "brief", brief=True))
    assert ["Deployment", "Canary", "Deployment"] == [kind for kind, _ in world.events]


async def test_hooks_are_told_also_while_something_hides_the_app():
    world = World()
    async with asyncio.TaskGroup() as group:
        world.inquiries.open(group)
        await world.perform(
            Emit(Reason.LEFT, "leaving"),
            Notify((HOOK,), "post-rollout"),
            StopAsking(),
            spec=CanarySpec(hooks=(HOOK,)),
        )
    assert ["tell", "tell"] == world.told


async def test_questions_need_the_app_and_without_it_the_look_is_repeated():
    with pytest.raises(Conflict, match="its surroundings changed"):
        await World().perform(Ask((Question("r/1/hook/tell", HOOK),)))


# --- what is said on the target -------------------------------------------------------------------

TELL = WriteFeedback((Told("Reconciling", "Progressing", "m"),))


async def test_what_is_said_goes_to_the_status_under_a_manager_of_its_own():
    applied = []

    class Api(CountingApi):
        async def apply(self, manifest, **how):
            applied.append((manifest, how))
            return manifest | {"metadata": {"resourceVersion": "700"}}

    world = World(api=Api())
    assert await world.perform(TELL) is None

    [(manifest, how)] = applied
    assert {"field_manager": names.STATUS_MANAGER, "subresource": "status"} == how
    assert {"namespace": SHOP, "name": "app"} == manifest["metadata"]
    assert ["Reconciling"] == [c["type"] for c in manifest["status"]["conditions"]]
    with pytest.raises(StaleCache, match="700"):
        world.freshness.check(KEY, "699")


@pytest.mark.parametrize(
    ("error", "wait_s"), [(Forbidden("no"), 600), (Invalid("no"), 600), (ServerError("no"), 60)]
)
async def test_what_cannot_be_said_stops_nothing_and_is_tried_again_later(error, wait_s, caplog):
    world = World(api=CountingApi(errors={"apply": error}))
    again_s = await world.perform(TELL, ScaleTarget(1))
    assert wait_s == again_s
    assert [("apply", "Deployment", "app"), ("patch/scale", "Deployment", "app")] == world.api.asked
    [line] = [r.getMessage() for r in caplog.records]
    assert "Deployment shop/app: its status could not be written" in line
    assert "canaryd.io/feedback: none" in line

    await world.perform(TELL)
    assert 2 == len(world.api.asked)  # not before its time
    await asyncio.sleep(wait_s)
    world.api.errors.clear()
    assert await world.perform(TELL) is None
    assert ("apply", "Deployment", "app") == world.api.asked[-1]


async def test_what_goes_on_failing_is_tried_ever_more_rarely():
    world = World(api=CountingApi(errors={"apply": ServerError("no")}))
    waits = []
    for _ in range(6):
        waits.append(await world.perform(TELL))
        await asyncio.sleep(waits[-1])
    assert [60, 120, 240, 480, 600, 600] == waits
    assert await world.perform() is None  # it need not be told any more


async def test_nothing_is_said_of_a_target_that_is_gone_nor_by_who_does_not_lead():
    world = World(api=CountingApi(errors={"apply": NotFound("gone")}))
    assert await world.perform(TELL) is None
    world = World(api=CountingApi(errors={"apply": NotLeading("lost")}))
    with pytest.raises(NotLeading):
        await world.perform(TELL, ScaleTarget(1))
    assert [("apply", "Deployment", "app")] == world.api.asked


async def test_a_mirror_is_no_retreat_to_be_written_after_a_failure():
    world = World()
    world.api.errors["delete"] = ServerError("500")
    with pytest.raises(ServerError):
        await world.perform(DELETE, WriteRoute(Routing(mirror=50)), app=an_app())
    assert [] == world.router.written
