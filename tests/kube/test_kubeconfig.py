"""From kubeconfigs and pods to connections."""

import base64
import json
import sys

import pytest
import yaml

from canaryd.core.kinds import CONFIG_MAP
from canaryd.kube.client import KubeClient
from canaryd.kube.credentials import CredentialsError, FileSource, FixedSource
from canaryd.kube.exec_plugin import ExecSource
from canaryd.kube.kubeconfig import load_connection
from canaryd.kube.proxies import proxy_from_environment
from tests.fakes.apiserver import FakeApiServer

EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "plugin"}


def b64(text):
    return base64.b64encode(text.encode()).decode()


def document(cluster=None, user=None, context=None, name="one"):
    return {
        "clusters": [
            {"name": f"{name}-c", "cluster": {"server": f"https://{name}"} | (cluster or {})}
        ],
        "users": [{"name": f"{name}-u", "user": {} if user is None else user}],
        "contexts": [
            {
                "name": name,
                "context": {"cluster": f"{name}-c", "user": f"{name}-u"} | (context or {}),
            }
        ],
        "current-context": name,
    }


@pytest.fixture
def write(tmp_path):
    def write(content, name="config"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def load(path, context="", **environ):
    return load_connection(str(path), context, environ=environ)


async def header_of(connection):
    return (await connection.source.fetch()).authorization


# --- which file -------------------------------------------------------------------------------------------------------


def test_files_in_the_environment_are_merged_and_the_first_to_name_a_thing_wins(write):
    first = write(document(), "first")
    second = write(
        document(cluster={"server": "https://elsewhere"}) | {"current-context": "two"}, "second"
    )
    third = write(document(name="two"), "third")
    listed = f"{first}:/nowhere::{second}:{third}"
    one = load_connection(environ={"KUBECONFIG": listed})
    two = load_connection(context="two", environ={"KUBECONFIG": listed})
    assert ("https://one", "https://two") == (one.server, two.server)


def test_a_given_file_comes_before_the_environment_and_the_pod(write):
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    given = write(document(), "given")
    assert "https://one" == load(given, KUBECONFIG="/nowhere", **pod).server


def test_the_file_at_home_comes_last(write, tmp_path):
    write(document(), ".kube/config")
    assert "https://one" == load_connection(environ={"HOME": str(tmp_path)}).server


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"HOME": "/nowhere"}, "not in a pod, KUBECONFIG is not set, and there is no /nowhere"),
        ({"KUBECONFIG": "/nowhere/a:/nowhere/b"}, "none of the files in KUBECONFIG exists"),
    ],
    ids=["nothing", "KUBECONFIG"],
)
def test_where_there_is_nothing_it_says_what_was_looked_for(environ, why):
    with pytest.raises(CredentialsError, match=why):
        load_connection(environ=environ)


@pytest.fixture
def pod(tmp_path):
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("pod-token\n")
    (folder / "ca.crt").write_text("CA")
    (folder / "namespace").write_text("canaryd\n")
    return folder


async def test_A7_in_a_pod_the_service_account_is_used_as_it_stands_in_its_files(pod):
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    connection = load_connection(environ=environ, service_account=pod)
    assert ("https://10.0.0.1:443", str(pod / "ca.crt"), "canaryd") == (
        connection.server,
        connection.ca_file,
        connection.namespace,
    )
    assert "Bearer pod-token" == await header_of(connection)
    (pod / "token").write_text("rotated\n")
    assert connection.source.has_changed()
    assert "Bearer rotated" == await header_of(connection)


def test_an_address_of_version_six_is_bracketed(pod):
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert "https://[fd00::1]:443" == load_connection(environ=environ, service_account=pod).server


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_pod_without_its_files_says_which_is_missing(pod, missing):
    (pod / missing).unlink()
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(
        CredentialsError, match=f"{missing} is missing.*automountServiceAccountToken"
    ):
        load_connection(environ=environ, service_account=pod)


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_cluster_and_context_are_read(write):
    cluster = {
        "server": "https://host:6443/",
        "certificate-authority-data": b64("the CA"),
        "certificate-authority": "/nowhere/because/data/wins",
        "tls-server-name": "name",
        "insecure-skip-tls-verify": True,
        "proxy-url": "http://proxy:3128",
    }
    connection = load(write(document(cluster, context={"namespace": "shop"})))
    assert ("https://host:6443", "the CA", "", "name", False, "http://proxy:3128", "shop") == (
        connection.server,
        connection.ca_data,
        connection.ca_file,
        connection.tls_server_name,
        connection.verify,
        connection.proxy,
        connection.namespace,
    )


def test_paths_are_relative_to_the_file_they_stand_in(write):
    write("CA", "deep/pki/ca.crt")
    path = write(document({"certificate-authority": "pki/ca.crt"}), "deep/config")
    assert str(path.parent / "pki" / "ca.crt") == load(path).ca_file


def test_base64_may_be_broken_into_lines(write):
    data = b64("the CA " * 30)
    broken = "\n".join(data[at : at + 64] for at in range(0, len(data), 64))
    assert "the CA " * 30 == load(write(document({"certificate-authority-data": broken}))).ca_data


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({}, ""),
        (None, ""),
        ({"token": "abc\n"}, "Bearer abc"),
        ({"username": "me", "password": "pass"}, f"Basic {b64('me:pass')}"),
        ({"token": "abc", "username": "me"}, "Bearer abc"),
    ],
    ids=str,
)
async def test_fixed_credentials_become_the_header(write, user, header):
    content = document()
    content["users"][0]["user"] = user
    connection = load(write(content))
    assert isinstance(connection.source, FixedSource)
    assert header == await header_of(connection)


async def test_a_context_without_a_user_is_anonymous_on_purpose(write):
    content = document(context={"user": ""})
    assert "" == await header_of(load(write(content)))


async def test_A2_a_token_file_is_read_again_when_it_changes(write):
    token = write("one", "token")
    connection = load(write(document(user={"tokenFile": "token", "token": "the file wins"})))
    assert isinstance(connection.source, FileSource)
    assert "Bearer one" == await header_of(connection)
    token.write_text("another")
    assert connection.source.has_changed()
    assert "Bearer another" == await header_of(connection)


async def test_certificates_are_taken_from_data_and_files(write, authority):
    pair = authority.issue("canaryd")
    data = {"client-certificate-data": b64(pair.pem), "client-key-data": b64(pair.key_pem)}
    mixed = {"client-certificate-data": b64(pair.pem), "client-key": str(pair.key)}
    files = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
    for user in (data, mixed, files):
        credential = await load(write(document(user=user))).source.fetch()
        assert (pair.pem, pair.key_pem) == (
            credential.certificate.certificate,
            credential.certificate.key,
        )


def test_a_plugin_is_described_in_full(write):
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    write("the CA", "ca.crt")
    user = {
        "exec": EXEC
        | {
            "command": "./bin/plugin",
            "args": ["--port", 8080],
            "env": [{"name": "A", "value": "b"}],
            "provideClusterInfo": True,
            "interactiveMode": "IfAvailable",
            "installHint": "get it",
        }
    }
    cluster = {"certificate-authority": "ca.crt", "extensions": [{"name": "other"}, extension]}
    path = write(document(cluster, user))
    connection = load(path)
    assert isinstance(connection.source, ExecSource)
    plugin = connection.source._plugin
    assert ("./bin/plugin", ("--port", "8080"), {"A": "b"}, str(path.parent), "get it") == (
        plugin.command,
        plugin.args,
        plugin.env,
        plugin.folder,
        plugin.install_hint,
    )
    assert plugin.cluster == {
        "server": "https://one",
        "certificate-authority-data": b64("the CA"),
        "config": {"audience": "x"},
    }


def test_a_plugin_is_not_run_while_a_kubeconfig_is_read(write, tmp_path):
    proof = tmp_path / "proof"
    args = ["-c", f"open({str(proof)!r}, 'w')"]
    load(write(document(user={"exec": EXEC | {"command": sys.executable, "args": args}})))
    assert not proof.exists()


@pytest.mark.parametrize(
    "user",
    [
        {"auth-provider": {"name": "oidc", "config": {"refresh-token": "rotates"}}},
        {"as": "admin", "token": "t"},
        {"as-groups": ["system:masters"], "token": "t"},
        {"as-uid": "1"},
        {"as-user-extra": {"a": ["b"]}},
    ],
    ids=lambda user: next(iter(user)),
)
def test_A6_what_cannot_be_honoured_is_refused_by_name_and_never_skipped(write, user):
    with pytest.raises(CredentialsError, match=f"{next(iter(user))}.* not supported"):
        load(write(document(user=user)))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a: [", "is not YAML"),
        ("", "is no kubeconfig"),
        ("[]", "is no kubeconfig"),
        ({"current-context": "one"}, "there is no context 'one' under contexts"),
        (document() | {"current-context": ""}, "no current-context; name one with --context"),
        (document() | {"current-context": 7}, "current-context must be a string"),
        (document() | {"contexts": 7}, "contexts must be a list"),
        (document() | {"contexts": ["one"]}, r"contexts\[0\] must be a mapping"),
        (document() | {"clusters": []}, "there is no cluster 'one-c' under clusters"),
        (document() | {"users": []}, "there is no user 'one-u' under users"),
        (document({"server": ""}), "cluster 'one-c': server must be a URL"),
        (document({"server": ["https://a"]}), "server must be a string"),
        (
            document({"certificate-authority": "/nowhere"}),
            "certificate-authority /nowhere does not exist",
        ),
        (
            document({"certificate-authority-data": "%%"}),
            "certificate-authority-data is not base64",
        ),
        (
            document({"insecure-skip-tls-verify": "false"}),
            "insecure-skip-tls-verify must be true or false",
        ),
        (
            document({"extensions": {}}, {"exec": EXEC | {"provideClusterInfo": True}}),
            "extensions must be a list",
        ),
        (document(user={"exec": ["plugin"]}), "exec must be a mapping"),
        (document(user={"exec": EXEC | {"command": ""}}), "exec: command is missing"),
        (document(user={"exec": EXEC | {"args": "--all"}}), "args must be a list"),
        (document(user={"exec": EXEC | {"env": ["A=b"]}}), r"env\[0\] must be a mapping"),
        (document(user={"exec": EXEC | {"interactiveMode": "Always"}}), "needs a terminal"),
        (document(user={"exec": {"command": "plugin"}}), "apiVersion '' is not known"),
        (document(user={"client-certificate-data": b64("x")}), "both its certificate and its key"),
        (document(user={"client-certificate": "x"}), "both its certificate and its key"),
        (
            document(user={"tokenFile": "t", "client-key-data": "x"}),
            "client-key-data together with files",
        ),
        (
            document(user={"client-certificate": "x", "client-key": "y", "token": "t"}),
            "token together with files",
        ),
        (document(user="token"), "user must be a mapping"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kubeconfig_that_is_wrong_is_named_with_the_place_and_never_crashes(write, content, why):
    path = write(content)
    with pytest.raises(CredentialsError, match=why) as caught:
        load(path)
    assert str(path) in str(caught.value) or "exec plugin" in str(caught.value)


@pytest.mark.looptime
async def test_a_kubeconfig_of_the_fake_server_works(tmp_path):
    async with FakeApiServer() as server:
        server.tokens = {"test"}
        connection = load_connection(str(server.kubeconfig(tmp_path)))
        async with KubeClient(connection, clock=server.clock) as client:
            assert [] == await client.list(CONFIG_MAP, None)


async def test_A6_a_plugin_keeps_its_own_rotated_secrets(write, tmp_path):
    """What a plugin stores is its own business: nothing of a kubeconfig is written by us."""
    script = tmp_path / "plugin"
    answer = {"apiVersion": EXEC["apiVersion"], "kind": "ExecCredential", "status": {"token": "t"}}
    script.write_text(f"#!{sys.executable} -IS\nprint({json.dumps(answer)!r})\n")
    script.chmod(0o700)
    path = write(document(user={"exec": EXEC | {"command": str(script)}}))
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert "Bearer t" == await header_of(load(path))
    assert before == (path.read_bytes(), path.stat().st_mtime_ns)


# --- the proxy of the environment -------------------------------------------------------------------------------------

PROXY = {"HTTPS_PROXY": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://host", PROXY, "http://proxy:3128"),
        ("https://host", {"https_proxy": "http://lower"} | PROXY, "http://lower"),
        ("https://host", {"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ("http://host", PROXY, ""),
        ("http://host", {"HTTP_PROXY": "http://plain"}, "http://plain"),
        ("https://localhost:6443", PROXY, ""),
        ("https://127.0.0.1:6443", PROXY, ""),
        ("https://[::1]:6443", PROXY, ""),
        ("https://10.1.2.3", PROXY | {"NO_PROXY": "a, 10.0.0.0/8"}, ""),
        ("https://11.1.2.3", PROXY | {"NO_PROXY": "10.0.0.0/8"}, "http://proxy:3128"),
        ("https://api.example.com", PROXY | {"no_proxy": "example.com"}, ""),
        ("https://api.example.com", PROXY | {"NO_PROXY": ".Example.com"}, ""),
        ("https://api.example.com", PROXY | {"NO_PROXY": "*.example.com"}, ""),
        ("https://badexample.com", PROXY | {"NO_PROXY": "example.com"}, "http://proxy:3128"),
        ("https://host", PROXY | {"NO_PROXY": "*"}, ""),
        ("https://host", PROXY | {"NO_PROXY": " , "}, "http://proxy:3128"),
    ],
    ids=str,
)
def test_X1_the_proxy_is_looked_up_once_from_the_environment(url, environ, proxy):
    assert proxy == proxy_from_environment(url, environ)


def test_a_proxy_that_would_not_understand_us_is_refused_without_its_password(write, pod):
    proxy = "socks5://me:secret@proxy:1080"
    with pytest.raises(
        CredentialsError, match="cluster 'one-c': proxy-url is not supported"
    ) as given:
        load(write(document({"proxy-url": proxy})))
    with pytest.raises(CredentialsError, match="proxy of the environment") as found:
        load(write(document()), HTTPS_PROXY=proxy)
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(CredentialsError, match="proxy of the environment"):
        load_connection(environ=environ | {"HTTPS_PROXY": proxy}, service_account=pod)
    assert "secret" not in str(given.value) + str(found.value)


def test_X1_a_connection_carries_the_proxy_it_was_loaded_with(write):
    assert "http://proxy:3128" == load(write(document()), **PROXY).proxy
    assert "" == load(write(document()), NO_PROXY="one", **PROXY).proxy
