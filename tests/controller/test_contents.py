"""Contents of configs: read once per version, hashed, dropped; and what cannot be read makes the revision unknown."""

import pytest

from canaryd.controller import contents as contents_module
from canaryd.controller.contents import ConfigContents
from canaryd.core.fingerprint import content_fingerprint, revision_of
from canaryd.core.model import CanarySpec
from canaryd.core.reasons import Reason
from canaryd.ports.errors import Forbidden, ServerError
from tests.controller.parts import CountingApi, config, deployment, make_cache, view_of

SPEC = CanarySpec()


class Configs:
    """A target with one ConfigMap and one Secret."""

    def __init__(self, **options):
        self.api = CountingApi()
        self.cache = make_cache()
        self.contents = ConfigContents(self.api, self.cache)
        self.target = view_of(deployment(configs=("settings",), secrets=("keys",), **options))
        self.put(config("settings"))
        self.put(config("keys", kind="Secret"))

    def put(self, manifest):
        self.api.put(manifest)
        stores = {"ConfigMap": self.cache.config_maps, "Secret": self.cache.secrets}
        stores[manifest["kind"]].observe(manifest)

    async def revision(self, spec=SPEC, known=None):
        return await self.contents.revision(self.target, spec, known or {})


async def test_the_revision_is_made_of_the_template_and_of_every_content():
    world = Configs()
    found = await world.revision()

    contents = {
        "configmap/settings": content_fingerprint(config("settings")),
        "secret/keys": content_fingerprint(config("keys", kind="Secret")),
    }
    assert revision_of(world.target.fingerprint, contents) == found.name
    assert {key: ("100", content) for key, content in contents.items()} == dict(found.contents)


async def test_a_content_is_read_once_per_version():
    world = Configs()
    for _ in range(3):
        await world.revision()
    assert [("get", "ConfigMap", "settings"), ("get", "Secret", "keys")] == world.api.asked

    changed = config("settings", version=101) | {"data": {"k": "other"}}
    world.put(changed)
    before, after = await world.revision(), await world.revision()
    assert before.name == after.name
    assert 3 == len(world.api.asked)


async def test_a_new_version_with_the_same_content_is_the_same_revision():
    world = Configs()
    before = await world.revision()
    world.put(config("settings", version=101))
    assert before.name == (await world.revision()).name


async def test_what_was_recorded_spares_the_read_after_a_restart():
    world = Configs()
    known = dict((await world.revision()).contents)
    again = Configs()
    assert (await world.revision()).name == (await again.revision(known=known)).name
    assert [] == again.api.asked


async def test_a_record_of_another_version_spares_nothing():
    world = Configs()
    found = await world.revision(known={"configmap/settings": ("99", "old")})
    assert "old" not in str(found.contents)
    assert 2 == len(world.api.asked)


@pytest.mark.parametrize("name", ["settings", "keys"])
async def test_a_config_that_is_missing_makes_the_revision_unknown_and_is_named(name):
    world = Configs()
    stores = {"settings": world.cache.config_maps, "keys": world.cache.secrets}
    kind = "ConfigMap" if name == "settings" else "Secret"
    stores[name].forget(config(name, version=101))
    found = await world.revision()
    assert (None, Reason.CONFIG_MISSING) == (found.name, found.obstacle.reason)
    assert f"{kind} {name}, used by Deployment app, does not exist" in found.obstacle.message


async def test_an_optional_config_that_is_missing_is_left_out():
    world = Configs(optional=True)
    world.cache.config_maps.forget(config("settings", version=101))
    found = await world.revision()
    assert {"secret/keys"} == found.contents.keys()
    assert found.name is not None


async def test_a_config_that_goes_between_the_watch_and_the_read_is_missing():
    world = Configs()
    del world.api.objects["ConfigMap", "settings"]
    assert Reason.CONFIG_MISSING == (await world.revision()).obstacle.reason


async def test_a_config_that_is_being_deleted_is_missing():
    world = Configs()
    leaving = config("settings", version=101)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-05T12:00:00Z"
    world.put(leaving)
    assert Reason.CONFIG_MISSING == (await world.revision()).obstacle.reason


@pytest.mark.parametrize("error", [Forbidden("may not get secrets"), ServerError("leader changed")])
async def test_a_config_that_cannot_be_read_makes_the_revision_unknown_with_the_reason(error):
    world = Configs()
    world.api.errors["get"] = error
    found = await world.revision()
    assert (None, Reason.CONFIG_UNREADABLE) == (found.name, found.obstacle.reason)
    assert f"configmap/settings cannot be read: {error}" == found.obstacle.message
    world.api.errors.clear()
    assert (await world.revision()).name is not None


async def test_without_tracking_nothing_is_read_and_the_template_alone_counts():
    world = Configs()
    found = await world.revision(CanarySpec(config_tracking=False))
    assert revision_of(world.target.fingerprint, {}) == found.name
    assert [] == world.api.asked


async def test_excluded_configs_are_neither_read_nor_missed():
    world = Configs()
    world.cache.secrets.forget(config("keys", version=101))
    found = await world.revision(CanarySpec(config_exclude=("secret/keys",)))
    assert {"configmap/settings"} == found.contents.keys()


async def test_what_its_owner_does_not_want_tracked_is_neither_read_nor_part_of_a_revision():
    world = Configs()
    world.put(config("keys", kind="Secret", version=101, annotations={"canaryd.io/track": "false"}))
    found = await world.revision()
    assert {"configmap/settings"} == found.contents.keys()
    assert [("get", "ConfigMap", "settings")] == world.api.asked


async def test_what_its_owner_does_not_want_copied_is_part_of_a_revision_all_the_same():
    world = Configs()
    before = await world.revision()
    world.put(config("keys", kind="Secret", version=101, annotations={"canaryd.io/copy": "false"}))
    after = await world.revision()
    assert (before.name, before.tracking) == (after.name, after.tracking)
    assert (frozenset(), frozenset({"secret/keys"})) == (before.shared, after.shared)


async def test_without_access_to_secrets_they_are_not_tracked():
    world = Configs()
    world.cache = make_cache(secrets=None, config_maps=world.cache.config_maps)
    world.contents = ConfigContents(world.api, world.cache)
    assert {"configmap/settings"} == (await world.revision()).contents.keys()


@pytest.mark.parametrize("kind", sorted(contents_module.UNTRACKED_SECRETS))
async def test_credentials_of_the_cluster_are_not_part_of_a_revision(kind):
    world = Configs()
    world.put(config("keys", version=101, kind="Secret") | {"type": kind})
    assert {"configmap/settings"} == (await world.revision()).contents.keys()


async def test_what_is_remembered_is_bounded_and_what_was_forgotten_is_read_again(monkeypatch):
    monkeypatch.setattr(contents_module, "MEMORY", 2)
    world = Configs()
    await world.revision()
    for version in range(101, 105):
        world.put(config("settings", version=version))
        await world.revision()
    assert 2 == len(world.contents._seen)
    assert 1 == world.api.asked.count(("get", "Secret", "keys"))
