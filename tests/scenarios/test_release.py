"""A release from end to end."""

import pytest

from tests.scenarios.harness import plan, story

pytestmark = pytest.mark.looptime


async def test_a_good_revision_is_promoted():
    async with story() as told:
        told.deploy(annotations=plan())
        await told.until_phase("Initialized")

        assert told.selector() == {"app": "app-primary"}
        assert told.replicas() == 0
        assert told.weight() == 0

        told.set_image("app:2")
        await told.until_weight(20)
        await told.until_weight(50)
        await told.until_phase("Succeeded")

        assert told.image() == "app:2"
        assert told.replicas() == 0
        assert told.weight() == 0
