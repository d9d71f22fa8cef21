"""Runs a credential plugin: ``users[].user.exec`` of a kubeconfig,
``client.authentication.k8s.io``.

Own runner, because the packaged one reads standard output to its end before standard error and
deadlocks on a talkative plugin (A4),
swallows failures (A3), and loses track of certificates (A5).
No shell: the command and its arguments are given as they are written.
What the plugin prints on standard output is a secret
and is never part of a message; the tail of standard error is,
since that is where plugins explain themselves.
"""

import asyncio
import json
import os
import shutil
import signal
from asyncio import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canaryd.kube.certificates import expiry_of
from canaryd.kube.credentials import ClientCertificate, Credential, CredentialsError

TIME_LIMIT_S = 30.0
_STDOUT_BYTES = 1024 * 1024
_STDERR_TAIL_BYTES = 2000
_API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A plugin as a kubeconfig describes it.

    Args:
        command: absolute, or relative to ``folder`` when it has a slash, or looked up in PATH.
        cluster: what ``provideClusterInfo`` gives to the plugin, None when it is off.

    """

    command: str
    api_version: str
    folder: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cluster: Mapping[str, Any] | None = None
    install_hint: str = ""

    def __post_init__(self) -> None:
        if self.api_version not in _API_VERSIONS:
            raise CredentialsError(
                f"exec plugin {self.command!r}: apiVersion {self.api_version!r} is not known; "
                f"use {' or '.join(_API_VERSIONS)}"
            )


class ExecSource:
    """Credentials that a plugin prints; implements ``canaryd.kube.credentials.Source``."""

    max_age_s = None

    def __init__(self, plugin: ExecPlugin, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._plugin = plugin
        self._time_limit_s = time_limit_s

    def has_changed(self) -> bool:
        return False

    async def fetch(self) -> Credential:
        code, out, err = await self._run()
        if code != 0:
            raise self._error(f"ended with code {code}{_quote(err)}")
        return self._parse(out)

    async def _run(self) -> tuple[int, bytes, bytes]:
        process = await self._start()
        try:
            async with asyncio.timeout(self._time_limit_s):
                out, err = await _communicate(process)
                code = await process.wait()
        except TimeoutError:
            await _kill(process)
            raise self._error(f"did not end within {self._time_limit_s:g} s") from None
        except BaseException:
            await _kill(process)
            raise
        if len(out) > _STDOUT_BYTES:
            raise self._error(f"printed more than {_STDOUT_BYTES} bytes")
        return code, out, err

    async def _start(self) -> subprocess.Process:
        plugin = self._plugin
        try:
            return await asyncio.create_subprocess_exec(
                self._resolve_command(),
                *plugin.args,
                env={**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": self._exec_info()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that its children end with it
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            hint = f". {plugin.install_hint}" if plugin.install_hint else ""
            raise self._error(f"cannot be started: {error}{hint}") from error

    def _resolve_command(self) -> str:
        command = self._plugin.command
        if os.sep in command:
            return os.path.normpath(os.path.join(self._plugin.folder, command))  # noqa: PTH118
        found = shutil.which(command, path=self._plugin.env.get("PATH"))
        if found is None:
            raise FileNotFoundError(f"{command!r} is not in PATH")
        return found

    def _exec_info(self) -> str:
        spec: dict[str, Any] = {"interactive": False}
        if self._plugin.cluster is not None:
            spec["cluster"] = dict(self._plugin.cluster)
        return json.dumps(
            {"apiVersion": self._plugin.api_version, "kind": "ExecCredential", "spec": spec}
        )

    def _parse(self, out: bytes) -> Credential:
        try:
            answer = json.loads(out)
        except (ValueError, RecursionError):
            raise self._error("printed no JSON") from None
        if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
            raise self._error("printed something that is no ExecCredential")
        if answer.get("apiVersion") != self._plugin.api_version:
            raise self._error(f"answered in another version than {self._plugin.api_version}")
        status = answer.get("status")
        return self._credential(status if isinstance(status, dict) else {})

    def _credential(self, status: Mapping[str, Any]) -> Credential:
        token = status.get("token") or ""
        pem, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
        if not all(isinstance(part, str) for part in (token, pem, key)):
            raise self._error("answered with credentials that are no strings")
        if bool(pem) != bool(key):
            raise self._error("answered with one of certificate and key; both are needed")
        if not token and not pem:
            raise self._error("answered with neither a token nor a certificate")
        certificate = ClientCertificate(pem, key) if pem else None
        authorization = f"Bearer {token.strip()}" if token else ""
        return Credential(authorization, certificate, self._expiry(status, pem))

    def _expiry(self, status: Mapping[str, Any], pem: str) -> float | None:
        """The earlier of what the answer says and what its certificate says."""
        ends: list[float] = []
        try:
            if stamp := status.get("expirationTimestamp"):
                ends.append(_instant(str(stamp)))
            if pem:
                ends.append(expiry_of(pem))
        except ValueError as error:
            raise self._error(f"answered with an end that cannot be read: {error}") from error
        return min(ends, default=None)

    def _error(self, what: str) -> CredentialsError:
        return CredentialsError(f"exec plugin {self._plugin.command!r} {what}")


def _instant(stamp: str) -> float:
    instant = datetime.fromisoformat(stamp)
    if instant.tzinfo is None:
        raise ValueError(f"{stamp!r} has no time zone")
    return instant.timestamp()


async def _communicate(process: subprocess.Process) -> tuple[bytes, bytes]:
    """Read both pipes at once (A4), with a cap on each."""
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("the process was started without pipes")
    async with asyncio.TaskGroup() as group:
        out = group.create_task(_read_all(process.stdout))
        err = group.create_task(_read_tail(process.stderr))
    return out.result(), err.result()


async def _read_all(stream: asyncio.StreamReader) -> bytes:
    """Everything, or a little more than the cap; what follows is read and dropped."""
    kept = bytearray()
    while chunk := await stream.read(65536):
        if len(kept) <= _STDOUT_BYTES:
            kept += chunk
    return bytes(kept)


async def _read_tail(stream: asyncio.StreamReader) -> bytes:
    tail = b""
    while chunk := await stream.read(65536):
        tail = (tail + chunk)[-_STDERR_TAIL_BYTES:]
    return tail


async def _kill(process: subprocess.Process) -> None:
    """End the plugin and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # asyncio waits for the pipes too, and what went into a session of its own may hold them open
    # for ever, and with them the lock of all requests. There is no public way to let go of them.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
    await process.wait()


def _quote(err: bytes) -> str:
    text = " ".join(err.decode("utf-8", "replace").split())
    return f"; it said: {text}" if text else " and said nothing on standard error"
