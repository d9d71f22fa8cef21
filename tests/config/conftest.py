import pytest

from tests.config.loading import Loader


@pytest.fixture
def settings(tmp_path):
    return Loader(tmp_path)
