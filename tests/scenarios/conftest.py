"""What every scenario gets: a cluster, a running daemon, virtual time."""

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client.configuration import Configuration

from canaryd.kube.client import KubeClient
from tests.fakes.apiserver import FakeApiServer
from tests.scenarios.harness import Story, story


def make_client(server: FakeApiServer) -> KubeClient:
    return KubeClient(Configuration(host=server.url))


@pytest.fixture
async def told() -> AsyncIterator[Story]:
    async with story(make_client) as running:
        yield running
