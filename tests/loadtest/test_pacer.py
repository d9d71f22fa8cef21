import asyncio

import pytest

from canaryd.loadtest.pacer import Pacer, count_starts

pytestmark = pytest.mark.looptime


def a_pacer(rate, duration_s):
    return Pacer(rate, duration_s, asyncio.get_running_loop().time)


@pytest.mark.parametrize(
    ("rate", "duration_s", "expected"),
    [
        (10, 1, 10),
        (20, 60, 1200),
        (0.1, 1, 1),
        (0.1, 60, 6),
        (0.3, 10, 3),
        (3, 0.5, 2),
        (0.7, 10, 7),
        (4999.9, 3600, 17_999_640),
    ],
)
def test_as_many_starts_as_lie_before_the_end(rate, duration_s, expected):
    assert expected == count_starts(rate, duration_s)


async def test_starts_come_when_they_are_due():
    loop = asyncio.get_running_loop()
    began = loop.time()
    seen = [(due - began, loop.time() - began) async for due in a_pacer(4, 1).starts()]
    expected = [0, 0.25, 0.5, 0.75]
    assert expected == pytest.approx([due for due, _ in seen])
    assert expected == pytest.approx([at for _, at in seen], abs=1e-5)


async def test_ten_minutes_of_starts_do_not_drift():
    began = asyncio.get_running_loop().time()
    last = None
    async for due in a_pacer(0.7, 600).starts():
        last = due
    assert 419 / 0.7 == pytest.approx(last - began, abs=1e-6)


async def test_a_pacer_that_was_held_up_hands_out_what_is_due_at_once_and_then_is_on_time_again():
    loop = asyncio.get_running_loop()
    began, seen = loop.time(), []
    pacer = a_pacer(10, 1)
    async for due in pacer.starts():
        seen.append((round(due - began, 6), round(loop.time() - began, 3)))
        if len(seen) == 3:
            await asyncio.sleep(0.35)
    expected = [(0, 0), (0.1, 0.1), (0.2, 0.2), (0.3, 0.55), (0.4, 0.55), (0.5, 0.55)]
    assert expected == seen[:6]
    assert [(n / 10, n / 10) for n in range(6, 10)] == seen[6:]


async def test_a_pacer_knows_how_late_it_was():
    pacer = a_pacer(10, 1)
    async for due in pacer.starts():
        if due - pacer.began_at == pytest.approx(0.2):
            await asyncio.sleep(0.33)  # starts 0.3, 0.4 and 0.5 come at 0.53
    assert 2 == pacer.late
    assert pytest.approx(0.23, abs=1e-5) == pacer.worst_lag_s
    assert pytest.approx(0, abs=1e-5) == pacer.last_lag_s


async def test_a_pacer_that_ends_late_knows_by_how_much():
    pacer = a_pacer(10, 0.3)
    async for _ in pacer.starts():
        await asyncio.sleep(0.2)
    assert pytest.approx(0.2, abs=1e-5) == pacer.last_lag_s
