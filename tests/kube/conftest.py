"""What the tests of the client share."""

from collections.abc import Iterator

import pytest

from tests.kube.tls import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA of its own for each run of the tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session", autouse=True)
def _system_cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The system trusts one CA that signed nothing: loading all of them takes 20 ms per client."""
    folder = tmp_path_factory.mktemp("system")
    system = Authority(folder / "authority", "system CA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(system.ca.certificate))
        patch.setenv("SSL_CERT_DIR", str(folder))
        yield
