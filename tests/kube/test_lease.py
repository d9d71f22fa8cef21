"""Leader election against the fake API server, in virtual time."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from canaryd.core.kinds import CONFIG_MAP, LEASE
from canaryd.kube.client import KubeClient
from canaryd.kube.kubeconfig import Connection
from canaryd.kube.lease import LeaderElector
from canaryd.ports.errors import NotLeading
from tests.fakes.apiserver import (
    CLOSE,
    CONFLICT,
    EMPTY,
    FORBIDDEN,
    HANG,
    HTML,
    INTERNAL_ERROR,
    UNAUTHORIZED,
    UNAVAILABLE,
    Delay,
    FakeApiServer,
    Refuse,
    too_many_requests,
)
from tests.fakes.clock import VirtualClock, parse_timestamp

pytestmark = pytest.mark.looptime

PLACE = ("canaryd", "canaryd")
LEASE_S, RENEW_S, RETRY_S = 15.0, 10.0, 2.0
A_MOMENT_S = 0.1


@dataclass
class JumpingClock(VirtualClock):
    """A clock that a test moves, as a process sees it that was stopped for a while."""

    ahead_s: float = 0.0

    def now(self):
        return super().now() + self.ahead_s


@dataclass
class Replica:
    """One process that campaigns; its writes carry its name as field manager."""

    name: str
    elector: LeaderElector
    client: KubeClient
    clock: JumpingClock
    changes: list[bool] = field(default_factory=list)
    cleanup_s: float = 0.0
    is_working: bool = False
    task: asyncio.Task | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)
    went: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self):
        self.is_working = True
        self.came.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self.cleanup_s:
                await asyncio.sleep(self.cleanup_s)
            self.is_working = False
            self.came.clear()
            self.went.set()

    def leads(self):
        try:
            self.elector.guard()
        except NotLeading:
            return False
        return True

    async def end(self):
        """SIGTERM: told to end, and given the time it takes."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


@dataclass
class Election:
    server: FakeApiServer
    tasks: list[asyncio.Task] = field(default_factory=list)
    clients: list[KubeClient] = field(default_factory=list)

    def replica(self, name="a", *, wall_offset_s=0.0, identity="", **numbers):
        clock = JumpingClock(wall_offset_s)
        client = KubeClient(Connection(self.server.url), clock=clock, field_manager=name)
        self.clients.append(client)
        replica = Replica(name, elector=None, client=client, clock=clock)  # type: ignore[arg-type]
        replica.elector = LeaderElector(
            client,
            namespace=PLACE[0],
            name=PLACE[1],
            identity=identity or name,
            clock=clock,
            on_change=replica.changes.append,
            **numbers,
        )
        return replica

    def start(self, replica, lead: Callable | None = None):
        """Let a replica campaign."""
        replica.task = asyncio.create_task(replica.elector.run(lead or replica.work))
        self.tasks.append(replica.task)
        return replica

    async def leader(self, name="a", **options):
        replica = self.start(self.replica(name, **options))
        await asyncio.wait_for(replica.came.wait(), 1.0)
        return replica

    async def crash(self, replica):
        """``kill -9``: nothing of it reaches the server any more."""
        rule = self.server.faults.on(CLOSE, manager=replica.name, write=True)
        await replica.end()
        rule.stop()

    def spec(self):
        return self.server.object(LEASE, *PLACE)["spec"]

    def now(self):
        return self.server.clock.now()


@asynccontextmanager
async def an_election() -> AsyncIterator[Election]:
    async with FakeApiServer() as server:
        server.ensure_namespace(PLACE[0])
        election = Election(server)
        try:
            yield election
        finally:
            server.faults.clear()
            for task in election.tasks:
                task.cancel()
            ends = await asyncio.gather(*election.tasks, return_exceptions=True)
            for client in election.clients:
                await client.close()
        # A campaign ends by being told to, or by the end of its work; never by itself.
        assert [] == [
            end for end in ends if not isinstance(end, asyncio.CancelledError | type(None))
        ]


# --- the traps --------------------------------------------------------------------------------------------------------


async def test_L1_a_missing_lease_is_created_and_led():
    async with an_election() as world:
        await world.leader("a")
        assert ("a", 15, 0) == (
            world.spec()["holderIdentity"],
            world.spec()["leaseDurationSeconds"],
            world.spec()["leaseTransitions"],
        )


@pytest.mark.parametrize(
    "fault",
    [
        CLOSE,
        INTERNAL_ERROR,
        UNAVAILABLE,
        UNAUTHORIZED,
        FORBIDDEN,
        CONFLICT,
        HTML,
        EMPTY,
        Refuse(422, "Invalid"),
        too_many_requests(1),
        Delay(6.0),
    ],
    ids=str,
)
async def test_L2_whatever_fails_counts_as_not_renewed_and_the_work_is_cancelled(fault):
    async with an_election() as world:
        leader = await world.leader()
        began = world.now()
        rule = world.server.faults.on(fault, kind=LEASE)
        await asyncio.sleep(RENEW_S - A_MOMENT_S)
        assert leader.is_working
        await asyncio.sleep(2 * A_MOMENT_S)
        assert not leader.is_working
        assert not leader.leads()
        assert world.now() - began < RENEW_S + RETRY_S

        rule.stop()
        await asyncio.wait_for(leader.came.wait(), LEASE_S)
        assert [True, False, True] == leader.changes


async def test_L3_a_hung_api_server_ends_leadership_at_the_renew_deadline():
    async with an_election() as world:
        leader = await world.leader()
        renewed_at = world.now()
        world.server.faults.on(HANG, kind=LEASE)
        await leader.went.wait()
        assert RENEW_S == pytest.approx(world.now() - renewed_at, abs=0.05)


async def test_L3_a_dead_connection_leaves_time_for_a_second_try():
    async with an_election() as world:
        leader = await world.leader()
        world.server.faults.next(HANG, kind=LEASE)
        await asyncio.sleep(60)
        assert [True] == leader.changes


async def test_L4_a_lease_deleted_under_the_leader_is_made_again():
    async with an_election() as world:
        leader = await world.leader()
        acquired_at = world.spec()["acquireTime"]
        world.server.remove(LEASE, *PLACE)
        await asyncio.sleep(RETRY_S + A_MOMENT_S)
        assert ("a", acquired_at, 0) == (
            world.spec()["holderIdentity"],
            world.spec()["acquireTime"],
            world.spec()["leaseTransitions"],
        )
        await asyncio.sleep(60)
        assert [True] == leader.changes


async def test_L4_a_deleted_lease_that_another_made_first_costs_leadership_and_no_crash():
    async with an_election() as world:
        leader = await world.leader()
        world.server.remove(LEASE, *PLACE)
        world.server.put(a_lease("stranger"))
        await asyncio.sleep(RETRY_S + A_MOMENT_S)
        assert not leader.is_working
        assert not leader.leads()
        assert "stranger" == world.spec()["holderIdentity"]


async def test_L4_those_who_wait_do_not_take_a_deleted_lease_before_its_time_is_over():
    async with an_election() as world:
        await world.leader("a")
        standby = world.start(world.replica("b"))
        await asyncio.sleep(5)
        world.server.faults.on(HANG, kind=LEASE, manager="a")
        await asyncio.sleep(RETRY_S)
        world.server.remove(LEASE, *PLACE)
        await asyncio.sleep(LEASE_S - 3 * RETRY_S)
        assert not standby.is_working
        await asyncio.wait_for(standby.came.wait(), LEASE_S)


async def test_L5_work_that_raises_gives_the_lease_up_and_the_error_comes_out():
    async def fail():
        await asyncio.sleep(3)
        raise ZeroDivisionError("a defect")

    async with an_election() as world:
        replica = world.replica()
        with pytest.raises(ZeroDivisionError, match="a defect"):
            await replica.elector.run(fail)
        assert "" == world.spec()["holderIdentity"]
        assert not replica.leads()
        assert [True, False] == replica.changes


async def test_L5_what_work_raises_while_it_is_cancelled_comes_out_too():
    async def fail_at_the_end():
        try:
            await asyncio.sleep(3600)
        finally:
            raise ZeroDivisionError("a defect in cleaning up")

    async with an_election() as world:
        replica = world.replica()
        world.server.faults.on(HANG, kind=LEASE, skip=2)
        with pytest.raises(ZeroDivisionError, match="cleaning up"):
            await replica.elector.run(fail_at_the_end)


async def test_L6_times_are_written_in_utc_wherever_the_process_runs(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        async with an_election() as world:
            await world.leader()
            for key in ("acquireTime", "renewTime"):
                written = world.spec()[key]
                assert written.endswith("Z")
                assert world.now() == pytest.approx(parse_timestamp(written), abs=1.0)
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_L7_the_duration_is_written_as_a_whole_number_that_is_never_too_short():
    async with an_election() as world:
        await world.leader(lease_s=2.5, renew_s=2.0, retry_s=0.5)
        duration = world.spec()["leaseDurationSeconds"]
        assert (3, int) == (duration, type(duration))


async def test_L7_no_pause_between_tries_is_longer_than_agreed_and_they_differ():
    async with an_election() as world:
        await world.leader()
        await asyncio.sleep(200)
        renewals = [r.at for r in world.server.requests.writes(kind=LEASE)]
        pauses = [later - earlier for earlier, later in pairwise(renewals)]
        assert RETRY_S + 0.01 >= max(pauses)
        assert 0.75 * RETRY_S - 0.01 <= min(pauses)
        assert 0.3 < max(pauses) - min(pauses)


# --- taking over ------------------------------------------------------------------------------------------------------


async def test_of_many_replicas_one_leads():
    async with an_election() as world:
        replicas = [world.start(world.replica(name)) for name in "abcde"]
        await asyncio.sleep(60)
        assert [1, 1] == [sum(r.is_working for r in replicas), sum(r.leads() for r in replicas)]


@pytest.mark.parametrize("seed", range(5))
async def test_after_a_crash_a_standby_leads_within_the_agreed_time_and_not_before(seed):
    async with an_election() as world:
        chance = random.Random(seed)
        leader = await world.leader("a", rand=chance.random)
        standby = world.start(world.replica("b", rand=chance.random))
        await asyncio.sleep(chance.uniform(10, 30))
        await world.crash(leader)
        crashed_at = world.now()
        renewed_at = max(r.at for r in world.server.requests.writes(kind=LEASE, code=200))
        await standby.came.wait()
        assert LEASE_S <= world.now() - renewed_at
        assert LEASE_S + RETRY_S >= world.now() - crashed_at


async def test_after_a_clean_end_a_standby_leads_at_once():
    async with an_election() as world:
        leader = await world.leader("a")
        standby = world.start(world.replica("b"))
        await asyncio.sleep(20)
        await leader.end()
        assert not leader.is_working
        began = world.now()
        await standby.came.wait()
        assert RETRY_S + A_MOMENT_S >= world.now() - began


async def test_a_change_of_holder_is_counted_and_a_renewal_is_not():
    async with an_election() as world:
        for number, name in enumerate("abc"):
            leader = await world.leader(name)
            await asyncio.sleep(10)
            assert (name, number) == (
                world.spec()["holderIdentity"],
                world.spec()["leaseTransitions"],
            )
            await leader.end()


async def test_a_lease_in_our_own_name_is_taken_back_at_once():
    async with an_election() as world:
        await world.crash(await world.leader("a"))
        assert "a" == world.spec()["holderIdentity"]
        await world.leader("a")
        assert 0 == world.spec()["leaseTransitions"]


@pytest.mark.parametrize("offset_s", [-86400.0, 86400.0], ids=["behind", "ahead"])
async def test_the_wall_clock_of_another_machine_is_not_believed(offset_s):
    async with an_election() as world:
        leader = await world.leader("a", wall_offset_s=offset_s)
        standby = world.start(world.replica("b"))
        await asyncio.sleep(120)
        assert ([True], []) == (leader.changes, standby.changes)
        await world.crash(leader)
        await asyncio.wait_for(standby.came.wait(), LEASE_S + RETRY_S + A_MOMENT_S)


async def test_a_step_of_the_own_wall_clock_moves_no_deadline():
    async with an_election() as world:
        leader = await world.leader("a")
        leader.clock.wall_offset_s = 7200.0
        await asyncio.sleep(60)
        leader.clock.wall_offset_s = -7200.0
        await asyncio.sleep(60)
        assert [True] == leader.changes


async def test_labels_on_a_dead_lease_do_not_keep_its_holder_alive():
    async with an_election() as world:
        await world.crash(await world.leader("a"))
        standby = world.start(world.replica("b"))
        for number in range(int(LEASE_S + RETRY_S)):
            world.server.patch(LEASE, *PLACE, {"metadata": {"labels": {"seen": str(number)}}})
            await asyncio.sleep(1)
        assert standby.is_working


async def test_the_promise_of_another_configuration_is_waited_for():
    async with an_election() as world:
        world.server.put(a_lease("stranger", duration_s=60))
        replica = world.start(world.replica())
        await asyncio.sleep(59)
        assert not replica.is_working
        await asyncio.sleep(1 + RETRY_S)
        assert replica.is_working


@pytest.mark.parametrize("spec", [None, {}, {"holderIdentity": ""}], ids=str)
async def test_an_empty_lease_is_taken_at_once(spec):
    async with an_election() as world:
        world.server.put({**a_lease(""), "spec": spec} if spec is not None else bare_lease())
        await world.leader("a")
        assert 1 == world.spec()["leaseTransitions"]


# --- the leader -------------------------------------------------------------------------------------------------------


async def test_a_renewal_is_one_request():
    async with an_election() as world:
        await world.leader()
        world.server.requests.clear()
        await asyncio.sleep(60)
        assert {"patch"} == {r.verb for r in world.server.requests}
        assert 30 <= len(world.server.requests) <= 40


async def test_a_lost_answer_is_no_loss():
    async with an_election() as world:
        leader = await world.leader()
        for _ in range(5):
            world.server.faults.next(CLOSE, when="after", kind=LEASE, write=True)
            await asyncio.sleep(3 * RETRY_S)
        assert [True] == leader.changes


async def test_a_renewal_counts_from_when_it_was_sent():
    async with an_election() as world:
        leader = await world.leader()
        world.server.faults.next(Delay(4.0), kind=LEASE, write=True)
        world.server.faults.on(HANG, kind=LEASE, write=True, skip=1)
        await leader.went.wait()
        slow, _hung, *_ = world.server.requests.writes(kind=LEASE)[1:]
        assert 200 == slow.code
        assert RENEW_S == pytest.approx(world.now() - slow.at, abs=0.05)


async def test_a_defect_in_sending_counts_as_not_renewed_and_is_survived(caplog):
    async with an_election() as world:
        leader = await world.leader()
        api, leader.elector._api = leader.elector._api, Broken()
        await asyncio.wait_for(leader.went.wait(), RENEW_S + A_MOMENT_S)
        leader.elector._api = api
        await asyncio.wait_for(leader.came.wait(), 2 * RETRY_S)
        assert "a defect in canaryd" in caplog.text


async def test_somebody_who_labels_the_lease_does_not_disturb_its_holder():
    async with an_election() as world:
        leader = await world.leader()
        for number in range(60):
            world.server.patch(LEASE, *PLACE, {"metadata": {"labels": {"seen": str(number)}}})
            await asyncio.sleep(1)
        assert [True] == leader.changes


async def test_a_lease_taken_by_hand_ends_leadership_at_the_next_renewal():
    async with an_election() as world:
        leader = await world.leader()
        await asyncio.sleep(5)
        world.server.patch(LEASE, *PLACE, {"spec": {"holderIdentity": "stranger"}})
        await asyncio.sleep(RETRY_S + A_MOMENT_S)
        assert (False, False) == (leader.is_working, leader.leads())
        await asyncio.wait_for(leader.came.wait(), LEASE_S + RETRY_S)


async def test_work_is_awaited_before_the_campaign_goes_on():
    async with an_election() as world:
        leader = await world.leader()
        leader.cleanup_s = 20.0
        outage = world.server.faults.on(CLOSE, kind=LEASE)
        await asyncio.sleep(RENEW_S + A_MOMENT_S)
        outage.stop()
        world.server.requests.clear()
        await asyncio.sleep(15)
        assert (True, False, 0) == (leader.is_working, leader.leads(), len(world.server.requests))
        await asyncio.sleep(6)
        assert (True, [True, False, True]) == (leader.leads(), leader.changes)


async def test_work_that_swallows_its_cancellation_is_not_taken_for_finished():
    turns = []

    async def stubborn():
        turns.append(1)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if len(turns) > 1:
                raise

    async with an_election() as world:
        replica = world.start(world.replica(), stubborn)
        await asyncio.sleep(1)
        outage = world.server.faults.on(CLOSE, kind=LEASE)
        await asyncio.sleep(RENEW_S + RETRY_S)
        outage.stop()
        await asyncio.sleep(RETRY_S)
        assert (2, False) == (len(turns), replica.task.done())


async def test_work_that_ends_by_itself_ends_the_campaign_and_gives_the_lease_up():
    async def work():
        await asyncio.sleep(30)

    async with an_election() as world:
        replica = world.replica()
        await replica.elector.run(work)
        assert ("", [True, False], False) == (
            world.spec()["holderIdentity"],
            replica.changes,
            replica.leads(),
        )


async def test_work_begins_under_a_guard_that_passes():
    async with an_election() as world:
        seen = []
        replica = world.replica()

        async def work():
            seen.append(replica.leads())

        assert not replica.leads()
        await replica.elector.run(work)
        assert [True] == seen


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_cancelled_leader_stops_its_work_before_it_gives_the_lease_up():
    async with an_election() as world:
        leader = await world.leader()
        leader.cleanup_s = 3.0
        leader.task.cancel()
        await asyncio.sleep(2.9)
        assert "a" == world.spec()["holderIdentity"]
        await asyncio.sleep(0.2)
        assert (True, "") == (leader.task.cancelled(), world.spec()["holderIdentity"])


async def test_a_hung_api_server_holds_the_end_up_for_a_second_at_most():
    async with an_election() as world:
        leader = await world.leader()
        world.server.faults.on(HANG, kind=LEASE)
        began = world.now()
        await leader.end()
        assert 1.0 == pytest.approx(world.now() - began, abs=0.05)


async def test_a_standby_that_ends_touches_nothing():
    async with an_election() as world:
        await world.leader("a")
        standby = world.start(world.replica("b"))
        await asyncio.sleep(5)
        before = world.server.object(LEASE, *PLACE)
        world.server.requests.clear()
        await standby.end()
        assert before == world.server.object(LEASE, *PLACE)
        assert [] == world.server.requests.writes(manager="b")


async def test_a_leader_that_ends_after_others_wrote_the_lease_gives_it_up_all_the_same():
    async with an_election() as world:
        leader = await world.leader()
        world.server.patch(LEASE, *PLACE, {"metadata": {"labels": {"seen": "1"}}})
        await leader.end()
        assert "" == world.spec()["holderIdentity"]


async def test_a_lease_of_somebody_else_is_not_given_up_for_them():
    async with an_election() as world:
        leader = await world.leader()
        world.server.patch(LEASE, *PLACE, {"spec": {"holderIdentity": "stranger"}})
        await leader.end()
        assert "stranger" == world.spec()["holderIdentity"]


async def test_a_lease_deleted_at_the_end_is_not_made_again():
    async with an_election() as world:
        leader = await world.leader()
        world.server.remove(LEASE, *PLACE)
        await leader.end()
        assert world.server.find(LEASE, *PLACE) is None


async def test_a_lease_that_could_not_be_made_again_is_not_made_at_the_end():
    async with an_election() as world:
        leader = await world.leader()
        world.server.faults.on(FORBIDDEN, kind=LEASE, verb="create")
        world.server.remove(LEASE, *PLACE)
        await asyncio.sleep(RETRY_S + A_MOMENT_S)
        world.server.requests.clear()
        await leader.end()
        assert [] == world.server.requests.writes()


async def test_a_defect_in_giving_up_does_not_hide_how_the_work_ended(caplog):
    async with an_election() as world:
        replica = world.replica()

        async def work():
            replica.elector._api = Broken()
            raise KeyError("the real reason")

        with pytest.raises(KeyError, match="the real reason"):
            await replica.elector.run(work)
        assert "is not given up" in caplog.text


async def test_a_candidate_cancelled_while_its_acquisition_is_on_the_way_leaves_no_dead_holder():
    async with an_election() as world:
        world.server.faults.next(Delay(0.5), when="after", kind=LEASE, verb="create")
        replica = world.start(world.replica())
        await asyncio.sleep(0.2)
        assert "a" == world.spec()["holderIdentity"]
        await replica.end()
        assert "" == world.spec()["holderIdentity"]


# --- the fence --------------------------------------------------------------------------------------------------------


async def test_a_process_that_was_stopped_past_its_deadline_writes_nothing():
    async with an_election() as world:
        leader = await world.leader()
        guarded = leader.client.guarded_by(leader.elector.guard)
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "x", "namespace": PLACE[0]},
        }
        await guarded.create(config)
        leader.clock.ahead_s = RENEW_S
        with pytest.raises(NotLeading, match="canaryd/canaryd was not renewed in time"):
            await guarded.delete(CONFIG_MAP, PLACE[0], "x")
        assert ["create"] == [r.verb for r in world.server.requests.writes(kind=CONFIG_MAP)]


async def test_who_never_led_writes_nothing():
    async with an_election() as world:
        await world.leader("a")
        standby = world.start(world.replica("b"))
        await asyncio.sleep(5)
        guarded = standby.client.guarded_by(standby.elector.guard)
        with pytest.raises(NotLeading, match="is not held by this process"):
            await guarded.delete(CONFIG_MAP, PLACE[0], "x")
        assert [] == world.server.requests.writes(kind=CONFIG_MAP)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_under_any_mix_of_faults_two_never_lead_at_the_same_time(seed):
    chance = random.Random(seed)
    faults = (CLOSE, HANG, INTERNAL_ERROR, CONFLICT, Delay(3.0), Delay(7.0))
    async with an_election() as world:
        replicas = [world.start(world.replica(n, rand=chance.random)) for n in "abc"]
        overlaps, led = [], 0
        for _ in range(30):
            rule = world.server.faults.on(
                chance.choice(faults),
                when=chance.choice(("before", "after")),
                every=chance.choice((1, 2, 3)),
                kind=LEASE,
                manager=chance.choice("abc"),
            )
            if chance.random() < 0.1 and world.server.find(LEASE, *PLACE):
                world.server.remove(LEASE, *PLACE)
            for _ in range(40):
                await asyncio.sleep(0.25)
                leading = [r.name for r in replicas if r.leads()]
                led += len(leading)
                if len(leading) > 1 or sum(r.is_working for r in replicas) > 1:
                    overlaps.append(leading)
            rule.stop()
        assert [] == overlaps
        assert 30 * 40 * 0.5 < led


# --- what people are told ---------------------------------------------------------------------------------------------


async def test_a_missing_right_is_named_once(caplog):
    async with an_election() as world:
        world.server.faults.on(FORBIDDEN, kind=LEASE, verb="create")
        world.start(world.replica())
        with caplog.at_level(logging.INFO, "canaryd.kube.lease"):
            await asyncio.sleep(60)
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert 1 == len(warnings)
        assert "may not create leases.coordination.k8s.io" in warnings[0]
        assert "namespace 'canaryd'" in warnings[0]


async def test_the_end_of_trouble_is_told_and_the_next_trouble_is_news(caplog):
    async with an_election() as world:
        await world.leader()
        with caplog.at_level(logging.INFO, "canaryd.kube.lease"):
            for _ in range(2):
                outage = world.server.faults.on(INTERNAL_ERROR, kind=LEASE)
                await asyncio.sleep(3 * RETRY_S)
                outage.stop()
                await asyncio.sleep(RETRY_S)
        told = [r.getMessage() for r in caplog.records]
        assert [True, False, True, False] == ["could not be written" in line for line in told]
        assert 2 == sum("can be written again" in line for line in told)


@pytest.mark.parametrize(
    "numbers",
    [{"renew_s": 15.0}, {"retry_s": 10.0}, {"retry_s": 0.0}, {"lease_s": 1.0}],
    ids=str,
)
def test_times_out_of_order_are_refused(numbers):
    with pytest.raises(ValueError, match="retry_s < renew_s < lease_s"):
        LeaderElector(None, namespace="n", name="n", identity="a", clock=VirtualClock(), **numbers)  # type: ignore[arg-type]


def test_an_empty_identity_is_refused():
    with pytest.raises(ValueError, match="identity"):
        LeaderElector(None, namespace="n", name="n", identity="", clock=VirtualClock())  # type: ignore[arg-type]


class Broken:
    """A client with a defect."""

    def __getattr__(self, _name):
        raise ZeroDivisionError


def a_lease(holder, duration_s=15):
    stamp = "2026-01-01T00:00:00.000000Z"
    spec = {"holderIdentity": holder, "leaseDurationSeconds": duration_s, "renewTime": stamp}
    return {**bare_lease(), "spec": spec}


def bare_lease():
    meta = {"namespace": PLACE[0], "name": PLACE[1]}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": meta}
