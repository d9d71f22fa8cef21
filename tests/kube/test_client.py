"""Verbs of the client, against the fake API server and against canned answers."""

import asyncio
import logging
import tempfile
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from canaryd.core.kinds import CANARY, CONFIG_MAP, DEPLOYMENT, NAMESPACE, SECRET, SERVICE
from canaryd.kube import client as client_module
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.ports.errors import (
    Conflict,
    Gone,
    Invalid,
    KubeError,
    NotFound,
    NotLeading,
    ServerError,
    TooManyRequests,
    Unreachable,
)
from tests.fakes.apiserver import HANG, UNAVAILABLE, FakeApiServer, Refuse, too_many_requests
from tests.fakes.clock import VirtualClock
from tests.kube.loopback import loopback

pytestmark = pytest.mark.looptime

SHOP = "shop"


@asynccontextmanager
async def a_cluster(**options):
    async with (
        FakeApiServer() as server,
        KubeClient(Connection(server.url), clock=server.clock, **options) as client,
    ):
        server.ensure_namespace(SHOP)
        yield server, client


@asynccontextmanager
async def a_canned_server(**options):
    async with (
        loopback() as server,
        KubeClient(Connection(server.url), clock=VirtualClock(), **options) as client,
    ):
        yield server, client


def config_map(name="app", data=None, **meta):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": SHOP, "name": name, **meta},
        "data": data or {},
    }


def deployment(name="app"):
    labels = {"app": name}
    pod = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": SHOP, "name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": pod},
    }


def canary(name="app"):
    return {
        "apiVersion": CANARY.api_version,
        "kind": "Canary",
        "metadata": {"namespace": SHOP, "name": name},
        "spec": {},
    }


# --- objects are what the server said ---------------------------------------------------------------------------------


async def test_M1_fields_that_no_client_knows_survive_a_read_at_every_level():
    sent = deployment() | {"fromTheFuture": {"deep": [1, {"er": None}]}}
    sent["spec"]["template"]["spec"]["containers"][0]["newField"] = "kept"
    async with a_canned_server() as (server, client):
        server.answer(sent)
        assert sent == await client.get(DEPLOYMENT, SHOP, "app")


async def test_M1_there_is_no_whole_object_update_that_could_delete_them():
    assert {"replace", "put", "update"}.isdisjoint(dir(KubeClient))


async def test_M2_fields_that_no_client_knows_are_sent():
    sent = config_map() | {"fromTheFuture": {"deep": True}}
    async with a_canned_server() as (server, client):
        server.answer(sent, status=201)
        await client.create(sent)
        assert sent == server.seen[0].json()


async def test_M3_metadata_without_a_spec_is_a_good_answer():
    async with a_cluster() as (server, client):
        server.put(deployment())
        one = await client.get(DEPLOYMENT, SHOP, "app", metadata_only=True)
        (listed,) = await client.list(DEPLOYMENT, SHOP, metadata_only=True)
        for found in (one, listed):
            assert {"apiVersion", "kind", "metadata"} == set(found)
            assert ("apps/v1", "Deployment", "app") == (
                found["apiVersion"],
                found["kind"],
                found["metadata"]["name"],
            )


async def test_payloads_that_a_server_sends_unasked_are_dropped_on_arrival():
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "v"}}
    async with a_canned_server() as (server, client):
        server.answer(secret)
        found = await client.get(SECRET, SHOP, "s", metadata_only=True)
        assert "data" not in found
        accepted = server.seen[0].headers["Accept"]
        assert "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" == accepted


async def test_M4_times_and_nulls_come_and_go_letter_by_letter():
    sent = config_map(creationTimestamp=None, annotations={"at": "2026-01-05T12:00:00.0Z"})
    sent["times"] = [
        "2026-01-05T12:00:00Z",
        "2026-01-05T12:00:00.000000Z",
        "2026-01-05T13:00:00+01:00",
    ]
    async with a_canned_server() as (server, client):
        server.answer(sent)
        assert sent == await client.get(CONFIG_MAP, SHOP, "app")
        await client.merge_patch(CONFIG_MAP, SHOP, "app", {"data": {"gone": None}})
        assert {"data": {"gone": None}} == server.seen[1].json()


async def test_M5_only_the_api_server_judges_what_is_valid():
    async with a_cluster() as (server, client):
        wrong = deployment()
        wrong["spec"]["template"]["spec"]["containers"] = []
        with pytest.raises(
            Invalid, match=r"spec\.template\.spec\.containers: Required value"
        ) as caught:
            await client.create(wrong)
        assert 422 == caught.value.status
        assert 1 == server.requests.count(verb="create", code=422)


async def test_M6_a_delete_may_answer_with_a_status_or_with_the_object():
    observed = []
    async with a_cluster(observe=observed.append) as (server, client):
        server.put(config_map("gone"))
        server.put(config_map("held", finalizers=["example.com/wait"]))
        for name in ("gone", "held"):
            await client.delete(CONFIG_MAP, SHOP, name)
        assert server.find(CONFIG_MAP, SHOP, "gone") is None
        assert "deletionTimestamp" in server.object(CONFIG_MAP, SHOP, "held")["metadata"]
        assert [] == observed


async def test_D3_keys_of_data_that_are_names_of_methods_are_data():
    data = {"items": "1", "values": "2", "keys": "3", "get": "4"}
    async with a_cluster() as (server, client):
        server.put(config_map(data=data))
        found = await client.get(CONFIG_MAP, SHOP, "app")
        assert (data, dict) == (found["data"], type(found))
        with pytest.raises(KeyError):
            found["missing"]


# --- content types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifest", [config_map(), canary()], ids=lambda m: m["kind"])
async def test_P1_a_merge_patch_says_so_for_every_kind(manifest):
    async with a_cluster() as (server, client):
        server.put(manifest)
        kind = CANARY if manifest["kind"] == "Canary" else CONFIG_MAP
        await client.merge_patch(kind, SHOP, "app", {"metadata": {"labels": {"a": "b"}}})
        (request,) = server.requests.writes()
        assert ("patch", "application/merge-patch+json") == (request.verb, request.content_type)


async def test_P2_custom_objects_are_patched_and_applied_without_a_default_to_guess():
    async with a_cluster() as (server, client):
        await client.apply(canary())
        await client.merge_patch(CANARY, SHOP, "app", {"spec": {"paused": True}})
        types = [request.content_type for request in server.requests.writes()]
        assert ["application/apply-patch+yaml", "application/merge-patch+json"] == types


async def test_P3_an_apply_is_json_under_the_yaml_type_with_manager_and_force():
    manifest = config_map(data={"a": "b"})
    async with a_canned_server() as (server, client):
        server.answer(manifest)
        await client.apply(manifest, field_manager="canaryd-routing")
        (request,) = server.seen
        assert ("PATCH", "application/apply-patch+yaml", manifest) == (
            request.method,
            request.headers["Content-Type"],
            request.json(),
        )
        path, _, query = request.target.partition("?")
        assert "/api/v1/namespaces/shop/configmaps/app" == path
        assert {"fieldManager=canaryd-routing", "force=true", "fieldValidation=Warn"} == set(
            query.split("&")
        )


async def test_an_apply_without_force_is_told_who_owns_the_field():
    async with a_cluster() as (server, client):
        server.apply(config_map(data={"a": "theirs"}), manager="argo")
        with pytest.raises(Conflict, match="argo"):
            await client.apply(config_map(data={"a": "ours"}), force=False)


# --- what is never asked ----------------------------------------------------------------------------------------------


async def test_D1_the_first_request_is_the_one_that_was_wanted():
    async with a_canned_server() as (server, client):
        server.answer(canary())
        await client.get(CANARY, SHOP, "app")
        await client.get(DEPLOYMENT, SHOP, "app")
        assert [
            "/apis/canaryd.io/v1beta1/namespaces/shop/canaries/app",
            "/apis/apps/v1/namespaces/shop/deployments/app",
        ] == [request.target for request in server.seen]


async def test_D2_nothing_is_cached_on_disk_and_no_temporary_folder_is_needed(monkeypatch):
    def refuse(*_args, **_options):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    async with a_cluster() as (server, client):
        server.put(config_map())
        await client.get(CONFIG_MAP, SHOP, "app")
        assert 1 == len(await client.list(CONFIG_MAP, None))


# --- repeating --------------------------------------------------------------------------------------------------------

REPEATABLE = {
    "get": lambda client: client.get(CONFIG_MAP, SHOP, "app"),
    "list": lambda client: client.list(CONFIG_MAP, SHOP),
    "merge_patch": lambda client: client.merge_patch(CONFIG_MAP, SHOP, "app", {"data": {"a": "b"}}),
    "apply": lambda client: client.apply(config_map()),
    "delete": lambda client: client.delete(CONFIG_MAP, SHOP, "app"),
}


@pytest.mark.parametrize("call", REPEATABLE.values(), ids=REPEATABLE)
@pytest.mark.parametrize(
    "fault", [too_many_requests(3), Refuse(503, retry_after_s=3)], ids=["429", "503"]
)
async def test_X2_reads_and_repeatable_writes_wait_as_long_as_the_server_asks(call, fault):
    async with a_cluster() as (server, client):
        server.put(config_map())
        server.faults.on(fault, times=2)
        began = server.clock.now()
        await call(client)
        assert 6.0 == pytest.approx(server.clock.now() - began, abs=0.1)


async def test_X2_a_create_is_never_repeated():
    async with a_cluster() as (server, client):
        server.faults.next(too_many_requests(1))
        with pytest.raises(TooManyRequests) as caught:
            await client.create(config_map())
        assert (1.0, 1) == (caught.value.retry_after_s, len(server.requests))


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (too_many_requests(1), 3),
        (too_many_requests(3600), 1),
        (UNAVAILABLE, 1),
        (Refuse(500, retry_after_s=1), 1),
        (Refuse(409, retry_after_s=1), 1),
    ],
    ids=["three times in all", "never beyond the time limit", "not unasked", "no 500", "no 409"],
)
async def test_X2_what_else_fails_is_the_callers_to_repeat(fault, tries):
    async with a_cluster() as (server, client):
        server.faults.on(fault)
        with pytest.raises(KubeError) as caught:
            await client.get(CONFIG_MAP, SHOP, "app")
        assert (fault.code, tries) == (caught.value.status, len(server.requests))


async def test_W8_a_hung_server_ends_a_request_at_its_time_limit():
    async with a_cluster(timeout_s=7.0) as (server, client):
        server.faults.on(HANG)
        began = server.clock.now()
        with pytest.raises(
            Unreachable, match="get configmaps 'app' in namespace 'shop': no answer"
        ):
            await client.get(CONFIG_MAP, SHOP, "app")
        assert 7.0 == pytest.approx(server.clock.now() - began, abs=0.1)


async def test_a_body_that_stops_in_the_middle_ends_at_the_time_limit_too():
    async def stall(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"metadata":')
        await asyncio.sleep(3600)
        return response

    async with a_canned_server(timeout_s=5.0) as (server, client):
        server.answers.append(stall)
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.get(CONFIG_MAP, SHOP, "app")


async def test_W6_a_body_that_breaks_off_is_nobody_answering():
    async def break_off(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"metadata":')
        request.transport.abort()
        return response

    async with a_canned_server() as (server, client):
        server.answers.append(break_off)
        with pytest.raises(
            Unreachable, match=r"get configmaps .*: the connection broke in the middle"
        ):
            await client.get(CONFIG_MAP, SHOP, "app")


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_a_list_is_read_in_pages_and_its_items_know_their_kind(monkeypatch):
    monkeypatch.setattr(client_module, "PAGE_SIZE", 10)
    async with a_cluster() as (server, client):
        for number in range(25):
            server.put(config_map(f"app-{number:02}"))
        found = await client.list(CONFIG_MAP, SHOP)
        assert [f"app-{n:02}" for n in range(25)] == [o["metadata"]["name"] for o in found]
        assert {("v1", "ConfigMap")} == {(o["apiVersion"], o["kind"]) for o in found}


async def test_a_page_token_that_expired_in_the_middle_starts_the_list_over_in_one(monkeypatch):
    monkeypatch.setattr(client_module, "PAGE_SIZE", 10)
    async with a_cluster() as (server, client):
        for number in range(25):
            server.put(config_map(f"app-{number:02}"))
        server.faults.on(Refuse(410, "Expired"), skip=1, times=1)
        found = await client.list(CONFIG_MAP, SHOP)
        assert 25 == len(found)
        assert [200, 410, 200] == [request.code for request in server.requests]


async def test_half_a_list_is_no_list_for_who_reads_pages_himself():
    async with a_cluster() as (server, client):
        for number in range(25):
            server.put(config_map(f"app-{number:02}"))
        pages = client.pages(CONFIG_MAP, SHOP, limit=10)
        assert 10 == len((await anext(pages)).items)
        server.compact()
        with pytest.raises(Gone):
            await anext(pages)


async def test_a_list_that_is_gone_even_in_one_is_an_error():
    async with a_cluster() as (server, client):
        server.faults.on(Refuse(410, "Expired"))
        with pytest.raises(Gone):
            await client.list(CONFIG_MAP, SHOP)
        assert 2 == len(server.requests)


@pytest.mark.parametrize("body", [{"metadata": {}}, {"metadata": {}, "items": None}], ids=str)
async def test_a_list_without_items_is_empty(body):
    async with a_canned_server() as (server, client):
        server.answer(body)
        assert [] == await client.list(CONFIG_MAP, None)


async def test_selectors_are_sent_escaped_and_nothing_else():
    async with a_canned_server() as (server, client):
        server.answer({"metadata": {}, "items": []})
        await client.list(SERVICE, None, label_selector="a in (b, c)", field_selector="x!=y&z")
        path, _, query = server.seen[0].target.partition("?")
        expected = {"labelSelector": "a in (b, c)", "fieldSelector": "x!=y&z", "limit": "500"}
        assert ("/api/v1/services", expected) == (path, dict(parse_qsl(query)))


# --- answers that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"<html>secret page</html>", b"[]", b"\xff{}", b"{" * 9000])
async def test_a_body_that_is_no_object_is_an_error_that_does_not_repeat_it(body):
    async with a_canned_server() as (server, client):
        server.answer(body, content_type="text/html")
        for call in (
            client.get(CONFIG_MAP, SHOP, "app"),
            client.list(CONFIG_MAP, SHOP),
            client.create(config_map()),
        ):
            with pytest.raises(ServerError, match="configmaps") as caught:
                await call
            assert "secret page" not in str(caught.value)


async def test_the_page_of_a_load_balancer_is_not_repeated_in_the_error():
    async with a_canned_server() as (server, client):
        server.answer(b"<html>secret page</html>", status=502, content_type="text/html")
        with pytest.raises(ServerError, match="HTTP 502 without a Status") as caught:
            await client.get(CONFIG_MAP, SHOP, "app")
        assert "secret page" not in str(caught.value)


async def test_an_answer_beyond_the_cap_is_refused(monkeypatch):
    monkeypatch.setattr(client_module, "_MAX_BODY_BYTES", 1000)
    async with a_canned_server() as (server, client):
        server.answer(config_map(data={"a": "x" * 2000}))
        with pytest.raises(ServerError, match="larger than 1000 bytes"):
            await client.get(CONFIG_MAP, SHOP, "app")


async def test_the_explanation_of_a_refusal_is_not_read_for_ever():
    written = 0

    async def explain_for_ever(request):
        nonlocal written
        response = web.StreamResponse(status=404)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            written += 65536

    async with a_canned_server() as (server, client):
        server.answers.append(explain_for_ever)
        with pytest.raises(NotFound, match="without a Status"):
            await client.get(CONFIG_MAP, SHOP, "app")
        assert 16 * 1024 * 1024 > written


async def test_a_message_of_any_length_is_cut():
    async with a_canned_server() as (server, client):
        server.answer({"kind": "Status", "message": "x" * 50_000, "code": 404}, status=404)
        with pytest.raises(NotFound) as caught:
            await client.get(CONFIG_MAP, SHOP, "app")
        assert 2200 > len(str(caught.value))


# --- writes -----------------------------------------------------------------------------------------------------------

WRITES = {
    "create": lambda client: client.create(config_map("new")),
    "apply": lambda client: client.apply(config_map()),
    "merge_patch": lambda client: client.merge_patch(CONFIG_MAP, SHOP, "app", {"data": {"a": "b"}}),
    "delete": lambda client: client.delete(CONFIG_MAP, SHOP, "app"),
}


def refuse():
    raise NotLeading("not sent: no longer the leader")


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
async def test_a_guard_stops_every_write_before_it_is_sent_and_no_read(call):
    async with a_cluster() as (server, client):
        server.put(config_map())
        guarded = client.guarded_by(refuse)
        with pytest.raises(NotLeading):
            await call(guarded)
        assert 0 == len(server.requests)
        await guarded.get(CONFIG_MAP, SHOP, "app")
        await call(guarded.unguarded())


async def test_a_guard_is_asked_again_before_a_write_is_repeated():
    async with a_cluster() as (server, client):
        server.put(config_map())
        server.faults.next(too_many_requests(5))
        asked = []

        def guard():
            asked.append(1)
            if len(asked) > 1:
                refuse()

        guarded = client.guarded_by(guard)
        with pytest.raises(NotLeading):
            await guarded.delete(CONFIG_MAP, SHOP, "app")
        assert [429] == [request.code for request in server.requests]


async def test_what_was_written_is_observed():
    observed = []
    async with a_cluster(observe=observed.append) as (server, client):
        await client.create(config_map())
        await client.merge_patch(CONFIG_MAP, SHOP, "app", {"data": {"a": "b"}})
        await client.apply(config_map(data={"c": "d"}))
        assert [{}, {"a": "b"}, {"a": "b", "c": "d"}] == [o["data"] for o in observed]
        versions = [int(o["metadata"]["resourceVersion"]) for o in observed]
        assert sorted(versions) == versions
        assert (
            str(versions[-1])
            == server.object(CONFIG_MAP, SHOP, "app")["metadata"]["resourceVersion"]
        )


async def test_what_was_not_stored_or_is_another_kind_is_not_observed():
    observed = []
    async with a_cluster(observe=observed.append) as (server, client):
        server.put(deployment())
        await client.create(config_map(), dry_run=True)
        await client.merge_patch(
            DEPLOYMENT, SHOP, "app", {"spec": {"replicas": 3}}, subresource="scale"
        )
        assert 3 == server.object(DEPLOYMENT, SHOP, "app")["spec"]["replicas"]
        assert server.find(CONFIG_MAP, SHOP, "app") is None
        assert [] == observed


async def test_an_observer_that_fails_does_not_make_a_write_look_failed(caplog):
    def fail(_manifest):
        raise ZeroDivisionError

    async with a_cluster(observe=fail) as (server, client):
        made = await client.create(config_map())
        assert made["metadata"]["uid"] == server.object(CONFIG_MAP, SHOP, "app")["metadata"]["uid"]
        assert "could not be observed" in caplog.text


async def test_a_version_that_moved_on_is_a_conflict_and_changes_nothing():
    async with a_cluster() as (server, client):
        old = server.put(config_map(data={"a": "1"}))["metadata"]["resourceVersion"]
        server.patch(CONFIG_MAP, SHOP, "app", {"data": {"a": "2"}})
        meta = {"resourceVersion": old}
        with pytest.raises(Conflict):
            await client.merge_patch(
                CONFIG_MAP, SHOP, "app", {"metadata": meta, "data": {"a": "3"}}
            )
        with pytest.raises(Conflict):
            await client.apply(config_map(data={"a": "3"}, resourceVersion=old))
        assert {"a": "2"} == server.object(CONFIG_MAP, SHOP, "app")["data"]


async def test_deleting_what_is_gone_is_done_and_a_namesake_is_not_deleted():
    async with a_cluster() as (server, client):
        await client.delete(CONFIG_MAP, SHOP, "app")
        server.put(config_map())
        with pytest.raises(Conflict):
            await client.delete(CONFIG_MAP, SHOP, "app", uid="of-another-life")
        assert server.find(CONFIG_MAP, SHOP, "app") is not None


async def test_a_name_that_exists_is_a_conflict():
    async with a_cluster() as (server, client):
        server.put(config_map())
        with pytest.raises(Conflict, match="already exists"):
            await client.create(config_map())


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda c: c.get(CONFIG_MAP, SHOP, ""), "a name is needed"),
        (lambda c: c.get(CONFIG_MAP, None, "app"), "a namespace is needed"),
        (lambda c: c.get(CONFIG_MAP, SHOP, "../../secrets/s"), "cannot be part of a path"),
        (lambda c: c.get(CONFIG_MAP, "..", "app"), "cannot be part of a path"),
        (lambda c: c.get(CONFIG_MAP, SHOP, "a%2fb"), "cannot be part of a path"),
        (lambda c: c.list(CONFIG_MAP, "a/b"), "cannot be part of a path"),
        (lambda c: c.create({"apiVersion": "v1", "kind": "Node"}), "table of kinds"),
        (lambda c: c.create({"kind": "ConfigMap"}), "table of kinds"),
        (lambda c: c.apply(config_map("")), r"metadata\.name is missing"),
        (lambda c: c.create(config_map(namespace="")), r"metadata\.namespace is missing"),
    ],
)
async def test_what_would_go_to_another_address_is_not_sent(call, why):
    async with a_canned_server() as (server, client):
        server.answer()
        with pytest.raises(Invalid, match=why):
            await call(client)
        assert [] == server.seen


async def test_names_are_escaped_in_paths():
    async with a_canned_server() as (server, client):
        server.answer(config_map())
        await client.get(CONFIG_MAP, SHOP, "a b?c#d")
        assert "/api/v1/namespaces/shop/configmaps/a%20b%3Fc%23d" == server.seen[0].target


async def test_cluster_scoped_objects_have_no_namespace_in_their_path():
    async with a_cluster() as (_server, client):
        assert SHOP == (await client.get(NAMESPACE, None, SHOP))["metadata"]["name"]


# --- what others are told ---------------------------------------------------------------------------------------------


async def test_each_request_is_reported_with_its_status_and_its_time():
    reports = []

    def report(verb, resource, code, seconds):
        reports.append((verb, resource, code, round(seconds)))

    async with a_cluster(on_request=report, timeout_s=5.0) as (server, client):
        server.put(deployment())
        await client.merge_patch(
            DEPLOYMENT, SHOP, "app", {"spec": {"replicas": 3}}, subresource="scale"
        )
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAP, SHOP, "app")
        server.faults.on(HANG)
        with pytest.raises(Unreachable):
            await client.list(CONFIG_MAP, SHOP)
        assert [
            ("patch", "deployments.apps/scale", 200, 0),
            ("get", "configmaps", 404, 0),
            ("list", "configmaps", 0, 60),
        ] == reports


async def test_warnings_of_the_api_server_are_passed_on():
    warnings = []
    async with a_canned_server(on_warning=warnings.append) as (server, client):
        server.answer(config_map(), Warning='299 - "unknown field \\"spec.foo\\""')
        server.answer(config_map(), Warning='199 - "not the API server\'s"')
        await client.get(CONFIG_MAP, SHOP, "app")
        await client.get(CONFIG_MAP, SHOP, "app")
        assert ['unknown field "spec.foo"'] == warnings


async def test_a_closed_client_says_so():
    async with a_cluster() as (server, client):
        await client.close()
        with pytest.raises(Unreachable, match="the client is closed"):
            await client.get(CONFIG_MAP, SHOP, "app")
        assert 0 == len(server.requests)


async def test_nobody_listening_is_unreachable_with_the_reason():
    async with KubeClient(Connection("http://127.0.0.1:1"), clock=VirtualClock()) as client:
        with pytest.raises(Unreachable, match=r"the API server cannot be reached: .*Connect call"):
            await client.get(CONFIG_MAP, SHOP, "app")


async def test_debug_logs_of_ours_carry_no_bodies(caplog):
    with caplog.at_level(logging.DEBUG, "canaryd"):
        async with a_canned_server() as (server, client):
            server.answer({"kind": "Secret", "data": {"k": "c2VjcmV0"}})
            await client.get(SECRET, SHOP, "s")
    assert "c2VjcmV0" not in caplog.text


async def test_a_guarded_write_gives_up_a_connection_that_takes_longer_than_its_margin():
    client = KubeClient(Connection(server="http://127.0.0.1:1"), clock=VirtualClock())

    assert 1.0 == client.guarded_by(lambda: None, margin_s=1.0)._connect_s
    assert client_module.CONNECT_S == client.guarded_by(lambda: None, margin_s=60.0)._connect_s
    assert client_module.LEAST_CONNECT_S == client.guarded_by(lambda: None, margin_s=0.0)._connect_s
    await client.close()
