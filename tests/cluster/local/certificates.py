"""The cluster's own authority and everything it signs, made by the openssl command.

Made anew for each run, in the run's folder, and gone with it: nothing is trusted afterwards.
Identity is the subject, as Kubernetes reads it: O is the group, CN the user.
openssl rather than a library, since the package must work with the standard library alone.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.cluster.local.commands import run

DAYS = "30"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.cert = folder / "ca.crt"
        self._key = folder / "ca.key"
        run(
            [
                *("openssl", "req", "-x509", *NEW_KEY, "-days", DAYS),
                *("-subj", "/CN=canaryd-local-cluster"),
                *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
                *("-keyout", self._key, "-out", self.cert),
            ]
        )

    def client(self, name: str, user: str, group: str = "") -> Pair:
        """Sign a certificate for a client that Kubernetes shall see as this user."""
        subject = f"/O={group}/CN={user}" if group else f"/CN={user}"
        return self._sign(name, subject, ["extendedKeyUsage=clientAuth"])

    def server(self, name: str, hosts: list[str]) -> Pair:
        """Sign a certificate for a server under these names and addresses."""
        names = ",".join(f"IP:{host}" if _is_address(host) else f"DNS:{host}" for host in hosts)
        extensions = ["extendedKeyUsage=serverAuth", f"subjectAltName={names}"]
        return self._sign(name, f"/CN={name}", extensions)

    def service_account_keys(self) -> Pair:
        """Make the key pair that tokens are signed and checked with; `cert` is the public key."""
        keys = Pair(self._folder / "service-account.pub", self._folder / "service-account.key")
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        run(["openssl", "genpkey", *curve, "-out", keys.key])
        run(["openssl", "pkey", "-in", keys.key, "-pubout", "-out", keys.cert])
        return keys

    def _sign(self, name: str, subject: str, extensions: list[str]) -> Pair:
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        described = self._folder / f"{name}.ext"
        described.write_text("\n".join(extensions) + "\n", encoding="utf-8")
        run(
            [
                *("openssl", "req", "-new", *NEW_KEY, "-subj", subject),
                *("-keyout", pair.key, "-out", request),
            ]
        )
        run(
            [
                *("openssl", "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self._key),
                *("-CAcreateserial", "-days", DAYS, "-extfile", described, "-out", pair.cert),
            ]
        )
        return pair


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit()
