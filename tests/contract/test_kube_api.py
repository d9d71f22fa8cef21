"""What the controller relies on of an API server, told as stories, against the fake one and a real one.

The client is the one that ships, in both worlds: that these stories hold against a real kube-apiserver is what makes the fake
worth testing against. Another user is a second client with a field manager of its own. Time is real here, as it must be with a
server in another process; nothing waits for it.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from canaryd.core.kinds import (
    ALL_KINDS,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    EVENT,
    INGRESS,
    NAMESPACE,
    PEOPLES_KINDS,
    SECRET,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_REVIEW,
    SERVICE,
    Kind,
)
from canaryd.core.views import ObjectView, object_view
from canaryd.kube import codecs
from canaryd.kube.answers import Call, error_from_event
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection, load_connection
from canaryd.kube.reflector import Interest, Reflector
from canaryd.kube.store import Store
from canaryd.ports.errors import Conflict, Gone, Invalid, NotFound
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.clock import VirtualClock

Manifest = dict[str, Any]
PATIENCE_S = 30.0


# --- worlds -------------------------------------------------------------------------------------


@dataclass
class World:
    """An API server, a namespace in it, us, and somebody else."""

    namespace: str
    client: KubeClient
    other: KubeClient
    compact: Callable[[], None] = lambda: None
    remembers: bool = True
    """Nobody can make it forget here: it does so by itself, in time."""
    """Forget history where that can be asked for; a real server forgot what was before it began."""
    observed: list[Manifest] = field(default_factory=list)

    def config(self, name: str, data: dict[str, str] | None = None, **meta: Any) -> Manifest:
        metadata = {"namespace": self.namespace, "name": name, **meta}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {}}

    def deployment(self, name: str = "app") -> Manifest:
        """One that never makes pods, whatever its replicas."""
        labels = {"app": name}
        pod = {"containers": [{"name": "c", "image": "registry.invalid/none:1"}]}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {
            "replicas": 0,
            "paused": True,
            "selector": {"matchLabels": labels},
            "template": template,
        }
        metadata = {"namespace": self.namespace, "name": name}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


@pytest.fixture(
    params=["fake", pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.slow])]
)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        async with FakeApiServer((*ALL_KINDS, *PEOPLES_KINDS)) as server:
            server.ensure_namespace("test")
            async with two_clients(Connection(server.url), "test") as made:
                made.compact = server.compact
                made.remembers = False
                yield made
        return
    cluster = request.getfixturevalue("cluster")
    namespace = request.getfixturevalue("namespace")
    async with two_clients(load_connection(str(cluster.kubeconfig)), namespace) as made:
        yield made


@asynccontextmanager
async def two_clients(connection: Connection, namespace: str) -> AsyncIterator[World]:
    clock, observed = VirtualClock(), []
    async with (
        KubeClient(connection, clock=clock, field_manager="us", observe=observed.append) as client,
        KubeClient(connection, clock=clock, field_manager="somebody") as other,
    ):
        yield World(namespace, client, other, observed=observed)


# --- reading and creating -------------------------------------------------------------------------


async def test_what_was_created_is_what_is_read(world: World):
    made = await world.client.create(world.config("a", {"key": "value"}))
    found = await world.client.get(CONFIG_MAP, world.namespace, "a")

    assert ("v1", "ConfigMap", {"key": "value"}) == (
        found["apiVersion"],
        found["kind"],
        found["data"],
    )
    assert made["metadata"]["uid"] == found["metadata"]["uid"]
    assert found["metadata"]["resourceVersion"].isdigit()
    assert ["a"] == [o["metadata"]["name"] for o in world.observed]


async def test_a_name_that_exists_is_a_conflict_and_the_object_stays(world: World):
    await world.client.create(world.config("a", {"key": "first"}))
    with pytest.raises(Conflict, match='configmaps "a" already exists'):
        await world.client.create(world.config("a", {"key": "second"}))
    assert "first" == (await world.client.get(CONFIG_MAP, world.namespace, "a"))["data"]["key"]


async def test_a_dry_run_is_checked_and_creates_nothing(world: World):
    made = await world.client.create(world.config("a"), dry_run=True)
    assert "a" == made["metadata"]["name"]
    assert [] == world.observed
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await world.client.get(CONFIG_MAP, world.namespace, "a")


async def test_what_is_wrong_is_named_with_its_field(world: World):
    wrong = world.deployment()
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(Invalid, match=r"spec\.template\.metadata\.labels") as caught:
        await world.client.create(wrong)
    assert 422 == caught.value.status


async def test_an_object_whose_namespace_is_missing_is_not_found(world: World):
    with pytest.raises(NotFound, match='namespaces "no-such-namespace" not found'):
        await world.client.create(world.config("a", namespace="no-such-namespace"))


async def test_lists_are_selected_by_labels_and_by_name_and_say_what_their_items_are(world: World):
    for name, team in (("a", "web"), ("b", "web"), ("c", "data")):
        await world.client.create(world.config(name, labels={"team": team}))

    async def names(**selectors: str) -> list[str]:
        found = await world.client.list(CONFIG_MAP, world.namespace, **selectors)
        assert {("v1", "ConfigMap")} >= {(o["apiVersion"], o["kind"]) for o in found}
        return [o["metadata"]["name"] for o in found]

    assert ["a", "b"] == await names(label_selector="team=web")
    assert ["a", "b", "c"] == await names(label_selector="team in (web,data)")
    assert ["c"] == await names(label_selector="team,team!=web")
    assert ["b"] == await names(field_selector="metadata.name=b")
    assert [] == await names(label_selector="team=nobody")


async def test_a_list_comes_in_pages_that_hold_every_object_once(world: World):
    for n in range(5):
        await world.client.create(world.config(f"c{n}", labels={"team": "web"}))
    pages = [
        [codecs.decode_head(raw).metadata.name for raw in page.items or ()]
        async for page in world.client.pages(
            CONFIG_MAP, world.namespace, label_selector="team=web", limit=2
        )
    ]
    # How many of a page pass the selector is the server's business; that nothing is lost is ours.
    assert [f"c{n}" for n in range(5)] == list(itertools.chain(*pages))
    assert len(pages) > 1


async def test_metadata_alone_carries_no_contents(world: World):
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": world.namespace, "name": "keys", "labels": {"team": "web"}},
        "stringData": {"password": "hunter2"},
    }
    await world.client.create(secret)
    one = await world.client.get(SECRET, world.namespace, "keys", metadata_only=True)
    (listed,) = await world.client.list(
        SECRET, world.namespace, label_selector="team=web", metadata_only=True
    )
    whole = await world.client.get(SECRET, world.namespace, "keys")

    assert {"password"} == whole["data"].keys()
    for found in (one, listed):
        assert {"apiVersion", "kind", "metadata"} == found.keys()
        assert ("v1", "Secret", "keys") == (
            found["apiVersion"],
            found["kind"],
            found["metadata"]["name"],
        )
        assert whole["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]


# --- merge patches --------------------------------------------------------------------------------


async def test_a_merge_patch_changes_what_it_names_and_removes_what_it_nulls(world: World):
    await world.client.create(world.config("a", {"keep": "1", "change": "1", "drop": "1"}))
    patch = {"data": {"change": "2", "drop": None}, "metadata": {"labels": {"new": "yes"}}}
    patched = await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", patch)

    assert {"keep": "1", "change": "2"} == patched["data"]
    assert {"new": "yes"} == patched["metadata"]["labels"]


async def test_a_merge_patch_that_changes_nothing_leaves_the_version_alone(world: World):
    made = await world.client.create(world.config("a", {"key": "1"}))
    patched = await world.client.merge_patch(
        CONFIG_MAP, world.namespace, "a", {"data": {"key": "1"}}
    )
    assert made["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"]


async def test_a_version_in_a_merge_patch_is_a_precondition(world: World):
    made = await world.client.create(world.config("a", {"key": "1"}))
    version = {"resourceVersion": made["metadata"]["resourceVersion"]}
    patch = {"metadata": version, "data": {"key": "2"}}
    await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", patch)

    with pytest.raises(Conflict, match="the object has been modified"):
        await world.client.merge_patch(
            CONFIG_MAP, world.namespace, "a", {"metadata": version, "data": {"key": "3"}}
        )
    assert "2" == (await world.client.get(CONFIG_MAP, world.namespace, "a"))["data"]["key"]


async def test_a_merge_patch_of_what_is_not_there_is_not_found(world: World):
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", {"data": {}})


async def test_replicas_are_set_through_the_scale_subresource_alone(world: World):
    made = await world.client.create(world.deployment())
    scaled = await world.client.merge_patch(
        DEPLOYMENT, world.namespace, "app", {"spec": {"replicas": 3}}, subresource="scale"
    )
    found = await world.client.get(DEPLOYMENT, world.namespace, "app")

    assert ("Scale", 3, 3) == (
        scaled["kind"],
        scaled["spec"]["replicas"],
        found["spec"]["replicas"],
    )
    assert made["metadata"]["generation"] < found["metadata"]["generation"]
    assert int(scaled["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert ["Deployment"] == [o["kind"] for o in world.observed]


# --- server-side apply ------------------------------------------------------------------------------


async def test_an_apply_makes_the_object_and_owns_what_it_said(world: World):
    await world.client.apply(world.config("a", {"ours": "1"}))
    await world.other.merge_patch(CONFIG_MAP, world.namespace, "a", {"data": {"theirs": "1"}})
    found = await world.client.get(CONFIG_MAP, world.namespace, "a")

    assert {"ours": "1", "theirs": "1"} == found["data"]
    assert ({"f:ours"}, "Apply") == owned(found, "us")
    assert ({"f:theirs"}, "Update") == owned(found, "somebody")


async def test_what_an_apply_no_longer_says_goes_and_what_others_own_stays(world: World):
    await world.client.apply(world.config("a", {"old": "1", "kept": "1"}))
    await world.other.merge_patch(CONFIG_MAP, world.namespace, "a", {"data": {"theirs": "1"}})
    applied = await world.client.apply(world.config("a", {"kept": "1", "new": "1"}))

    assert {"kept": "1", "new": "1", "theirs": "1"} == applied["data"]


async def test_an_apply_without_force_yields_to_the_owner_and_names_him(world: World):
    await world.other.apply(world.config("a", {"key": "theirs"}))
    with pytest.raises(Conflict, match=r'conflict with "somebody".*: \.data\.key'):
        await world.client.apply(world.config("a", {"key": "ours"}), force=False)
    assert "theirs" == (await world.client.get(CONFIG_MAP, world.namespace, "a"))["data"]["key"]


async def test_an_apply_with_force_takes_the_field_over(world: World):
    await world.other.apply(world.config("a", {"key": "theirs"}))
    applied = await world.client.apply(world.config("a", {"key": "ours"}))

    assert "ours" == applied["data"]["key"]
    assert ({"f:key"}, "Apply") == owned(applied, "us")
    with pytest.raises(Conflict, match='conflict with "us"'):
        await world.other.apply(world.config("a", {"key": "again"}), force=False)


async def test_an_equal_apply_changes_nothing(world: World):
    first = await world.client.apply(world.config("a", {"key": "1"}))
    second = await world.client.apply(world.config("a", {"key": "1"}))
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_a_version_in_an_apply_is_a_precondition(world: World):
    first = await world.client.apply(world.config("a", {"key": "1"}))
    await world.client.apply(world.config("a", {"key": "2"}))
    stale = world.config("a", {"key": "3"}, resourceVersion=first["metadata"]["resourceVersion"])
    with pytest.raises(Conflict, match="the object has been modified"):
        await world.client.apply(stale)


def condition(kind: str) -> Manifest:
    at = "2026-01-01T00:00:00Z"
    said = {"type": kind, "status": "True", "reason": "R", "message": "m"}
    return said | {"lastUpdateTime": at, "lastTransitionTime": at}


def types(deployment: Manifest) -> set[str]:
    return {c["type"] for c in deployment["status"]["conditions"]}


async def test_an_applied_condition_stands_beside_those_of_others_and_goes_alone(world: World):
    """Why feedback is applied: a merge patch of a list replaces what the controller wrote."""
    made = await world.other.create(world.deployment())
    theirs = {"status": {"conditions": [condition("Theirs")]}}
    await world.other.merge_patch(DEPLOYMENT, world.namespace, "app", theirs, subresource="status")
    bare = {k: made[k] for k in ("apiVersion", "kind")}
    bare["metadata"] = {"namespace": world.namespace, "name": "app"}
    ours = bare | {"status": {"conditions": [condition("Reconciling")]}}
    told = await world.client.apply(ours, field_manager="us-status", subresource="status")
    again = await world.client.apply(ours, field_manager="us-status", subresource="status")
    assert {"Theirs", "Reconciling"} <= types(told)
    assert made["spec"] == told["spec"]
    assert made["metadata"]["generation"] == told["metadata"]["generation"]
    of_all = [c["type"] for c in again["status"]["conditions"]]
    assert sorted(set(of_all)) == sorted(of_all)  # the second time replaced what the first added
    assert types(told) <= types(again)  # the Deployment controller may have spoken in between
    [entry] = [e for e in again["metadata"]["managedFields"] if e["manager"] == "us-status"]
    assert ("Apply", "status") == (entry["operation"], entry["subresource"])
    assert 'k:{"type":"Reconciling"}' in entry["fieldsV1"]["f:status"]["f:conditions"]

    gone = await world.client.apply(bare, field_manager="us-status", subresource="status")
    assert "Theirs" in types(gone)
    assert "Reconciling" not in types(gone)
    assert "us-status" not in {e["manager"] for e in gone["metadata"]["managedFields"]}
    assert {"Deployment"} == {o["kind"] for o in world.observed}


async def test_an_apply_to_a_subresource_makes_no_object(world: World):
    bare = {"apiVersion": "apps/v1", "kind": "Deployment"}
    bare["metadata"] = {"namespace": world.namespace, "name": "nobody"}
    with pytest.raises(NotFound):
        await world.client.apply(bare, subresource="status")


async def test_an_annotation_that_somebody_added_survives_our_apply_and_goes_by_a_patch(
    world: World,
):
    """Why the router follows an apply by a patch."""
    ours = canary_ingress(world, {"example.io/weight": "1"})
    await world.client.apply(ours)
    theirs = {"metadata": {"annotations": {"example.io/by-header": "x"}}}
    await world.other.merge_patch(INGRESS, world.namespace, "a", theirs)
    applied = await world.client.apply(ours)
    assert {"example.io/weight", "example.io/by-header"} == applied["metadata"][
        "annotations"
    ].keys()

    patch = {"metadata": {"annotations": {"example.io/by-header": None}}}
    patched = await world.client.merge_patch(INGRESS, world.namespace, "a", patch)
    assert {"example.io/weight"} == patched["metadata"]["annotations"].keys()


async def test_paths_and_ports_that_somebody_added_to_ours_go_with_the_next_apply(world: World):
    """Rules of an Ingress are one field; ports of a Service are owned one by one."""
    ours = canary_ingress(world, {})
    await world.client.apply(ours)
    added = {"spec": {"rules": [*ours["spec"]["rules"], {"host": "theirs.test"}]}}
    await world.other.merge_patch(INGRESS, world.namespace, "a", added)
    applied = await world.client.apply(ours)
    assert ["a.test"] == [rule["host"] for rule in applied["spec"]["rules"]]


async def test_the_selector_of_a_Service_is_replaced_key_by_key(world: World):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": world.namespace, "name": "a"},
        "spec": {
            "selector": {"app": "a"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }
    await world.other.create(service)
    patch = {"spec": {"selector": {"app": "a-primary"}}}
    patched = await world.client.merge_patch(SERVICE, world.namespace, "a", patch)

    assert {"app": "a-primary"} == patched["spec"]["selector"]
    assert [80] == [port["port"] for port in patched["spec"]["ports"]]


# --- deleting and what cannot be changed --------------------------------------------------------------


async def test_a_uid_in_a_delete_is_a_precondition(world: World):
    made = await world.client.create(world.config("a"))
    with pytest.raises(Conflict, match="the UID in the precondition"):
        await world.client.delete(
            CONFIG_MAP, world.namespace, "a", uid="00000000-0000-4000-8000-000000000000"
        )
    await world.client.get(CONFIG_MAP, world.namespace, "a")

    await world.client.delete(CONFIG_MAP, world.namespace, "a", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await world.client.get(CONFIG_MAP, world.namespace, "a")


async def test_to_delete_what_is_absent_is_success(world: World):
    await world.client.delete(CONFIG_MAP, world.namespace, "a")
    await world.client.delete(
        CONFIG_MAP, world.namespace, "a", uid="00000000-0000-4000-8000-000000000000"
    )


async def test_an_object_with_a_finalizer_is_marked_and_stays(world: World):
    await world.client.create(world.config("a", finalizers=["canaryd.test/held"]))
    await world.client.delete(CONFIG_MAP, world.namespace, "a")
    found = await world.client.get(CONFIG_MAP, world.namespace, "a")
    assert "deletionTimestamp" in found["metadata"]

    let_go = {"metadata": {"finalizers": None}}
    await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", let_go)
    with pytest.raises(NotFound):
        await world.client.get(CONFIG_MAP, world.namespace, "a")


async def test_an_immutable_config_cannot_be_changed_by_anybody(world: World):
    await world.client.create(world.config("a", {"key": "1"}) | {"immutable": True})
    for patch in ({"data": {"key": "2"}}, {"immutable": False}):
        with pytest.raises(Invalid, match="immutable") as caught:
            await world.other.merge_patch(CONFIG_MAP, world.namespace, "a", patch)
        assert 422 == caught.value.status
    assert {"key": "1"} == (await world.client.get(CONFIG_MAP, world.namespace, "a"))["data"]


async def test_the_data_of_a_ControllerRevision_cannot_be_changed_by_anybody(world: World):
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"namespace": world.namespace, "name": "a"},
        "revision": 1,
        "data": {"template": {"spec": {"containers": []}}},
    }
    made = await world.client.create(revision)
    assert revision["data"] == made["data"]
    with pytest.raises(Invalid, match="immutable"):
        await world.other.merge_patch(
            CONTROLLER_REVISION, world.namespace, "a", {"data": {"more": True}}
        )


# --- watching -----------------------------------------------------------------------------------


async def test_a_watch_begins_with_everything_and_marks_the_end_of_it(world: World):
    for name in ("a", "b"):
        await world.client.create(world.config(name, labels={"team": "web"}))
    async with watching(world, initial=True) as events:
        seen = [await anext(events) for _ in range(3)]

    assert [("ADDED", "a"), ("ADDED", "b")] == sorted((e.type, name_of(e)) for e in seen[:2])
    mark = codecs.decode_bookmark(seen[2].object)
    assert ("BOOKMARK", True) == (seen[2].type, mark.ends_initial_events)
    assert mark.metadata.version.isdigit()


async def test_a_watch_tells_every_change_in_order_and_a_lost_label_as_a_deletion(world: World):
    async with watching(world, initial=True) as events:
        assert "BOOKMARK" == (await anext(events)).type
        await world.client.create(world.config("a", labels={"team": "web"}))
        await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", {"data": {"key": "1"}})
        unlabelled = {"metadata": {"labels": {"team": None}}}
        await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", unlabelled)
        await world.client.create(world.config("b", labels={"team": "web"}))
        await world.client.delete(CONFIG_MAP, world.namespace, "b")
        seen = [await anext(events) for _ in range(5)]

    told = [(e.type, name_of(e)) for e in seen]
    assert [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "b"),
        ("DELETED", "b"),
    ] == told
    versions = [int(codecs.decode_head(e.object).metadata.version) for e in seen]
    assert sorted(versions) == versions


async def test_a_watch_goes_on_from_the_version_it_is_given(world: World):
    made = await world.client.create(world.config("a", labels={"team": "web"}))
    await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", {"data": {"key": "1"}})
    await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", {"data": {"key": "2"}})
    async with watching(world, version=made["metadata"]["resourceVersion"]) as events:
        seen = [await anext(events) for _ in range(2)]

    assert [("MODIFIED", "1"), ("MODIFIED", "2")] == [
        (e.type, codecs.decode_object(e.object)["data"]["key"]) for e in seen
    ]


async def test_a_watch_from_a_version_that_is_forgotten_is_told_to_begin_anew(world: World):
    await world.client.create(world.config("a", labels={"team": "web"}))
    world.compact()
    try:
        event = await first_event(world, version="1")
    except Gone:
        return
    # A real server that began a moment ago has forgotten nothing yet, and tells it all.
    assert world.remembers
    assert "ADDED" == event.type


async def test_a_watch_for_metadata_carries_no_contents(world: World):
    await world.client.create(world.config("a", {"key": "value"}, labels={"team": "web"}))
    async with watching(world, initial=True, metadata_only=True) as events:
        found = codecs.decode_object((await anext(events)).object)

    assert ("PartialObjectMetadata", "a") == (found["kind"], found["metadata"]["name"])
    assert "data" not in found


async def test_a_reflector_fills_its_store_and_keeps_it_so(world: World):
    await world.client.create(world.config("a", labels={"team": "web"}))
    store: Store[ObjectView] = Store(object_view)
    interest = Interest(CONFIG_MAP, world.namespace, label_selector="team=web")
    reflector = Reflector(world.client, interest, store, clock=VirtualClock())
    running = asyncio.create_task(reflector.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await reflector.synced.wait()
            assert ["a"] == [view.id.name for view in store.list()]
            await world.other.create(world.config("b", labels={"team": "web"}))
            await world.other.delete(CONFIG_MAP, world.namespace, "a")
            while ["b"] != [view.id.name for view in store.list()]:  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_cluster_wide_kind_is_read_without_a_namespace(world: World):
    found = await world.client.get(NAMESPACE, None, world.namespace, metadata_only=True)
    assert ("Namespace", world.namespace) == (found["kind"], found["metadata"]["name"])


# --- what the command line asks -----------------------------------------------------------------


async def test_who_we_are_is_told(world: World):
    told = await world.client.review(SELF_SUBJECT_REVIEW, {})
    assert told["status"]["userInfo"]["username"]


async def test_what_we_may_is_told_for_verbs_of_our_own_too(world: World):
    attributes = {
        "namespace": world.namespace,
        "verb": "promote",
        "group": "canaryd.io",
        "resource": "canaries",
        "name": "app",
    }
    spec = {"resourceAttributes": attributes}
    told = await world.client.review(SELF_SUBJECT_ACCESS_REVIEW, spec)
    assert (True, spec) == (told["status"]["allowed"], told["spec"])


async def test_events_are_selected_by_the_name_of_their_object(world: World):
    for name in ("app", "other"):
        regarding = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": world.namespace, "name": f"{name}.1"},
            "eventTime": "2026-01-05T12:00:00.000000Z",
            "regarding": regarding | {"namespace": world.namespace},
            "reason": "Promoted",
            "action": "Promoted",
            "type": "Normal",
            "note": "revision 1 promoted",
            "reportingController": "canaryd.io/controller",
            "reportingInstance": "canaryd-0",
        }
        await world.client.create(event)
    found = await world.client.list(EVENT, world.namespace, field_selector="regarding.name=app")
    assert ["app.1"] == [event["metadata"]["name"] for event in found]


async def test_one_object_is_watched_by_its_name(world: World):
    made = await world.client.create(world.config("a"))
    params = {
        "fieldSelector": "metadata.name=a",
        "resourceVersion": made["metadata"]["resourceVersion"],
        "timeoutSeconds": "60",
    }
    await world.client.create(world.config("b"))
    await world.client.merge_patch(CONFIG_MAP, world.namespace, "a", {"data": {"key": "1"}})
    async with (
        asyncio.timeout(PATIENCE_S),
        world.client.stream(CONFIG_MAP, world.namespace, params) as lines,
    ):
        event = codecs.decode_event(await anext(lines))
    assert ("MODIFIED", "a") == (event.type, name_of(event))


# --- words of this module -----------------------------------------------------------------------


@asynccontextmanager
async def watching(
    world: World,
    *,
    initial: bool = False,
    version: str = "",
    metadata_only: bool = False,
    kind: Kind = CONFIG_MAP,
) -> AsyncIterator[AsyncIterator[codecs.Event]]:
    """Events of the objects labelled ``team=web``, bookmarks at the end of the initial state included."""
    params = {"labelSelector": "team=web", "allowWatchBookmarks": "true", "timeoutSeconds": "60"}
    if initial:
        params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    else:
        params |= {"resourceVersion": version}
    async with (
        asyncio.timeout(PATIENCE_S),
        world.client.stream(kind, world.namespace, params, metadata_only=metadata_only) as lines,
    ):
        yield events_of(lines)


async def first_event(world: World, version: str) -> codecs.Event:
    """The first event of a watch; a refusal may come as a status or as an event of its own."""
    async with watching(world, version=version) as events:
        event = await anext(events)
    if event.type == "ERROR":
        call = Call("watch", CONFIG_MAP, world.namespace)
        raise error_from_event(call, codecs.decode_status(event.object))
    return event


async def events_of(lines: AsyncIterator[bytes]) -> AsyncIterator[codecs.Event]:
    async for line in lines:
        yield codecs.decode_event(line)


def name_of(event: codecs.Event) -> str:
    return codecs.decode_head(event.object).metadata.name


def owned(found: Manifest, manager: str) -> tuple[set[str], str]:
    """Keys of ``data`` that a manager owns, and by which kind of write."""
    (entry,) = [e for e in found["metadata"]["managedFields"] if e["manager"] == manager]
    return set(entry["fieldsV1"]["f:data"]) - {"."}, entry["operation"]


def canary_ingress(world: World, annotations: dict[str, str]) -> Manifest:
    backend = {"service": {"name": "a", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": world.namespace, "name": "a", "annotations": annotations},
        "spec": {
            "ingressClassName": "none-such",
            "rules": [{"host": "a.test", "http": {"paths": [path]}}],
        },
    }
