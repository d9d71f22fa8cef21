"""Who wakes whom: a change of an object looks at the apps it may concern, and at no other."""

import pytest

from canaryd.controller.tracker import Tracker
from canaryd.controller.workqueue import WorkQueue
from canaryd.core import names, views
from tests.controller.parts import SHOP, config, deployment, make_cache, meta

pytestmark = pytest.mark.looptime

OURS = names.ownership_labels("app")


class Woken:
    """A tracker over some enrolled apps, and who was woken since."""

    def __init__(self, *deployments):
        self.queue = WorkQueue()
        self.tracker = Tracker(self.queue)
        self.cache = make_cache()
        for found in deployments:
            self.cache.deployments.observe(found)
        self.tracker.follow(self.cache.deployments)

    async def names(self):
        found = []
        while len(self.queue):
            key = await self.queue.get()
            found.append(key)
            self.queue.done(key)
        return sorted(name for namespace, name in found if namespace == SHOP)


def two_apps():
    return Woken(
        deployment("app", configs=("settings",), secrets=("keys",)),
        deployment("other"),
        deployment("stranger", annotations={"canaryd.io/interval": "1m"}),
    )


def service(name, labels=None):
    return views.service_view({"metadata": meta(name, labels=labels), "spec": {}})


def thing(name, labels=None):
    return views.object_view({"metadata": meta(name, labels=labels), "spec": {}})


def piece(target):
    labels = {names.LABEL_TARGET: target, "kubernetes.io/service-name": "app"}
    return views.endpoint_slice_view({"metadata": meta("app-1", labels=labels), "endpoints": []})


def canary(version=1, spec=None, status=None, uid="u"):
    metadata = meta("app", version) | {"uid": uid}
    return views.canary_view({"metadata": metadata, "spec": spec or {}, "status": status or {}})


async def test_a_target_wakes_itself_whether_it_comes_changes_or_goes():
    for old, new in ((None, 1), (1, 1), (1, None)):
        woken = two_apps()
        view = views.deployment_view(deployment("app"))
        woken.tracker.deployment(view if old else None, view if new else None)
        assert ["app"] == await woken.names()


async def test_a_primary_wakes_its_target():
    woken = two_apps()
    woken.tracker.deployment(None, views.deployment_view(deployment("app-primary", labels=OURS)))
    assert ["app"] == await woken.names()


async def test_a_primary_that_lost_its_labels_still_wakes_its_target():
    woken = two_apps()
    before = views.deployment_view(deployment("app-primary", labels=OURS))
    woken.tracker.deployment(before, views.deployment_view(deployment("app-primary")))
    assert "app" in await woken.names()


async def test_endpoints_wake_the_target_they_are_labelled_with_and_no_other():
    woken = two_apps()
    woken.tracker.endpoint_slice(None, piece("app"))
    assert ["app"] == await woken.names()
    woken.tracker.endpoint_slice(piece("app"), piece("other"))
    assert ["app", "other"] == await woken.names()


@pytest.mark.parametrize("kind", ["service", "object"])
async def test_an_object_of_ours_wakes_its_target_and_a_users_own_wakes_every_enrolled_app(kind):
    make = service if kind == "service" else thing
    woken = two_apps()
    tell = getattr(woken.tracker, kind)
    tell(None, make("app-canary", OURS))
    assert ["app"] == await woken.names()
    tell(None, make("new"))
    assert ["app", "other"] == await woken.names()
    tell(make("app-canary", OURS), make("app-canary"))
    assert ["app", "other"] == await woken.names()


async def test_a_config_wakes_the_apps_that_use_it():
    for name, expected in (("settings", ["app"]), ("keys", ["app"]), ("unused", [])):
        woken = two_apps()
        woken.tracker.config(None, views.config_view(config(name)))
        assert expected == await woken.names()


async def test_a_copy_of_ours_wakes_nobody():
    woken = two_apps()
    woken.tracker.config(None, views.config_view(config("settings", labels=OURS)))
    assert [] == await woken.names()


async def test_defaults_of_a_namespace_wake_its_apps_when_they_change_and_only_then():
    def namespace(**annotations):
        metadata = {"name": SHOP, "annotations": annotations, "resourceVersion": "1"}
        return views.config_view({"metadata": metadata})

    woken = two_apps()
    plain, defaults = namespace(), namespace(**{"defaults.canaryd.io/interval": "1m"})
    woken.tracker.namespace(None, defaults)
    woken.tracker.namespace(defaults, defaults)
    assert [] == await woken.names()
    woken.tracker.namespace(plain, defaults)
    assert ["app", "other"] == await woken.names()


async def test_our_own_status_writes_wake_nobody():
    woken = two_apps()
    woken.tracker.canary(canary(1), canary(2, status={"phase": "Progressing"}))
    assert [] == await woken.names()


async def test_a_record_that_comes_goes_changes_its_spec_or_is_another_one_wakes_its_app():
    changes = (
        (None, canary()),
        (canary(), None),
        (canary(), canary(spec={"interval": "1m"})),
        (canary(), canary(uid="another")),
    )
    for old, new in changes:
        woken = two_apps()
        woken.tracker.canary(old, new)
        assert ["app"] == await woken.names()


async def test_a_resync_looks_at_every_enrolled_app_after_what_is_urgent():
    woken = two_apps()
    woken.tracker.resync()
    woken.queue.add((SHOP, "urgent"))
    assert (SHOP, "urgent") == await woken.queue.get()
    assert ["app", "other"] == await woken.names()


async def test_an_app_that_is_leaving_is_still_looked_at():
    woken = Woken(deployment("app", annotations={names.MANAGED: "true"}))
    woken.tracker.resync()
    assert ["app"] == await woken.names()


async def test_a_tracker_that_knows_no_apps_yet_wakes_none():
    queue = WorkQueue()
    Tracker(queue).resync()
    assert 0 == len(queue)
