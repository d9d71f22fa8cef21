"""What holds for every test of the tree."""

import asyncio


def pytest_sessionstart() -> None:
    """Declare that the main thread has no event loop.

    Up to Python 3.13 asking for one creates it, and looptime asks before each synchronous test that follows an
    asynchronous one: the loop would leak, and a leak is an error here.
    """
    asyncio.set_event_loop(None)
