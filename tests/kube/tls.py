"""Certificates made by ``openssl`` when a test runs: nothing in the repository can expire."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


def openssl(*args: str) -> str:
    done = subprocess.run(("openssl", *args), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()

    @property
    def key_pem(self) -> str:
        return self.key.read_text()

    def end(self) -> str:
        """``notAfter`` as openssl reads it, ISO 8601."""
        shown = openssl(
            "x509", "-in", str(self.certificate), "-noout", "-enddate", "-dateopt", "iso_8601"
        )
        return shown.strip().removeprefix("notAfter=")


class Authority:
    """A CA in a folder of its own."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = self._make(name, 30, "basicConstraints=critical,CA:TRUE", by=None)

    def issue(self, name: str, *, days: int = 30, san: str = "IP:127.0.0.1") -> Pair:
        """A certificate by this CA."""
        return self._make(name, days, f"subjectAltName={san}", by=self.ca)

    def server(self, *, san: str = "IP:127.0.0.1", clients: bool = False) -> ssl.SSLContext:
        """What a TLS server needs; with ``clients`` it asks for their certificates."""
        pair = self.issue("server", san=san)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        if clients:
            context.load_verify_locations(self.ca.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _make(self, name: str, days: int, extension: str, by: Pair | None) -> Pair:
        stem = self.folder / f"{name.replace(' ', '-')}-{len(list(self.folder.iterdir()))}"
        pair = Pair(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        signed = () if by is None else ("-CA", str(by.certificate), "-CAkey", str(by.key))
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-subj", f"/CN={name}", "-days", str(days), "-addext", extension),
            *("-keyout", str(pair.key), "-out", str(pair.certificate), *signed),
        )
        return pair
