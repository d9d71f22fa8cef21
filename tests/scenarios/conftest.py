"""What every scenario gets: a cluster, a running daemon, virtual time."""

from collections.abc import AsyncIterator

import pytest

from tests.scenarios.harness import Story, story


@pytest.fixture
async def told() -> AsyncIterator[Story]:
    async with story() as running:
        yield running
