"""From a kubeconfig, or from a pod's own service account, to a :class:`Connection`.

Files are read the way kubectl reads them: several in ``$KUBECONFIG`` are merged,
the first to name a thing wins,
and relative paths are relative to the file they stand in.
Own parser, because the packaged loader runs plugins and reads tokens while it parses, once (A2),
and merges with the last file winning.
What cannot be honoured is refused with its name, never skipped:
a kubeconfig with ``as`` read without it would act with more rights.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from canaryd.kube.credentials import (
    ClientCertificate,
    Credential,
    CredentialsError,
    FileSource,
    FixedSource,
    Source,
    basic,
    read_text,
)
from canaryd.kube.exec_plugin import ExecPlugin, ExecSource
from canaryd.kube.proxies import proxy_from_environment

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC_EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True, slots=True)
class Connection:
    """Which API server, how to trust it, and who we are to it."""

    server: str
    source: Source = field(default_factory=lambda: FixedSource(Credential()), repr=False)
    ca_file: str = ""
    ca_data: str = ""
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = ""
    namespace: str = "default"
    """Namespace of the context, or of the pod."""
    user: str = ""
    """What the kubeconfig calls us, which need not be our name to the server."""


def load_connection(
    kubeconfig: str = "",
    context: str = "",
    *,
    environ: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Connection:
    """Find the API server: the given file, else ``$KUBECONFIG``, else the pod's service account,
    else ``~/.kube/config``.

    Raises:
        CredentialsError: none is there, or what is there cannot be used.

    """
    if kubeconfig:
        return _from_kubeconfig([Path(kubeconfig).expanduser()], context, environ)
    if listed := environ.get("KUBECONFIG", ""):
        paths = [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
        present = [path for path in paths if path.exists()]
        if not present:
            raise CredentialsError(f"none of the files in KUBECONFIG exists: {listed}")
        return _from_kubeconfig(present, context, environ)
    if environ.get("KUBERNETES_SERVICE_HOST") and not context:
        return load_in_cluster(environ=environ, service_account=service_account)
    home = Path(environ.get("HOME", "~")).expanduser() / ".kube" / "config"
    if home.exists():
        return _from_kubeconfig([home], context, environ)
    raise CredentialsError(
        "no cluster to connect to: not in a pod, KUBECONFIG is not set, and there is no "
        f"{home}; give a file with --kubeconfig"
    )


def load_in_cluster(
    *,
    environ: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Connection:
    """Connect as the pod's service account.

    Raises:
        CredentialsError: this is no pod, or its token is not mounted.

    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise CredentialsError("not in a pod: KUBERNETES_SERVICE_HOST and _PORT are not set")
    token, ca = service_account / "token", service_account / "ca.crt"
    for path in (token, ca):
        if not path.is_file():
            raise CredentialsError(
                f"{path} is missing; does the pod have automountServiceAccountToken: false?"
            )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    namespace = service_account / "namespace"
    return Connection(
        server=server,
        source=FileSource(token_file=str(token)),
        ca_file=str(ca),
        proxy=_spoken(proxy_from_environment(server, environ), "the proxy of the environment"),
        namespace=read_text(str(namespace)).strip() if namespace.is_file() else "default",
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster, user or context, with what messages and relative paths need."""

    where: str
    folder: str
    fields: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self.fields.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(f"{key} must be a string")
        return value

    def flag(self, key: str) -> bool:
        value = self.fields.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(f"{key} must be true or false")
        return value is True

    def items(self, key: str) -> list[Any]:
        value = self.fields.get(key)
        if value is not None and not isinstance(value, list):
            raise self.error(f"{key} must be a list")
        return value or []

    def part(self, key: str) -> "_Entry":
        """A mapping inside this one; an empty one when it is missing."""
        value = self.fields.get(key)
        return self._below(key, {} if value is None else value)

    def parts(self, key: str) -> list["_Entry"]:
        """A list of mappings inside this one."""
        items = enumerate(self.items(key))
        return [self._below(f"{key}[{number}]", item) for number, item in items]

    def _below(self, where: str, value: Any) -> "_Entry":
        if not isinstance(value, dict):
            raise self.error(f"{where} must be a mapping")
        return _Entry(f"{self.where}: {where}", self.folder, value)

    def path(self, key: str) -> str:
        value = self.text(key)
        return os.path.normpath(os.path.join(self.folder, value)) if value else ""  # noqa: PTH118

    def data(self, key: str) -> str:
        """A field in base64, decoded; line breaks in it are allowed, as Go allows them."""
        try:
            encoded = "".join(self.text(key).splitlines())
            return base64.b64decode(encoded, validate=True).decode("utf-8")
        except ValueError as error:
            raise self.error(f"{key} is not base64 of a text: {error}") from error

    def error(self, what: str) -> CredentialsError:
        return CredentialsError(f"{self.where}: {what}")


def _from_kubeconfig(paths: list[Path], context: str, environ: Mapping[str, str]) -> Connection:
    documents = [_read(path) for path in paths]
    shown = ", ".join(str(path) for path in paths)
    name = context or next(filter(None, (d.text("current-context") for d in documents)), "")
    if not name:
        raise CredentialsError(f"{shown}: no current-context; name one with --context")
    chosen = _find(documents, "contexts", "context", name, shown)
    cluster = _find(documents, "clusters", "cluster", chosen.text("cluster"), shown)
    server = cluster.text("server").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise cluster.error("server must be a URL that begins with https:// or http://")
    user_name = chosen.text("user")
    user = _find(documents, "users", "user", user_name, shown) if user_name else None
    return Connection(
        server=server,
        source=_source(user, cluster) if user else FixedSource(Credential()),
        ca_file="" if cluster.text("certificate-authority-data") else _ca_file(cluster),
        ca_data=cluster.data("certificate-authority-data"),
        verify=not cluster.flag("insecure-skip-tls-verify"),
        tls_server_name=cluster.text("tls-server-name"),
        proxy=_proxy(cluster, server, environ),
        namespace=chosen.text("namespace") or "default",
        user=user_name,
    )


def _proxy(cluster: _Entry, server: str, environ: Mapping[str, str]) -> str:
    if given := cluster.text("proxy-url"):
        return _spoken(given, f"{cluster.where}: proxy-url")
    return _spoken(proxy_from_environment(server, environ), "the proxy of the environment")


def _spoken(proxy: str, where: str) -> str:
    """Refuse SOCKS, which would be spoken to in HTTP. The URL may hold a password: not shown."""
    if proxy and not proxy.startswith(("http://", "https://")):
        raise CredentialsError(f"{where} is not supported: it must be an http:// or https:// URL")
    return proxy


def _ca_file(cluster: _Entry) -> str:
    path = cluster.path("certificate-authority")
    if path and not Path(path).is_file():
        raise cluster.error(f"certificate-authority {path} does not exist")
    return path


def _read(path: Path) -> _Entry:
    try:
        document = yaml.safe_load(read_text(str(path)))
    except (yaml.YAMLError, ValueError, KeyError, RecursionError) as error:
        # PyYAML's constructors raise whatever their input makes them stumble over.
        words = " ".join(str(error).split())
        raise CredentialsError(f"{path} is not YAML: {words}") from error
    if not isinstance(document, dict):
        raise CredentialsError(f"{path} is no kubeconfig: it must be a mapping")
    return _Entry(str(path), str(path.parent.absolute()), document)


def _find(documents: list[_Entry], plural: str, singular: str, name: str, shown: str) -> _Entry:
    for document in documents:
        for item in document.parts(plural):
            if item.fields.get("name") == name:
                fields = item.part(singular).fields
                return _Entry(f"{document.where}: {singular} {name!r}", document.folder, fields)
    raise CredentialsError(f"{shown}: there is no {singular} {name!r} under {plural}")


def _source(user: _Entry, cluster: _Entry) -> Source:
    """Choose as kubectl does: plugin, token, password; a client certificate alone or beside a
    token.
    """
    for key in ("as", "as-uid", "as-groups", "as-user-extra"):
        if user.fields.get(key):
            raise user.error(f"{key!r} (impersonation) is not supported; use a user of its own")
    if user.fields.get("auth-provider"):
        raise user.error("auth-provider is not supported; use an exec plugin in its place")
    if user.fields.get("exec"):
        return ExecSource(_plugin(user.part("exec"), cluster))
    if user.text("tokenFile") or user.text("client-certificate"):
        return _file_source(user)
    return FixedSource(Credential(_authorization(user), _certificate(user)))


def _file_source(user: _Entry) -> Source:
    """Files, which may change. What is written in beside them would be lost, so it is refused."""
    certificate = user.text("client-certificate")
    for key in ("token", "client-certificate-data", "client-key-data"):
        # Of a token and a tokenFile, kubectl takes the file.
        if user.text(key) and (certificate or key != "token"):
            raise user.error(f"{key} together with files (tokenFile, client-certificate)")
    if bool(certificate) != bool(user.text("client-key")):
        raise user.error("a client certificate needs both its certificate and its key")
    return FileSource(
        token_file=user.path("tokenFile"),
        certificate_file=user.path("client-certificate"),
        key_file=user.path("client-key"),
    )


def _authorization(user: _Entry) -> str:
    if token := user.text("token").strip():
        return f"Bearer {token}"
    username = user.text("username")
    return basic(username, user.text("password")) if username else ""


def _certificate(user: _Entry) -> ClientCertificate | None:
    pem = user.data("client-certificate-data")
    key = user.data("client-key-data")
    if pem and not key and user.text("client-key"):
        key = read_text(user.path("client-key"))
    if bool(pem) != bool(key):
        raise user.error("a client certificate needs both its certificate and its key")
    return ClientCertificate(pem, key) if pem else None


def _plugin(config: _Entry, cluster: _Entry) -> ExecPlugin:
    if not config.text("command"):
        raise config.error("command is missing")
    if config.text("interactiveMode") == "Always":
        raise config.error("interactiveMode Always needs a terminal, which a daemon has not")
    return ExecPlugin(
        command=config.text("command"),
        api_version=config.text("apiVersion"),
        folder=config.folder,
        args=tuple(str(arg) for arg in config.items("args")),
        env={item.text("name"): item.text("value") for item in config.parts("env")},
        cluster=_cluster_info(cluster) if config.flag("provideClusterInfo") else None,
        install_hint=config.text("installHint"),
    )


def _cluster_info(cluster: _Entry) -> dict[str, Any]:
    """The cluster as plugins know it: certificate as data, configuration out of the extension."""
    ca_file = cluster.path("certificate-authority")
    ca_data = cluster.text("certificate-authority-data")
    if not ca_data and ca_file:
        ca_data = base64.b64encode(read_text(ca_file).encode()).decode("ascii")
    extensions = (item.fields for item in cluster.parts("extensions"))
    configs = (e.get("extension") for e in extensions if e.get("name") == _EXEC_EXTENSION)
    info = {
        "server": cluster.text("server"),
        "tls-server-name": cluster.text("tls-server-name"),
        "insecure-skip-tls-verify": cluster.flag("insecure-skip-tls-verify"),
        "certificate-authority-data": ca_data,
        "proxy-url": cluster.text("proxy-url"),
        "config": next(configs, None),
    }
    return {key: value for key, value in info.items() if value}
