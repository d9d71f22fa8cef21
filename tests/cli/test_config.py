"""``canaryd config``: the values in force and where they come from; never a traceback."""

import asyncio
import json
import signal
import sys
from textwrap import dedent

import pytest
import yaml

from canaryd.cli import connect
from canaryd.cli.exits import CommandError, Exit
from canaryd.core.kinds import CANARY
from canaryd.kube.credentials import CredentialsError
from canaryd.ports import errors
from tests.fakes.apiserver import (
    CLOSE,
    EMPTY,
    HANG,
    HTML,
    FakeApiServer,
    Refuse,
    too_many_requests,
)

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: podinfo
  namespace: shop
  annotations:
    canaryd.io/enabled: "true"
    canaryd.io/weights: "5,20,50"
    canaryd.io/metric.declines: "<= 2"
    canaryd.io/metric.declines.query: |
      sum(rate(declines_total{namespace="{{ namespace }}"}[1m]))
        /
      sum(rate(requests_total{namespace="{{ namespace }}"}[1m]))
"""
NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  annotations:
    defaults.canaryd.io/interval: 30s
"""
OTHER = DEPLOYMENT.replace("podinfo", "other")


def canary(**changes):
    return {
        "apiVersion": "canaryd.io/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "podinfo", "namespace": "shop"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "provider": "nginx",
            "interval": "30s",
            "values": {
                "weights": {"value": "5,20,50", "from": "deployment"},
                "interval": {"value": "30s", "from": "namespace"},
                "strategy": {"value": "canary", "from": "built-in"},
                "retry": {"value": "", "from": "built-in"},
            },
        },
    } | changes


# --- offline ---


@pytest.fixture
def offline(canaryd, tmp_path, monkeypatch):
    """Resolve a file of the test's own folder."""
    monkeypatch.chdir(tmp_path)

    def run(text, *arguments, **more):
        (tmp_path / "a.yaml").write_text(text)
        return canaryd("config", "--file", "a.yaml", *arguments, **more)

    return run


def rows(outcome):
    """The table as a mapping of keys to the rest of their rows."""
    head, *lines = outcome.out.splitlines()
    assert ["KEY", "VALUE", "FROM"] == head.split()
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}


def test_a_file_is_resolved_with_the_origin_of_every_value(offline):
    outcome = offline(f"{DEPLOYMENT}---\n{NAMESPACE}")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    found = {key: row.split() for key, row in rows(outcome).items()}
    assert ["5,20,50", "deployment"] == found["weights"]
    assert ["30s", "namespace"] == found["interval"]
    assert ["canary", "built-in"] == found["strategy"]


def test_a_table_leaves_out_what_has_no_value_and_keeps_a_row_on_its_line(offline):
    found = rows(offline(DEPLOYMENT))
    assert "retry" not in found
    assert found["metric.declines.query"].startswith('sum(rate(declines_total{namespace="{{ names')
    assert found["metric.declines.query"].endswith("…  deployment")


def test_keys_that_another_strategy_has_are_not_among_those_in_force(offline):
    steps = "weight 5; pause 2m; weight 50"
    text = DEPLOYMENT.replace('canaryd.io/weights: "5,20,50"', f'canaryd.io/steps: "{steps}"')
    found = rows(offline(text))
    assert found["steps"].startswith(steps)
    assert set() == {"weights", "step-weight", "max-weight", "iterations"} & set(found)


def test_a_table_has_straight_columns(offline):
    head, *lines = offline(DEPLOYMENT).out.splitlines()
    second, third = head.index("VALUE"), head.index("FROM")
    assert all(" " == line[second - 1] != line[second] for line in lines)
    assert all(" " == line[third - 1] != line[third] for line in lines)


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_every_value(offline, output, read):
    report = read(offline(DEPLOYMENT, "-o", output).out)
    assert {"object", "values"} == report.keys()
    assert "Deployment shop/podinfo" == report["object"]
    assert {"value": "5,20,50", "from": "deployment"} == report["values"]["weights"]
    assert {"value": "", "from": "built-in"} == report["values"]["retry"]
    assert "\n" in report["values"]["metric.declines.query"]["value"]


def test_standard_input_is_a_file(canaryd):
    outcome = canaryd("config", "--file", "-", "-o", "json", stdin=DEPLOYMENT.encode())
    assert "Deployment shop/podinfo" == json.loads(outcome.out)["object"]


@pytest.mark.parametrize(
    "arguments",
    [["other"], ["deploy/other"], ["deployment.apps/other"], ["other", "-n", "shop"]],
    ids=["a name", "as kubectl says it", "with its group", "with its namespace"],
)
def test_one_of_several_is_chosen_by_its_name(offline, arguments):
    outcome = offline(f"{DEPLOYMENT}---\n{OTHER}", *arguments, "-o", "json")
    assert "Deployment shop/other" == json.loads(outcome.out)["object"]


def test_a_deployment_without_a_namespace_is_in_the_one_that_is_given(offline):
    text = DEPLOYMENT.replace("  namespace: shop\n", "") + f"---\n{NAMESPACE}"
    outcome = offline(text, "-n", "shop", "-o", "json")
    values = json.loads(outcome.out)["values"]
    assert {"value": "30s", "from": "namespace"} == values["interval"]


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        (
            "kind: Service\n",
            [],
            "a.yaml: no Deployment in it has annotations of canaryd",
        ),
        (
            f"{DEPLOYMENT}---\n{OTHER}",
            [],
            "a.yaml: name one of: Deployment shop/podinfo, Deployment shop/other",
        ),
        (
            f"{DEPLOYMENT}---\n{DEPLOYMENT.replace('shop', 'ops')}---\n{OTHER}",
            ["podinfo"],
            "a.yaml: name one of: Deployment shop/podinfo, Deployment ops/podinfo",
        ),
        (
            DEPLOYMENT,
            ["nobody"],
            "a.yaml: there is no such annotated Deployment, only: Deployment shop/podinfo",
        ),
        (
            DEPLOYMENT,
            ["podinfo", "-n", "ops"],
            "a.yaml: there is no such annotated Deployment, only: Deployment shop/podinfo",
        ),
        ("a: [\n", [], "a.yaml:2: is not YAML: did not find expected node content"),
    ],
    ids=["none", "several", "namesakes", "another name", "another namespace", "no YAML"],
)
def test_a_file_without_the_one_that_is_meant_is_a_slip(offline, text, arguments, expected):
    outcome = offline(text, *arguments)
    assert (Exit.USAGE, "", f"canaryd: {expected}\n") == (outcome.code, outcome.out, outcome.err)


def test_annotations_with_problems_have_no_values_in_force(offline):
    text = DEPLOYMENT.replace('"5,20,50"', '"50,20"') + "    canaryd.io/x: a\n"
    outcome = offline(text)
    assert (Exit.INVALID, "") == (outcome.code, outcome.out)
    head, first, second = outcome.err.splitlines()
    assert "canaryd: the annotations have problems:" == head
    assert first.startswith("  a.yaml:8: Deployment shop/podinfo: canaryd.io/weights: ")
    assert second.startswith("  a.yaml:14: Deployment shop/podinfo: canaryd.io/x: ")


def test_problems_of_others_in_the_file_are_not_held_against_it(offline):
    service = 'kind: Service\nmetadata: {name: a, annotations: {canaryd.io/enabled: "true"}}\n'
    elsewhere = NAMESPACE.replace("shop", "ops").replace("30s", "soon")
    outcome = offline(f"{DEPLOYMENT}---\n{service}---\n{elsewhere}---\n{OTHER}", "podinfo")
    assert (Exit.OK, "") == (outcome.code, outcome.err)


def test_problems_of_its_namespace_are_its_own(offline):
    outcome = offline(f"{DEPLOYMENT}---\n{NAMESPACE.replace('30s', 'soon')}")
    assert Exit.INVALID == outcome.code
    assert "a.yaml:20: Namespace shop: defaults.canaryd.io/interval: " in outcome.err


@pytest.mark.parametrize("flag", ["--kubeconfig", "--context"])
def test_a_file_and_a_cluster_exclude_each_other(offline, flag):
    outcome = offline(DEPLOYMENT, flag, "x")
    assert Exit.USAGE == outcome.code
    assert "--file needs no cluster; leave out --kubeconfig and --context" in outcome.err


@pytest.mark.parametrize("name", ["service/podinfo", "deploy/", "/podinfo/", "../podinfo"])
def test_a_name_of_something_else_is_refused(canaryd, name):
    outcome = canaryd("config", name)
    assert Exit.USAGE == outcome.code
    assert "is no name of a Deployment, such as podinfo" in outcome.err


# --- with a cluster ---


@pytest.fixture
async def server():
    async with FakeApiServer() as fake:
        yield fake


@pytest.fixture
def config(canaryd, server, tmp_path):
    """Ask the fake API server: the command has an event loop of its own, so it gets a thread."""
    kubeconfig = str(server.kubeconfig(tmp_path))

    async def run(*arguments):
        return await asyncio.to_thread(canaryd, "config", "--kubeconfig", kubeconfig, *arguments)

    return run


async def test_what_the_daemon_wrote_down_is_shown(server, config):
    server.put(canary())
    outcome = await config("podinfo", "-n", "shop")
    assert (Exit.OK, "") == (outcome.code, outcome.err)
    assert (
        dedent("""\
        KEY       VALUE    FROM
        interval  30s      namespace
        strategy  canary   built-in
        weights   5,20,50  deployment
    """)
        == outcome.out
    )


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
async def test_programs_get_what_the_daemon_wrote_down(server, config, output, read):
    server.put(canary())
    outcome = await config("deploy/podinfo", "-n", "shop", "-o", output)
    expected = {"object": "Deployment shop/podinfo", "values": canary()["spec"]["values"]}
    assert expected == read(outcome.out)


async def test_without_a_namespace_it_is_that_of_the_context(server, config):
    server.put(canary(metadata={"name": "podinfo", "namespace": "default"}))
    outcome = await config("podinfo", "-o", "json")
    assert "Deployment default/podinfo" == json.loads(outcome.out)["object"]


async def test_only_one_object_is_read_and_nothing_is_written(server, config):
    server.put(canary())
    await config("podinfo", "-n", "shop")
    assert [("get", CANARY.resource, "shop", "podinfo")] == [
        (seen.verb, seen.resource, seen.namespace, seen.name) for seen in server.requests
    ]


async def test_refused_annotations_are_told_beside_the_values_in_force(server, config):
    condition = {
        "type": "ConfigValid",
        "status": "False",
        "reason": "ConfigInvalid",
        "message": "canaryd.io/x: is not a known key\n\x1b[31m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    server.put(canary(status={"conditions": [condition]}))
    outcome = await config("podinfo", "-n", "shop")
    assert Exit.OK == outcome.code
    assert (
        "canaryd: the annotations are refused: canaryd.io/x: is not a known key\\n\\x1b[31m\n"
    ) == outcome.err
    assert "weights" in outcome.out


async def test_other_conditions_are_not_told(server, config):
    conditions = [
        {"type": kind, "status": status, "reason": "X", "message": "x", "lastTransitionTime": at}
        for kind, status in (("ConfigValid", "True"), ("Ready", "False"))
        for at in ("2026-01-01T00:00:00Z",)
    ]
    server.put(canary(status={"conditions": conditions}))
    outcome = await config("podinfo", "-n", "shop")
    assert (Exit.OK, "") == (outcome.code, outcome.err)


async def test_nothing_a_tenant_writes_can_move_the_cursor(server, config):
    values = {"a\x1b[2J": {"value": "b\x1b[2J\nc", "from": "d\x1b[2J"}}
    server.put(canary(spec={"values": values}))
    outcome = await config("podinfo", "-n", "shop")
    assert all(line.isprintable() for line in outcome.out.split("\n"))
    assert 2 == len(outcome.out.splitlines())


@pytest.mark.parametrize("spec", [{}, {"values": None}, {"values": "x"}, None])
async def test_a_canary_without_values_is_told(server, config, spec):
    server.put(canary(spec=spec))
    outcome = await config("podinfo", "-n", "shop")
    expected = "canaryd: the Canary has no values: was it written by another version?\n"
    assert (Exit.FAILED, "", expected) == (outcome.code, outcome.out, outcome.err)


async def test_an_app_nobody_knows_is_told_with_what_to_look_at(config):
    outcome = await config("podinfo", "-n", "shop")
    assert (Exit.FAILED, "") == (outcome.code, outcome.out)
    assert (
        "canaryd: there is no Canary shop/podinfo: is canaryd installed, does it watch this "
        'namespace, and does the Deployment carry canaryd.io/enabled: "true"?\n'
    ) == outcome.err


READ = "get canaries.canaryd.io 'podinfo' in namespace 'shop'"


@pytest.mark.parametrize(
    ("fault", "code", "expected"),
    [
        (Refuse(403, "Forbidden", "no"), Exit.UNREACHABLE, f"may not {READ}: no"),
        (Refuse(401, "Unauthorized", "who?"), Exit.UNREACHABLE, f"{READ}: who?"),
        (CLOSE, Exit.UNREACHABLE, f"{READ}: "),
        (too_many_requests(60), Exit.TIMED_OUT, f"{READ}: Too many requests"),
        (Refuse(409, "Conflict", "other"), Exit.CONFLICT, f"{READ}: other"),
        (Refuse(410, "Gone", "old"), Exit.CONFLICT, f"{READ}: old"),
        (Refuse(500, "InternalError", "oops"), Exit.FAILED, f"{READ}: oops"),
        (HTML, Exit.FAILED, f"{READ}: HTTP 502 without a Status"),
        (EMPTY, Exit.FAILED, f"{READ}: "),
    ],
    ids=[
        "forbidden",
        "unauthorized",
        "reset",
        "busy",
        "conflict",
        "stale",
        "failing",
        "a page of a load balancer",
        "nothing",
    ],
)
async def test_a_refusal_is_one_sentence_and_a_code(server, config, fault, code, expected):
    server.faults.on(fault)
    outcome = await config("podinfo", "-n", "shop")
    assert (code, "") == (outcome.code, outcome.out)
    assert outcome.err.startswith(f"canaryd: {expected}")
    assert 1 == outcome.err.count("\n")
    assert "<html>" not in outcome.err


async def test_a_server_that_is_not_there_is_one_sentence(canaryd, tmp_path):
    async with FakeApiServer() as gone:
        kubeconfig = str(gone.kubeconfig(tmp_path))
    outcome = await asyncio.to_thread(canaryd, "config", "podinfo", "--kubeconfig", kubeconfig)
    assert Exit.UNREACHABLE == outcome.code
    assert "the API server cannot be reached" in outcome.err
    assert 1 == outcome.err.count("\n")


async def test_a_server_that_does_not_answer_is_waited_for_so_long(server, config, monkeypatch):
    monkeypatch.setattr(connect, "TIME_LIMIT_S", 0.05)
    server.faults.on(HANG)
    outcome = await config("podinfo", "-n", "shop")
    assert (Exit.TIMED_OUT, "canaryd: no answer within 0.05 s\n") == (outcome.code, outcome.err)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--kubeconfig", "nowhere"], "nowhere"),
        (["--kubeconfig", "KUBECONFIG", "--context", "other"], "there is no context 'other'"),
    ],
    ids=["no file", "no context"],
)
async def test_without_a_way_to_connect_it_says_why(canaryd, server, tmp_path, arguments, expected):
    path = str(server.kubeconfig(tmp_path))
    given = [path if word == "KUBECONFIG" else word for word in arguments]
    outcome = await asyncio.to_thread(canaryd, "config", "podinfo", *given)
    assert (Exit.UNREACHABLE, "") == (outcome.code, outcome.out)
    assert expected in outcome.err
    assert 1 == outcome.err.count("\n")


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (errors.Unreachable("x"), Exit.UNREACHABLE),
        (errors.Unauthorized("x"), Exit.UNREACHABLE),
        (errors.Forbidden("x"), Exit.UNREACHABLE),
        (errors.NotFound("x"), Exit.FAILED),
        (errors.Conflict("x"), Exit.CONFLICT),
        (errors.Gone("x"), Exit.CONFLICT),
        (errors.Invalid("x"), Exit.FAILED),
        (errors.TooManyRequests("x"), Exit.TIMED_OUT),
        (errors.ServerError("x"), Exit.FAILED),
        (errors.NotLeading("x"), Exit.FAILED),
        (CredentialsError("x"), Exit.UNREACHABLE),
        (TimeoutError(), Exit.TIMED_OUT),
        (OSError("x"), Exit.FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
def test_every_trouble_has_a_code(trouble, code):
    with pytest.raises(CommandError) as caught, connect.troubles_as_exits():
        raise trouble
    assert code == caught.value.exit_code


def test_every_error_of_the_api_server_has_been_thought_of():
    told = {"Unreachable", "Unauthorized", "Forbidden", "NotFound", "Conflict", "Gone", "Invalid"}
    told |= {"TooManyRequests", "ServerError", "NotLeading"}
    assert told == {kind.__name__ for kind in errors.KubeError.__subclasses__()}


@pytest.mark.parametrize(
    "trouble", [BrokenPipeError(), ZeroDivisionError(), asyncio.CancelledError()]
)
def test_what_is_no_trouble_of_a_cluster_passes_through(trouble):
    with pytest.raises(type(trouble)), connect.troubles_as_exits():
        raise trouble


# --- leaving ---


@pytest.mark.slow
async def test_ctrl_c_ends_a_question_without_an_answer(server, tmp_path):
    rule = server.faults.on(HANG)
    kubeconfig = str(server.kubeconfig(tmp_path))
    arguments = ("config", "podinfo", "-n", "shop", "--kubeconfig", kubeconfig)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "canaryd", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Whoever started the tests in the background had SIGINT ignored, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    async with asyncio.timeout(20):
        while not rule.struck:  # noqa: ASYNC110 - the fake counts, it has no event to wait for
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (130, b"", b"\n") == (process.returncode, out, err)
