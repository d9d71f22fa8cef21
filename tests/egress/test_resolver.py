"""Against the resolver of this machine, with names that need no server."""

import asyncio
import threading
from ipaddress import ip_address

import pytest

from canaryd.egress import resolver as module
from canaryd.egress.resolver import SystemResolver


@pytest.fixture
def resolver():
    system = SystemResolver()
    yield system
    system.close()


async def test_a_name_of_the_hosts_file_is_found_with_its_canonical_name(resolver):
    found = await resolver.resolve("localhost")

    assert "localhost" == found.canonical
    assert found.addresses
    assert all(address.is_loopback for address in found.addresses)
    assert len(set(found.addresses)) == len(found.addresses)


async def test_odd_spellings_are_loopback_to_the_system_which_is_why_targets_refuses_them(resolver):
    for spelling in ("2130706433", "0x7f.1", "0177.0.0.1", "127.1"):
        found = await resolver.resolve(spelling)
        assert (ip_address("127.0.0.1"),) == found.addresses


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "a..test", ""])
async def test_what_cannot_be_a_name_is_not_found(resolver, name):
    assert await resolver.resolve(name) is None


async def test_names_that_hang_do_not_hold_up_other_threads_of_the_process(resolver, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(module, "_look_up", lambda _name: released.wait(10))
    hanging = [asyncio.create_task(resolver.resolve("hangs.test")) for _ in range(40)]
    await asyncio.sleep(0)
    try:
        assert "done" == await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 5)
    finally:
        released.set()
        await asyncio.gather(*hanging)
