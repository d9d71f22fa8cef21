"""The queue: an app waits once, is looked at by one worker at a time, and nothing that happened is lost."""

import asyncio

import pytest

from canaryd.controller.workqueue import WorkQueue

pytestmark = pytest.mark.looptime

A, B = ("shop", "a"), ("shop", "b")


async def soon(queue: WorkQueue) -> object:
    """The next key, or None when there is none now."""
    try:
        async with asyncio.timeout(0.001):
            return await queue.get()
    except TimeoutError:
        return None


async def test_an_app_waits_once_however_often_it_was_added():
    queue = WorkQueue()
    for _ in range(3):
        queue.add(A)

    assert A == await queue.get()
    queue.done(A)
    assert await soon(queue) is None


async def test_an_app_is_with_one_worker_at_a_time_and_comes_again_when_something_happened():
    queue = WorkQueue()
    queue.add(A)
    assert A == await queue.get()
    queue.add(A)
    assert await soon(queue) is None

    queue.done(A)
    assert A == await soon(queue)


async def test_what_happened_goes_before_routine():
    queue = WorkQueue()
    queue.add(A, routine=True)
    queue.add(B)

    assert [B, A] == [await queue.get(), await queue.get()]


async def test_routine_that_became_urgent_is_urgent_and_waits_once():
    queue = WorkQueue()
    queue.add(A, routine=True)
    queue.add(B, routine=True)
    queue.add(B)

    assert [B, A] == [await queue.get(), await queue.get()]
    assert await soon(queue) is None


async def test_of_two_appointments_the_earlier_stands():
    queue = WorkQueue()
    began = asyncio.get_running_loop().time()
    queue.add_after(A, 10)
    queue.add_after(A, 2)
    queue.add_after(A, 5)
    assert A == await queue.get()

    assert 2 == pytest.approx(asyncio.get_running_loop().time() - began, abs=0.01)
    queue.done(A)
    await asyncio.sleep(20)
    assert await soon(queue) is None


async def test_a_look_voids_the_appointment_that_was_made_before_it():
    queue = WorkQueue()
    queue.add_after(A, 5)
    queue.add(A)
    await queue.get()
    queue.done(A)
    await asyncio.sleep(10)

    assert await soon(queue) is None


async def test_an_appointment_that_comes_due_while_the_app_is_looked_at_is_kept():
    queue = WorkQueue()
    queue.add(A)
    await queue.get()
    queue.add_after(A, 1)
    await asyncio.sleep(2)
    queue.done(A)

    assert A == await soon(queue)


async def test_a_closed_queue_wakes_nobody():
    queue = WorkQueue()
    queue.add_after(A, 1)
    queue.close()
    await asyncio.sleep(5)

    assert queue.is_idle


async def test_several_workers_get_different_apps_and_none_gets_nothing():
    queue = WorkQueue()
    workers = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(1)
    queue.add(A)
    queue.add(B)
    await asyncio.sleep(1)

    assert [A, B] == sorted(w.result() for w in workers if w.done())
    assert not queue.is_idle
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


async def test_an_app_that_is_forgotten_has_no_appointment():
    queue = WorkQueue()
    queue.add_after(A, 1)
    queue.forget(A)
    await asyncio.sleep(5)

    assert await soon(queue) is None


async def test_the_queue_knows_how_many_wait_and_how_long_the_first_has():
    queue = WorkQueue()
    assert (0, 0.0) == (len(queue), queue.oldest_s)
    queue.add(A, routine=True)
    queue.add(B)

    assert 2 == len(queue)
    assert 0 <= queue.oldest_s < 5
