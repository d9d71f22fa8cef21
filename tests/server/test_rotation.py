"""The webhook's certificate through months: made, shared, replaced in time, and believed at every moment."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from canaryd.core.kinds import ALL_KINDS, MUTATING_WEBHOOK_CONFIGURATION, SECRET
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.ports.errors import NotLeading
from canaryd.server.certificates import LIFETIME_S, BadCertificateError, Certificate
from canaryd.server.rotation import EAGER_S, LOOK_S, SETTLE_S, CertificateKeeper, Place
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.apiserver.faults import FORBIDDEN
from tests.fakes.clock import VirtualClock
from tests.fakes.tasks import running

pytestmark = pytest.mark.looptime
DAYS = 24 * 3600.0
PLACE = Place(namespace="canaryd", name="canaryd-webhook", configuration="canaryd")
EMPTY = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"namespace": PLACE.namespace, "name": PLACE.name},
    "type": "Opaque",
}
HOOK = {
    "clientConfig": {
        "service": {"namespace": "canaryd", "name": "canaryd-webhook", "path": "/keep"}
    },
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "failurePolicy": "Ignore",
}
CONFIGURATION = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingWebhookConfiguration",
    "metadata": {"name": PLACE.configuration},
    "webhooks": [
        {"name": "services.keep.canaryd.io", **HOOK},
        {"name": "deployments.keep.canaryd.io", **HOOK},
    ],
}


END = "-----END CERTIFICATE-----\n"


def vouches(authority: str, served: Certificate) -> bool:
    try:
        Certificate.read(served.certificate, served.key, authority, PLACE.server_names)
    except BadCertificateError:
        return False
    return True


class Replica:
    """One process: its keeper, what it serves, and whether it leads."""

    def __init__(self, cluster: "Cluster", *, leads: bool) -> None:
        self.leads = leads
        self.served: list[Certificate] = []
        self.client = cluster.client.guarded_by(self.guard, margin_s=5.0)
        self.keeper = CertificateKeeper(
            self.client, PLACE, clock=cluster.clock, guard=self.guard, use=self.served.append
        )

    def guard(self) -> None:
        if not self.leads:
            raise NotLeading("the Lease is held by somebody else")


class Cluster:
    """An API server with what the chart made, and replicas of the daemon."""

    def __init__(self, server: FakeApiServer, client: KubeClient, clock: VirtualClock) -> None:
        self.server, self.client, self.clock = server, client, clock
        self.empty()

    def empty(self) -> None:
        """What a tool does that re-applies the chart's manifests as a whole."""
        for kind, made in ((SECRET, EMPTY), (MUTATING_WEBHOOK_CONFIGURATION, CONFIGURATION)):
            key = (made["metadata"].get("namespace", ""), made["metadata"]["name"])
            if self.server.store.get(kind, key) is None:
                self.server.store.create(kind, made)
            else:
                self.server.store.replace(kind, key, made)

    def secret(self) -> dict[str, str]:
        found = self.server.store.get(SECRET, (PLACE.namespace, PLACE.name)) or {}
        return {k: base64.b64decode(v).decode() for k, v in (found.get("data") or {}).items()}

    def configuration(self) -> dict[str, Any]:
        found = self.server.store.get(MUTATING_WEBHOOK_CONFIGURATION, ("", PLACE.configuration))
        assert found is not None
        return found

    def bundle(self) -> str:
        """Whom API servers believe: the same for every hook."""
        [one] = {h["clientConfig"].get("caBundle", "") for h in self.configuration()["webhooks"]}
        return base64.b64decode(one).decode()

    def believes(self, served: Certificate) -> bool:
        """As an API server checks it at this moment: one of the bundle vouches for it."""
        vouching = [text + END for text in self.bundle().split(END)[:-1]]
        is_current = served.begins <= self.clock.wall() < served.ends
        return is_current and any(vouches(authority, served) for authority in vouching)

    def days_pass(self, days: float) -> None:
        """By the calendar alone: nobody sleeps through them."""
        self.clock.wall_offset_s += days * DAYS

    def writes(self) -> list[tuple[str, str]]:
        return [(r.verb, r.resource.partition(".")[0]) for r in self.server.requests.writes()]


@asynccontextmanager
async def a_cluster() -> AsyncIterator[Cluster]:
    clock = VirtualClock()
    async with FakeApiServer((*ALL_KINDS, MUTATING_WEBHOOK_CONFIGURATION), clock) as server:
        server.ensure_namespace(PLACE.namespace)
        async with KubeClient(Connection(server=server.url), clock=clock) as client:
            yield Cluster(server, client, clock)


async def test_the_leader_makes_a_certificate_and_every_replica_serves_it_within_seconds():
    async with a_cluster() as cluster:
        leader, standby = Replica(cluster, leads=True), Replica(cluster, leads=False)
        async with running(standby.keeper.run()), running(leader.keeper.run()):
            await asyncio.sleep(EAGER_S + 1)
        [made] = leader.served
        assert [made] == standby.served
        assert made.certificate == cluster.secret()["tls.crt"]
        assert cluster.believes(made)


async def test_API_servers_are_told_whom_to_believe_before_anybody_serves_it():
    async with a_cluster() as cluster:
        await Replica(cluster, leads=True).keeper.look()
        assert [
            ("patch", "mutatingwebhookconfigurations"),
            ("patch", "secrets"),
        ] == cluster.writes()


async def test_only_who_leads_writes():
    async with a_cluster() as cluster:
        standby = Replica(cluster, leads=False)
        async with running(standby.keeper.run()):
            await asyncio.sleep(600)
        assert [] == cluster.writes()
        assert [] == standby.served


async def test_who_begins_to_lead_makes_it_at_the_next_look():
    async with a_cluster() as cluster:
        replica = Replica(cluster, leads=False)
        async with running(replica.keeper.run()):
            await asyncio.sleep(600)
            replica.leads = True
            await asyncio.sleep(EAGER_S + 1)
        assert 1 == len(replica.served)


async def test_nothing_is_written_while_all_is_well_and_little_is_read():
    async with a_cluster() as cluster:
        leader = Replica(cluster, leads=True)
        async with running(leader.keeper.run()):
            await asyncio.sleep(LOOK_S)
            cluster.server.requests.clear()
            await asyncio.sleep(3600)
        assert [] == cluster.writes()
        assert 2 * 3600 / LOOK_S == len(cluster.server.requests)


async def test_a_certificate_is_replaced_long_before_its_end():
    async with a_cluster() as cluster:
        leader = Replica(cluster, leads=True)
        await leader.keeper.look()
        cluster.days_pass(59)
        await leader.keeper.look()
        assert 1 == len(leader.served)
        cluster.days_pass(2)
        await leader.keeper.look()
        first, second = leader.served
        assert second.certificate == cluster.secret()["tls.crt"]
        assert first.ends - cluster.clock.wall() > 28 * DAYS


@pytest.mark.slow
async def test_through_a_year_every_certificate_that_is_served_is_believed_at_every_moment():
    async with a_cluster() as cluster:
        leader, *others = replicas = [Replica(cluster, leads=n == 0) for n in range(3)]
        for replica in replicas:
            await replica.keeper.look()
        for _ in range(37):
            cluster.days_pass(10)
            async with asyncio.TaskGroup() as group:
                group.create_task(leader.keeper.look())
                for second in range(int(SETTLE_S) + 3):
                    # The others look at different moments of the replacement.
                    await others[second % 2].keeper.look()
                    assert all(cluster.believes(r.served[-1]) for r in replicas)
                    await asyncio.sleep(1)
        assert 7 == len(leader.served)
        assert [r.served for r in others] == [leader.served] * 2


async def test_API_servers_get_time_to_see_a_new_authority_before_it_is_needed():
    async with a_cluster() as cluster:
        leader = Replica(cluster, leads=True)
        await leader.keeper.look()
        cluster.days_pass(61)
        before = cluster.bundle()
        async with asyncio.TaskGroup() as group:
            group.create_task(leader.keeper.look())
            await asyncio.sleep(SETTLE_S - 0.5)
            assert before != cluster.bundle()
            assert cluster.bundle().endswith(before)
            assert 1 == len(leader.served)
            await asyncio.sleep(1)
            assert 2 == len(leader.served)


async def test_a_crash_between_telling_and_serving_costs_nothing():
    async with a_cluster() as cluster:
        leader, standby = Replica(cluster, leads=True), Replica(cluster, leads=False)
        await leader.keeper.look()
        await standby.keeper.look()
        cluster.days_pass(61)
        async with running(leader.keeper.run()):
            await asyncio.sleep(SETTLE_S / 2)
        # The leader is gone; what it told is there, what it made is not.
        assert 1 == len(leader.served)
        assert cluster.believes(standby.served[-1])
        standby.leads = True
        await standby.keeper.look()
        assert 2 == len(standby.served)
        assert cluster.believes(standby.served[0])
        assert cluster.believes(standby.served[1])


async def test_whoever_re_applies_empty_manifests_has_them_filled_again_and_nobody_is_cut_off():
    async with a_cluster() as cluster:
        leader, standby = Replica(cluster, leads=True), Replica(cluster, leads=False)
        async with running(leader.keeper.run()), running(standby.keeper.run()):
            await asyncio.sleep(LOOK_S)
            cluster.empty()
            await asyncio.sleep(LOOK_S + SETTLE_S + 1)
            assert cluster.believes(leader.served[-1])
            assert cluster.believes(standby.served[-1])
            await asyncio.sleep(LOOK_S)
            assert 2 == len(leader.served)
            assert leader.served == standby.served


async def test_a_configuration_that_lost_its_bundle_alone_gets_the_same_one_back():
    async with a_cluster() as cluster:
        leader = Replica(cluster, leads=True)
        async with running(leader.keeper.run()):
            await asyncio.sleep(LOOK_S)
            before = cluster.bundle()
            key = ("", PLACE.configuration)
            cluster.server.store.replace(MUTATING_WEBHOOK_CONFIGURATION, key, CONFIGURATION)
            await asyncio.sleep(LOOK_S)
        assert before == cluster.bundle()
        assert 1 == len(leader.served)


async def test_what_others_wrote_into_the_configuration_stays():
    async with a_cluster() as cluster:
        await Replica(cluster, leads=True).keeper.look()
        hooks = cluster.configuration()["webhooks"]
        for hook in hooks:
            assert hook["clientConfig"].pop("caBundle")
        assert CONFIGURATION["webhooks"] == hooks


@pytest.mark.parametrize(
    "data",
    [
        {"tls.crt": "bm9uc2Vuc2U=", "tls.key": "bm9uc2Vuc2U=", "ca.crt": "bm9uc2Vuc2U="},
        {"tls.crt": "bm9uc2Vuc2U="},
    ],
)
async def test_what_cannot_be_served_is_said_once_and_replaced_by_the_leader(data, caplog):
    async with a_cluster() as cluster:
        cluster.server.patch(SECRET, PLACE.namespace, PLACE.name, {"data": data})
        standby, leader = Replica(cluster, leads=False), Replica(cluster, leads=True)
        async with running(standby.keeper.run()):
            await asyncio.sleep(60)
        assert [] == standby.served
        [told] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert "Secret canaryd-webhook holds no certificate to serve" in told
        await leader.keeper.look()
        assert cluster.secret()["tls.crt"] == leader.served[-1].certificate


async def test_a_certificate_that_ended_while_nobody_ran_is_not_served_but_replaced():
    async with a_cluster() as cluster:
        await Replica(cluster, leads=True).keeper.look()
        cluster.days_pass(LIFETIME_S / DAYS + 1)
        standby, leader = Replica(cluster, leads=False), Replica(cluster, leads=True)
        await standby.keeper.look()
        assert [] == standby.served
        await leader.keeper.look()
        assert cluster.believes(leader.served[-1])


@pytest.mark.parametrize("missing", [SECRET, MUTATING_WEBHOOK_CONFIGURATION])
async def test_what_the_chart_did_not_make_is_named_with_a_way_out_and_nothing_else_ends(
    missing, caplog
):
    async with a_cluster() as cluster:
        name = PLACE.name if missing is SECRET else PLACE.configuration
        namespace = PLACE.namespace if missing is SECRET else ""
        cluster.server.remove(missing, namespace, name)
        leader = Replica(cluster, leads=True)
        async with running(leader.keeper.run()):
            await asyncio.sleep(60)
            [told] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
            assert name in told
            assert "helm upgrade makes it, or set admission.keep=off" in told
            cluster.empty()
            await asyncio.sleep(EAGER_S + 1)
            assert 1 == len(leader.served)


async def test_an_API_server_that_refuses_is_told_of_once_and_asked_again(caplog):
    async with a_cluster() as cluster:
        leader = Replica(cluster, leads=True)
        refusing = cluster.server.faults.on(FORBIDDEN)
        async with running(leader.keeper.run()):
            await asyncio.sleep(60)
        refusing.stop()
        warned = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert 1 == len(warned)
        await leader.keeper.look()
        assert 1 == len(leader.served)
