"""Credential plugins, as real processes: hence in real time."""

import asyncio
import json
import os
import signal
import stat
import sys
import textwrap
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canaryd.kube import exec_plugin
from canaryd.kube.credentials import CredentialsError
from canaryd.kube.exec_plugin import ExecPlugin, ExecSource
from tests.fakes.clock import parse_timestamp

V1 = "client.authentication.k8s.io/v1"
TOKEN = {"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "secret-token"}}


@pytest.fixture
def plugin(tmp_path):
    """Make a plugin of a piece of Python; ``show`` prints an object as its answer."""

    def make(body, *, name="plugin", time_limit_s=30.0, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        script = textwrap.dedent(body)
        path.write_text(f"#!{sys.executable} -IS\nimport json, os, sys\n{script}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        settings = {"command": str(path), "api_version": V1, "folder": str(tmp_path)} | options
        return ExecSource(ExecPlugin(**settings), time_limit_s=time_limit_s)

    return make


def answering(answer, *, before=""):
    return f"{before}\nprint({json.dumps(answer)!r})"


def with_status(**status):
    return TOKEN | {"status": status}


# --- what it answers --------------------------------------------------------------------------------------------------


async def test_a_token_becomes_the_header(plugin):
    credential = await plugin(answering(TOKEN)).fetch()
    assert ("Bearer secret-token", None, None) == (
        credential.authorization,
        credential.certificate,
        credential.expires_at,
    )


async def test_A5_a_certificate_is_taken_with_its_key_and_its_own_end(plugin, authority):
    pair = authority.issue("canaryd", days=3)
    status = {"clientCertificateData": pair.pem, "clientKeyData": pair.key_pem}
    credential = await plugin(answering(with_status(**status))).fetch()
    assert ("", pair.pem, pair.key_pem, parse_timestamp(pair.end())) == (
        credential.authorization,
        credential.certificate.certificate,
        credential.certificate.key,
        credential.expires_at,
    )


@pytest.mark.parametrize(("days", "which"), [(1, "certificate"), (9, "answer")])
async def test_A5_of_two_ends_the_earlier_one_counts(plugin, authority, days, which):
    pair = authority.issue("canaryd", days=days)
    said = (datetime.now(UTC) + timedelta(days=5)).replace(microsecond=0)
    answer = with_status(
        token="t",
        clientCertificateData=pair.pem,
        clientKeyData=pair.key_pem,
        expirationTimestamp=said.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    ends = {"certificate": parse_timestamp(pair.end()), "answer": said.timestamp()}
    assert ends[which] == (await plugin(answering(answer)).fetch()).expires_at


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("no json: secret-token", "printed no JSON"),
        ("[" * 100_000, "printed no JSON"),
        (["secret-token"], "no ExecCredential"),
        (TOKEN | {"kind": "Secret"}, "no ExecCredential"),
        (TOKEN | {"apiVersion": "client.authentication.k8s.io/v1beta1"}, "another version than"),
        (TOKEN | {"status": None}, "neither a token nor a certificate"),
        (with_status(token=""), "neither a token nor a certificate"),
        (with_status(token=["secret-token"]), "no strings"),
        (with_status(clientCertificateData="x"), "both are needed"),
        (with_status(token="secret-token", clientKeyData="x"), "both are needed"),
        (with_status(clientCertificateData="x", clientKeyData="y"), "end that cannot be read"),
        (with_status(token="t", expirationTimestamp="soon"), "end that cannot be read"),
        (with_status(token="t", expirationTimestamp="2026-01-01T00:00:00"), "has no time zone"),
    ],
    ids=str,
)
async def test_an_answer_that_is_none_is_an_error_that_does_not_show_it(plugin, answer, why):
    shown = answer if isinstance(answer, str) else json.dumps(answer)
    with pytest.raises(CredentialsError, match=why) as caught:
        await plugin(f"print({shown!r})").fetch()
    assert "secret-token" not in str(caught.value)


# --- how it behaves ---------------------------------------------------------------------------------------------------


async def test_A3_a_plugin_that_fails_is_an_error_with_what_it_said_and_not_what_it_printed(plugin):
    body = (
        answering(TOKEN) + "\nprint('log in with\\n  example login', file=sys.stderr); sys.exit(3)"
    )
    with pytest.raises(
        CredentialsError, match="ended with code 3; it said: log in with example login"
    ) as caught:
        await plugin(body).fetch()
    assert "secret-token" not in str(caught.value)


async def test_A3_a_plugin_that_fails_without_a_word_says_that(plugin):
    with pytest.raises(CredentialsError, match="code 1 and said nothing on standard error"):
        await plugin("sys.exit(1)").fetch()


async def test_A4_two_megabytes_on_standard_error_do_not_hold_it_up(plugin):
    flood = "sys.stderr.write('x' * 2_000_000); sys.stderr.flush()"
    credential = await plugin(answering(TOKEN, before=flood), time_limit_s=10.0).fetch()
    assert "Bearer secret-token" == credential.authorization


async def test_A4_of_a_flood_on_standard_error_the_end_is_quoted(plugin):
    body = "sys.stderr.write('x' * 2_000_000 + ' the reason'); sys.exit(1)"
    with pytest.raises(CredentialsError, match="the reason") as caught:
        await plugin(body).fetch()
    assert 2500 > len(str(caught.value))


async def test_a_flood_on_standard_output_is_refused_and_not_kept(plugin):
    with pytest.raises(CredentialsError, match="printed more than 1048576 bytes"):
        await plugin("sys.stdout.write('x' * 3_000_000)").fetch()


async def test_of_a_flood_no_more_is_held_than_it_takes_to_refuse_it():
    stream = asyncio.StreamReader(limit=2**26)
    stream.feed_data(b"x" * 3_000_000)
    stream.feed_eof()
    limit = exec_plugin._STDOUT_BYTES
    assert limit < len(await exec_plugin._read_all(stream)) <= limit + 65536


async def test_a_plugin_that_does_not_end_is_ended_with_its_children(plugin, tmp_path):
    body = f"""
    import subprocess, time
    child = subprocess.Popen([sys.executable, "-IS", "-c", "import time; time.sleep(60)"])
    with open({str(tmp_path / "pid.new")!r}, "w") as file:
        file.write(str(child.pid))
    os.rename({str(tmp_path / "pid.new")!r}, {str(tmp_path / "pid")!r})
    time.sleep(60)
    """
    await _run_out_of_time(plugin, body, tmp_path / "pid")
    await _until_gone(int((tmp_path / "pid").read_text()))


async def test_a_daemon_that_a_plugin_left_behind_with_its_pipes_holds_nobody_up(plugin, tmp_path):
    body = f"""
    import subprocess, time
    sleep = [sys.executable, "-IS", "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleep, start_new_session=True)
    with open({str(tmp_path / "pid.new")!r}, "w") as file:
        file.write(str(child.pid))
    os.rename({str(tmp_path / "pid.new")!r}, {str(tmp_path / "pid")!r})
    time.sleep(60)
    """
    await _run_out_of_time(plugin, body, tmp_path / "pid")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


async def _run_out_of_time(plugin, body, proof):
    """Run a plugin into its time limit, after it has started what it is about."""
    limit_s = 0.2
    async with asyncio.timeout(10):
        while not proof.exists():  # a busy machine may need longer to start two processes
            with pytest.raises(CredentialsError, match=f"did not end within {limit_s:g} s"):
                await plugin(body, time_limit_s=limit_s).fetch()
            limit_s *= 2


async def test_a_request_that_is_given_up_ends_its_plugin(plugin, tmp_path):
    body = f"""
    import time
    with open({str(tmp_path / "pid.new")!r}, "w") as file:
        file.write(str(os.getpid()))
    os.rename({str(tmp_path / "pid.new")!r}, {str(tmp_path / "pid")!r})
    time.sleep(60)
    """
    fetching = asyncio.create_task(plugin(body).fetch())
    await _until((tmp_path / "pid").exists)
    fetching.cancel()
    with suppress(asyncio.CancelledError):
        await fetching
    await _until_gone(int((tmp_path / "pid").read_text()))


async def _until_gone(pid):
    """Wait until a process is dead; a zombie, which waits for its reaper, is."""
    status = Path(f"/proc/{pid}/stat")
    await _until(
        lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
    )


async def _until(is_so):
    """Look again and again: processes tell nobody of what they do."""
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def test_A2_a_plugin_is_run_anew_for_each_fetch(plugin, tmp_path):
    count = tmp_path / "count"
    body = f"""
    with open({str(count)!r}, "a") as file:
        file.write("x")
    print(json.dumps({{"apiVersion": {V1!r}, "kind": "ExecCredential",
        "status": {{"token": str(os.path.getsize({str(count)!r}))}}}}))
    """
    source = plugin(body)
    tokens = [(await source.fetch()).authorization for _ in range(2)]
    assert ["Bearer 1", "Bearer 2"] == tokens
    assert not source.has_changed()


# --- how it is started ------------------------------------------------------------------------------------------------

ECHO = """
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {
    "token": json.dumps({"args": sys.argv[1:], "info": json.loads(os.environ["KUBERNETES_EXEC_INFO"]),
        "extra": os.environ.get("EXTRA"), "home": os.environ.get("HOME_OF_TEST"), "stdin": sys.stdin.read()})}}))
"""


async def told(source):
    return json.loads((await source.fetch()).authorization.removeprefix("Bearer "))


async def test_arguments_are_given_as_they_are_written_without_a_shell(plugin):
    args = ("$HOME", "a b", "`id`", "; true", "*")
    assert list(args) == (await told(plugin(ECHO, args=args)))["args"]


@pytest.fixture
def _typing():
    """Somebody types into our standard input."""
    ours, theirs = os.pipe()
    os.write(theirs, b"typed")
    os.close(theirs)
    before = os.dup(0)
    os.dup2(ours, 0)
    yield
    os.dup2(before, 0)
    os.close(before)
    os.close(ours)


@pytest.mark.usefixtures("_typing")
async def test_a_plugin_gets_our_environment_and_its_own_and_no_terminal(plugin, monkeypatch):
    monkeypatch.setenv("HOME_OF_TEST", "ours")
    heard = await told(plugin(ECHO, env={"EXTRA": "its own"}))
    assert ("ours", "its own", "") == (heard["home"], heard["extra"], heard["stdin"])


async def test_a_plugin_is_told_the_cluster_when_it_asks_for_it(plugin):
    cluster = {"server": "https://host", "config": {"audience": "x"}}
    with_info, without = plugin(ECHO, cluster=cluster), plugin(ECHO, name="other")
    expected = {"apiVersion": V1, "kind": "ExecCredential", "spec": {"interactive": False}}
    assert expected == (await told(without))["info"]
    expected["spec"]["cluster"] = cluster
    assert expected == (await told(with_info))["info"]


async def test_a_command_with_a_slash_is_relative_to_the_kubeconfig(plugin, tmp_path):
    plugin(answering(TOKEN), name="bin/plugin")
    source = plugin("", name="other", command="bin/plugin", folder=str(tmp_path))
    assert "Bearer secret-token" == (await source.fetch()).authorization


async def test_a_bare_command_is_looked_up_in_the_path(plugin, tmp_path, monkeypatch):
    plugin(answering(TOKEN), name="some-plugin")
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    source = plugin("", name="other", command="some-plugin")
    assert "Bearer secret-token" == (await source.fetch()).authorization


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"command": "no-such-plugin"}, "'no-such-plugin' is not in PATH. Install it"),
        ({"command": "./no-such-plugin"}, "No such file"),
        ({"command": "./folder"}, "Permission denied"),
        ({"args": ("a\0b",)}, "null byte"),
    ],
    ids=["bare", "relative", "a folder", "a NUL in an argument"],
)
async def test_a_plugin_that_cannot_be_started_says_why_and_how_to_get_it(
    plugin, tmp_path, options, why
):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CredentialsError, match=f"cannot be started.*{why}"):
        await plugin("", install_hint="Install it", **options).fetch()


@pytest.mark.parametrize("version", ["client.authentication.k8s.io/v1alpha1", "v1", ""])
def test_versions_nobody_speaks_are_refused_with_those_that_are_spoken(plugin, version):
    with pytest.raises(CredentialsError, match=r"is not known; use .*/v1 or .*/v1beta1"):
        plugin("", api_version=version)


async def test_the_older_version_is_spoken_too(plugin):
    version = "client.authentication.k8s.io/v1beta1"
    source = plugin(answering(TOKEN | {"apiVersion": version}), api_version=version)
    assert "Bearer secret-token" == (await source.fetch()).authorization
