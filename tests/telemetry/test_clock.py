"""A clock that does not step, whatever somebody does to the clock of the system."""

import asyncio

import pytest
import time_machine

from canaryd.telemetry.clock import SteadyClock

NOON = 1_800_000_000.0


class Clocks:
    """A wall clock that can be set and a monotonic one that cannot."""

    def __init__(self):
        self.wall = NOON
        self.monotonic = 77.0

    def pass_time(self, seconds):
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def clock(clocks):
    return SteadyClock(wall=lambda: clocks.wall, monotonic=lambda: clocks.monotonic)


def test_at_the_start_it_is_as_late_as_the_wall_clock_says(clock):
    assert (NOON, NOON) == (clock.now(), clock.wall())


def test_it_goes_on_as_time_does(clock, clocks):
    clocks.pass_time(3600)
    assert (NOON + 3600, NOON + 3600) == (clock.now(), clock.wall())


@pytest.mark.parametrize("step", [-86_400, -0.5, 0.5, 86_400 * 365])
def test_a_step_of_the_wall_clock_moves_nothing(clock, clocks, step):
    deadline = clock.now() + 60
    clocks.wall += step
    assert NOON == clock.now()
    clocks.pass_time(59)
    assert clock.now() < deadline
    clocks.pass_time(1)
    assert deadline == clock.now()


def test_what_people_read_follows_the_wall_clock(clock, clocks):
    clocks.wall += 3600
    assert NOON + 3600 == clock.wall()


def test_by_default_it_reads_the_clocks_of_the_system():
    with time_machine.travel(NOON, tick=False) as system:
        clock = SteadyClock()
        began = clock.now()
        assert NOON == pytest.approx(began, abs=1)
        system.shift(3600)
        assert NOON + 3600 == clock.wall()


@pytest.mark.looptime
async def test_it_sleeps_as_long_as_it_is_told():
    loop = asyncio.get_running_loop()
    clock = SteadyClock(monotonic=loop.time)
    began, then = clock.now(), loop.time()
    await clock.sleep(3600)
    assert 3600 == loop.time() - then
    assert began + 3600 == pytest.approx(clock.now(), abs=1e-3)


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [0, -5])
async def test_time_that_has_passed_still_lets_others_run(seconds):
    loop = asyncio.get_running_loop()
    ran = []
    loop.call_soon(ran.append, True)
    began = loop.time()
    await SteadyClock().sleep(seconds)
    assert ([True], began) == (ran, loop.time())
