import pytest

from tests.cli.commands import Canaryd


@pytest.fixture
def canaryd(capsys, monkeypatch):
    return Canaryd(capsys, monkeypatch)
