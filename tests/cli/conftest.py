import pytest

from tests.cli.commands import Canaryd


@pytest.fixture
def canaryd(capsys, monkeypatch):
    monkeypatch.delenv("CANARYD_UPDATE_GOLDEN", raising=False)
    return Canaryd(capsys, monkeypatch)
