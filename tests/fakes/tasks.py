"""Background work of the fakes: structured, so that a failure in it fails the test that uses it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def running(*work: Coroutine[object, object, None]) -> AsyncIterator[asyncio.TaskGroup]:
    """Run coroutines while the context is open; cancel them, and whatever they started, at its end."""
    async with asyncio.TaskGroup() as group:
        for coroutine in work:
            group.create_task(coroutine)
        try:
            yield group
        finally:
            for task in tuple(group._tasks):
                task.cancel()
